"""Everything that is wrong with a folder of one's own images and masks, in one pass, not only the first problem.

An *error* keeps the data from being read: loading them would stop there. A *warning* does not, but makes scores mean
less than they seem to: a class that one split lacks, an image without a label, a picture in both splits. Or it says
what may not be meant: images that viewers turn, sub-folders and images that are left out.
"""

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from segrepro import datasets
from segrepro.datasets import folder
from segrepro.datasets.base import IGNORE, Classes
from segrepro.datasets.files_on_disk import (
    Fault,
    Pair,
    contiguous_labels,
    is_turned,
    label_table,
    read_image,
    read_mask,
    require_same_size,
    to_labels,
)
from segrepro.errors import InputError
from segrepro.parameters import Setup
from segrepro.progress import SHOW_PROGRESS

ERROR, WARNING = "error", "warning"
_FOR = {"train": "for training", "val": "for validation"}
_DIVIDE = "Divide the images otherwise (split_seed, val_fraction, or folders train/ and val/), so that"


@dataclass
class _Pair:
    """What is kept of an image and its mask once they were read."""

    image: Path
    mask: Path
    digest: bytes | None = None  # of the decoded picture: the same in another file format or with other metadata
    values: np.ndarray | None = None  # that occur in the mask
    turned: bool = False  # by viewers, as its EXIF orientation says
    faults: list[Fault] = field(default_factory=list)


def folder_of(setup: Setup) -> Path | None:
    """The folder that a notebook's parameters name; for data set synthetic, some of its scenes, written as one into
    `runs_dir`.

    Raises InputError for a data set of another layout, and for a `data_root` that synthetic scenes would ignore.
    """
    if setup.dataset == "folder":
        return setup.data_root and setup.data_root.expanduser()
    if setup.dataset == "synthetic" and setup.data_root is None:
        return folder.write(datasets.load("synthetic", train_scenes=60, val_scenes=30), setup.runs_dir)
    raise InputError(
        f"dataset: '{setup.dataset}' with data_root {setup.data_root}: what can be inspected is a folder with images/ "
        "and masks/. Arrange the data like that, and set dataset=folder and data_root to it."
    )


def inspect(root: Path | None, **split: float) -> pd.DataFrame:
    """One row a problem of the folder data set at `root`: severity, file, problem, what to do. Errors come first.

    split: val_fraction and split_seed, if not as `folder.load` has them. Every file is decoded once. Raises InputError
    where there is nothing to inspect: no such folders, no image.
    """
    train, val, faults = folder.listing(root, **split)
    bar = tqdm(train + val, "inspecting", file=sys.stderr, delay=1, leave=False, disable=not SHOW_PROGRESS)
    seen = [_read(pair) for pair in bar]
    splits = dict(zip(folder.SPLITS, (seen[: len(train)], seen[len(train) :]), strict=True))
    faults = faults + [fault for pair in seen for fault in pair.faults]

    classes, wrong = _classes(root, seen)
    faults += wrong
    warnings: list[Fault] = []
    if classes is not None:
        table = label_table(contiguous_labels(len(classes), folder.VOID))
        for pair in (pair for pair in seen if pair.values is not None):
            try:
                to_labels(pair.values, table, pair.mask)
            except InputError as error:
                faults.append((pair.mask, error))
            else:
                if (table[pair.values] == IGNORE).all():
                    error = (
                        f"{pair.mask} has no labelled pixel. Label it, or remove the pair: nothing is learned from it."
                    )
                    warnings.append((pair.mask, InputError(error)))
        present = {name: _images_with(pairs, table, len(classes)) for name, pairs in splits.items()}
        if not faults:
            faults += _untaught(root, present)
        if all(images.any() for images in present.values()):  # else what is lacking are masks, or labels
            warnings += _lacking(root, classes, present)
    warnings += _in_both(root, **splits) + _turned(seen) + _left_out(root)
    rows = [(ERROR, *_row(root, *fault)) for fault in faults] + [(WARNING, *_row(root, *fault)) for fault in warnings]
    return pd.DataFrame(rows, columns=["severity", "file", "problem", "what to do"])


def require_readable(problems: pd.DataFrame) -> None:
    """Raise InputError, so that nothing is trained in vain, if a table of `inspect` holds errors."""
    if count := int((problems["severity"] == ERROR).sum()):
        raise InputError(f"the data cannot be read (errors: {count}). Do what the table says and run again.")


def _read(pair: Pair) -> _Pair:
    seen, sizes = _Pair(*pair), []
    for path, read in zip(pair, (read_image, read_mask), strict=True):
        try:
            pixels = read(path)
        except InputError as error:
            seen.faults.append((path, error))
            continue
        sizes.append((pixels.shape[1], pixels.shape[0]))
        if read is read_image:
            seen.turned = is_turned(path)
            seen.digest = hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).digest()
        else:
            seen.values = np.flatnonzero(np.bincount(pixels.ravel()))
    try:
        if len(sizes) == 2:
            require_same_size(seen.image, sizes[0], seen.mask, sizes[1])
    except InputError as error:
        seen.faults.append((seen.image, error))
    return seen


def _classes(root: Path, seen: Iterable[_Pair]) -> tuple[Classes | None, list[Fault]]:
    """The classes that are listed, else those in the masks, else None; and what is wrong with the list."""
    path, faults = root / folder.LIST, []
    masks = [(pair.mask, pair.values) for pair in seen if pair.values is not None]
    readers = {path: lambda: folder.read_classes(path)} if path.exists() else {}
    for source, read in (readers | {root / "masks": lambda: folder.classes_in(root, masks)}).items():
        try:
            return read(), faults
        except InputError as error:
            faults.append((source, error))
    return None, faults


def _images_with(pairs: Iterable[_Pair], table: np.ndarray, classes: int) -> np.ndarray:
    """Number of images (C,) that contain each class."""
    labels = [table[pair.values] for pair in pairs if pair.values is not None]
    return sum((np.bincount(of[of >= 0], minlength=classes) for of in labels), start=np.zeros(classes, dtype=int))


def _untaught(root: Path, present: dict[str, np.ndarray]) -> list[Fault]:
    """A split without a label, or only one class in all of them."""
    empty = [f"{root / 'masks'}: no pixel {_FOR[name]} is labelled. Label some." for name, images in present.items()
             if not images.any()]  # fmt: skip
    if not empty and (sum(present.values()) > 0).sum() == 1:
        empty = [f"{root / 'masks'}: {folder.ONE_CLASS}"]
    return [(root / "masks", InputError(text)) for text in empty]


def _lacking(root: Path, classes: Classes, present: dict[str, np.ndarray]) -> list[Fault]:
    found = []
    for name, train, val in zip(classes.names, *present.values(), strict=True):
        if not train:
            where = f"in {val} for validation, but in none for training" if val else "in no image"
            cure = f"{_DIVIDE} training has it" if val else "Add images with it"
            found.append(f"class '{name}' occurs {where}. {cure}: otherwise it is never learned.")
        elif not val:
            cure = f"{_DIVIDE} validation has it: otherwise its IoU cannot be measured."
            found.append(f"class '{name}' occurs in {train} images for training, but in none for validation. {cure}")
    return [(root / "masks", InputError(f"{root / 'masks'}: {text}")) for text in found]


def _in_both(root: Path, train: Iterable[_Pair], val: Iterable[_Pair]) -> list[Fault]:
    trained = {pair.digest: pair.image for pair in train if pair.digest is not None}
    return [
        (pair.image, InputError(f"{pair.image} is the same picture as {trained[pair.digest]}, which is trained on. "
                                "Remove one of the two: a score on it measures memory."))
        for pair in val if pair.digest in trained
    ]  # fmt: skip


def _turned(seen: Iterable[_Pair]) -> list[Fault]:
    return [
        (pair.image, InputError(f"{pair.image} is shown turned or mirrored by its EXIF orientation, but read as it is "
                                "stored. See that its mask lies on the stored picture, or save it without the tag."))
        for pair in seen if pair.turned
    ]  # fmt: skip


def _left_out(root: Path) -> list[Fault]:
    """What lies in images/ beside train/ and val/."""
    if not (root / "images" / folder.SPLITS[0]).is_dir():
        return []
    beside = [path for path in sorted((root / "images").iterdir())
              if path.name not in folder.SPLITS and not path.name.startswith(".")]  # fmt: skip
    return [(path, InputError(f"{path} is in neither train/ nor val/, and is left out. Nothing need be done for what "
                              "is kept aside for testing.")) for path in beside]  # fmt: skip


def _row(root: Path, path: Path, error: InputError) -> tuple[str, str, str]:
    """File, problem and remedy, the last sentence of every InputError; files relative to the root."""
    problem, _, remedy = str(error).rpartition(". ")
    problem = problem.removeprefix(str(path)).lstrip(",: ").replace(f"{root}/", "")
    return path.relative_to(root).as_posix(), problem, remedy
