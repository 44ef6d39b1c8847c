"""Images with masks in files: paired by name, checked before any work starts, read with errors that name the file."""

import contextlib
import glob
import hashlib
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from tqdm.auto import tqdm

from segrepro.datasets.base import IGNORE, Classes, Split
from segrepro.errors import InputError
from segrepro.progress import SHOW_PROGRESS

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
MASK_MODES = ("1", "L", "I;16")  # Pillow's names for one channel whose values are the labels
INVALID = -2  # what a mask value that stands for nothing becomes, so that it is found after the lookup

Pair = tuple[Path, Path]  # an image and its mask
Fault = tuple[Path, InputError]  # a file, and what is wrong with it


def require_folders(data_root: Path | None, folders: Sequence[str], *, dataset: str) -> None:
    """Raise InputError, saying what was expected and what was found, unless `data_root` holds all these folders."""
    expected = f"data set '{dataset}' expects the folders {', '.join(f'{name}/' for name in folders)} in it"
    if data_root is None:
        raise InputError(f"data_root is not set: {expected}. Set data_root to the folder that holds the data.")
    if not data_root.is_dir():
        raise InputError(f"data_root {data_root.resolve()} is not a folder: {expected}. Correct data_root.")
    missing = [name for name in folders if not (data_root / name).is_dir()]
    if missing:
        found = sorted(path.name + "/" * path.is_dir() for path in data_root.iterdir())
        shown = ", ".join(found[:8] + ["..."] * (len(found) > 8)) or "nothing"
        raise InputError(
            f"data_root {data_root} has another layout: {expected}; missing: {', '.join(missing)}; found: {shown}. "
            "Correct data_root or arrange the folders like this."
        )


def match_files(
    images: Path, masks: Path, *, image_endings: Sequence[str] = IMAGE_ENDINGS, mask_ending: str = ".png"
) -> tuple[list[Pair], list[Fault]]:
    """Every image below the folder `images` with the mask of the same name below `masks`, in order of name, and the
    files that have no partner or share their name with another. Raises InputError if there is no image.
    """
    (image_of, faults), (mask_of, masks_alike) = _by_name(images, image_endings), _by_name(masks, [mask_ending])
    faults += masks_alike
    if not image_of:
        raise InputError(
            f"{images} holds no image ({', '.join(image_endings)}). Put images there or correct data_root."
        )
    without_mask, without_image = sorted(image_of.keys() - mask_of.keys()), sorted(mask_of.keys() - image_of.keys())
    for name in without_mask:
        near = [f", but {path.name} does" for path in _near(masks / name)]
        cure = f"Give it the image's name, as a {mask_ending} file" if near else "Add the mask or remove the image"
        error = InputError(
            f"{image_of[name]} has no mask: {masks / name}{mask_ending} does not exist{''.join(near[:1])} "
            f"({len(without_mask)} such of {len(image_of)} images). {cure}."
        )
        faults.append((image_of[name], error))
    for name in without_image:
        error = InputError(
            f"{mask_of[name]} has no image: {images / name} ({', '.join(image_endings)}) does "
            f"not exist ({len(without_image)} such of {len(mask_of)} masks). Add the image or remove the mask."
        )
        faults.append((mask_of[name], error))
    return [(image_of[name], mask_of[name]) for name in sorted(image_of.keys() & mask_of.keys())], faults


def _near(path: Path) -> list[Path]:
    """Files whose names begin with that of `path`: "a.jpg" or "a_mask.png" for "a"."""
    return sorted(path.parent.glob(f"{glob.escape(path.name)}[._-]*"))


def pair_files(images: Path, masks: Path, **endings: Any) -> list[Pair]:
    """`match_files`, raising InputError if one of a pair is missing or two files have the same name."""
    pairs, faults = match_files(images, masks, **endings)
    raise_first(faults)
    return pairs


def raise_first(faults: Sequence[Fault]) -> None:
    """Raise the first error, if there is one."""
    for _, error in faults:
        raise error


def _by_name(folder: Path, endings: Sequence[str]) -> tuple[dict[str, Path], list[Fault]]:
    """Files below `folder` with one of the endings (in any case), by path relative to it without the ending, and those
    whose name is taken.
    """
    found: dict[str, Path] = {}
    faults: list[Fault] = []
    for path in sorted(folder.rglob("*")):
        ending = next((ending for ending in endings if path.name.lower().endswith(ending.lower())), None)
        if ending is None or path.name.startswith("."):
            continue
        name = path.relative_to(folder).as_posix()[: -len(ending)]
        if name in found:
            error = f"{found[name]} and {path} have the same name, so share a mask. Rename or remove one."
            faults.append((path, InputError(error)))
        else:
            found[name] = path
    return found, faults


class FileSplit(Split):
    """Images and masks in files.

    The fingerprint covers the class names, what mask values mean, and each file's name (relative to `root`) and size in
    bytes: copies of the data have the same one wherever they lie. An edit that keeps a file's size goes unseen.
    """

    def __init__(self, root: Path, pairs: Sequence[Pair], classes: Classes, label_of_value: Mapping[int, int]):
        """root: what names are relative to. label_of_value: mask value -> label or IGNORE; other values are errors.

        Opens every file, without decoding it. Raises InputError naming the first that is empty or no image, a mask with
        several channels or a palette, or a pair of different sizes.
        """
        self.classes, self.pairs = classes, list(pairs)
        self._labels = label_table(label_of_value)
        self._pixels = 0
        facts = hashlib.sha256(repr((classes.names, sorted(label_of_value.items()))).encode())
        for pair in tqdm(
            self.pairs, "checking files", file=sys.stderr, delay=1, leave=False, disable=not SHOW_PROGRESS
        ):
            self._pixels += _checked(*pair)
            facts.update(repr([(path.relative_to(root).as_posix(), path.stat().st_size) for path in pair]).encode())
        self.fingerprint = facts.hexdigest()

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return read_image(self.pairs[index][0]), self.labels(index)

    def labels(self, index: int) -> np.ndarray:
        """Labels (H, W) int16 of sample `index` alone: much faster than decoding its image too."""
        path = self.pairs[index][1]
        return to_labels(read_mask(path), self._labels, path)

    def decoded_bytes(self) -> int:
        return 5 * self._pixels  # three colours, and a label of 16 bits

    def source(self, index: int) -> str:
        return str(self.pairs[index][0])


def label_table(label_of_value: Mapping[int, int]) -> np.ndarray:
    """The label (65536,) int16 of every mask value, INVALID where it stands for nothing."""
    table = np.full(2**16, INVALID, dtype=np.int16)
    table[list(label_of_value)] = list(label_of_value.values())
    return table


def to_labels(values: np.ndarray, table: np.ndarray, path: Path) -> np.ndarray:
    """Labels int16 of the values of a mask, of the same shape. Raises InputError naming the mask and its values that
    stand for nothing.
    """
    labels = table[values]
    if (labels == INVALID).any():
        wrong = np.unique(values[labels == INVALID])
        shown = ", ".join(map(str, wrong[:8])) + ", ..." * (len(wrong) > 8)
        raise InputError(
            f"{path} holds the values {shown}, which stand for none of the {table.max() + 1} classes "
            f"(valid: {_ranges(np.flatnonzero(table != INVALID))}). Correct the mask or the list of classes."
        )
    return labels


def read_image(path: Path) -> np.ndarray:
    """An image (H, W, 3) uint8, as it is stored: no EXIF orientation is applied. Of colours with 16 bits the upper 8.

    Raises InputError naming the file if it is damaged, or grey with more than 8 bits.
    """
    with _opened(path) as image:
        _require_8_bits(path, image)
        return np.array(image.convert("RGB"))


def is_turned(path: Path) -> bool:
    """Whether an image has an EXIF orientation by which viewers turn or mirror it; not if its EXIF data are damaged."""
    with _opened(path) as image, contextlib.suppress(SyntaxError, ValueError, struct.error):
        return image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
    return False


def read_mask(path: Path) -> np.ndarray:
    """The values (H, W) uint16 of a mask. Raises InputError naming the file if it is damaged or not of one channel."""
    with _opened(path) as mask:
        _require_labels(path, mask)
        return np.asarray(mask, dtype=np.uint16)


def _checked(image_path: Path, mask_path: Path) -> int:
    """Number of pixels of a pair that can be read, as far as its headers tell. Raises InputError otherwise."""
    with _opened(image_path) as image, _opened(mask_path) as mask:
        _require_8_bits(image_path, image)
        _require_labels(mask_path, mask)
        require_same_size(image_path, image.size, mask_path, mask.size)
        return image.width * image.height


def require_same_size(image_path: Path, image: tuple[int, int], mask_path: Path, mask: tuple[int, int]) -> None:
    """Raise InputError unless an image and its mask have the same (width, height)."""
    if image != mask:
        cure = "Make both the same size (resize masks with nearest neighbour) or remove the pair"
        if image == mask[::-1]:
            cure = "Turn one of them by 90 degrees: images are read as they are stored, whatever their EXIF orientation"
        raise InputError(
            f"{image_path} is {image[0]} x {image[1]} pixels, its mask {mask_path} {mask[0]} x {mask[1]}. {cure}."
        )


def _require_8_bits(path: Path, image: Image.Image) -> None:
    if image.mode.startswith(("I", "F")):
        raise InputError(f"{path} has more than 8 bits a channel (mode {image.mode}). Save it as 8-bit RGB.")


def _require_labels(path: Path, mask: Image.Image) -> None:
    if mask.mode == "P":
        raise InputError(
            f"{path} is a mask with a palette: its labels may be the places in the palette, as in Pascal VOC, or what "
            "the colours there stand for. If the places, save Image.fromarray(numpy.array(Image.open(file))) as PNG "
            "(not .convert('L'), which makes other numbers of them)."
        )
    if mask.mode not in MASK_MODES:
        raise InputError(
            f"{path} is a mask with several channels or no integers (mode {mask.mode}), whose values would be misread "
            "as labels. Save it as a PNG with one 8- or 16-bit grey channel whose values are the labels."
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file; any trouble in opening or decoding it is an InputError that names it."""
    try:
        with Image.open(path) as image:
            yield image
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        empty = path.exists() and path.stat().st_size == 0
        what = "is empty (0 bytes)" if empty else f"is damaged, truncated or no image ({error})"
        raise InputError(f"{path} {what}. Copy it again from its source, or remove it and its partner.") from error


def _ranges(values: np.ndarray) -> str:
    """Ascending integers in short: [0, 1, 2, 255] -> "0-2, 255"."""
    runs = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def contiguous_labels(classes: int, void: Sequence[int]) -> dict[int, int]:
    """The usual meaning of mask values: 0..C-1 are the labels, the `void` ones are ignored unless they are labels."""
    return {**dict.fromkeys(void, IGNORE), **{label: label for label in range(classes)}}
