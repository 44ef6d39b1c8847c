"""CIFAR-10 from any of three layouts: its batches for Python or in binary, or image files, in folders or in a .zip."""

import hashlib
import io
import os
import pickle
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm.auto import tqdm

from segrepro.datasets.files_on_disk import IMAGE_ENDINGS
from segrepro.datasets.image_files import read_rgb
from segrepro.errors import InputError
from segrepro.progress import SHOW_PROGRESS

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32  # pixels
PIXELS = 3 * SIDE * SIDE
TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
LAYOUTS = (
    f"a folder with cifar-10-batches-py/ or cifar-10-batches-bin/ ({TRAIN_BATCHES[0]} to 5, test_batch), or one with "
    "train/ and test/ that have a folder of images for each class, or a .zip file of these two"
)

Arrays = tuple[np.ndarray, np.ndarray]  # images (N, 32, 32, 3) uint8, labels (N,) int64


@dataclass(frozen=True)
class Cifar10:
    """Where CIFAR-10 was found.

    folder: the one that holds it; fingerprint: changes with the files; read("train") or read("test") decodes a split.
    """

    folder: Path
    fingerprint: str
    read: Callable[[str], Arrays]


def find(data_root: Path | None) -> Cifar10:
    """CIFAR-10 at `data_root`: a folder, or a .zip file with train/<class>/<image> and test/<class>/<image> anywhere.

    Raises InputError naming folder or file if nothing is there or a split lacks a class; `read` raises it for what is
    damaged.
    """
    if data_root is None:
        raise InputError(f"data_root is not set: set it to what holds CIFAR-10. Expected: {LAYOUTS}.")
    if data_root.is_file():
        return _image_files(data_root, data_root.parent, _in_zip(data_root))
    for ending, parse in ((".bin", _parse_binary), ("", _parse_pickle)):
        folders = (data_root, data_root / f"cifar-10-batches-{'bin' if ending else 'py'}")
        if folder := next((f for f in folders if (f / f"{TRAIN_BATCHES[0]}{ending}").is_file()), None):
            return _batches(data_root, folder, ending, parse)
    if all((data_root / split).is_dir() for split in ("train", "test")):
        return _image_files(data_root, data_root, _in_folders(data_root))
    raise InputError(f"data_root {data_root} does not hold CIFAR-10. Correct it. Expected: {LAYOUTS}.")


# Batches


def _batches(data_root: Path, folder: Path, ending: str, parse: Callable[[bytes], Arrays]) -> Cifar10:
    paths = {"train": [folder / f"{name}{ending}" for name in TRAIN_BATCHES], "test": [folder / f"test_batch{ending}"]}
    digest = hashlib.sha256()
    for path in (path for of_split in paths.values() for path in of_split):
        digest.update(_bytes(path))

    def read(split: str) -> Arrays:
        images, labels = zip(*(_parsed(path, parse) for path in paths[split]), strict=True)
        # Stored as three planes, red first.
        return np.concatenate(images).reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1).copy(), np.concatenate(labels)

    return Cifar10(data_root, digest.hexdigest(), read)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}). Copy all of CIFAR-10's batches there.") from error


def _parsed(path: Path, parse: Callable[[bytes], Arrays]) -> Arrays:
    data = _bytes(path)
    try:
        images, labels = parse(data)
        if images.size != PIXELS * len(labels) or not len(labels):
            raise ValueError(f"{images.size} pixel values for {len(labels)} labels")
        if not 0 <= labels.min() <= labels.max() < len(NAMES):
            raise ValueError(f"labels {labels.min()} to {labels.max()}; valid are 0-9")
    # Bytes that are no pickle make the unpickler raise nearly anything.
    except Exception as error:
        raise InputError(
            f"{path} is damaged or no batch of CIFAR-10 ({error}). Copy it again from its source."
        ) from error
    return images, labels


def _parse_binary(data: bytes) -> Arrays:
    """Records of a label and the pixels, one byte each."""
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, 1 + PIXELS)
    return records[:, 1:], records[:, 0].astype(np.int64)


class _State:
    """What a pickle may build in place of numpy's objects: it keeps what it is given, and does nothing."""

    def __init__(self, *_arguments):
        self.state = ()

    def __setstate__(self, state):
        self.state = state


class _ArraysOnly(pickle.Unpickler):
    """Unpickles containers, numbers, bytes and the bytes of numpy's arrays; whatever else a pickle names is an error.

    Unpickling runs what a file says. Here it can name three things, and none of them is the real one.
    """

    ALLOWED = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
               ("numpy", "ndarray"), ("numpy", "dtype")}  # fmt: skip

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self.ALLOWED:
            raise ValueError(f"it asks for {module}.{name}, which no batch needs: the file may be malicious")
        return _State


def _parse_pickle(data: bytes) -> Arrays:
    """A dictionary with the array "data" (N, 3072) uint8 and the list "labels"."""
    batch = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
    _version, shape, _dtype, columns_first, values = batch[b"data"].state
    if columns_first or shape[1:] != (PIXELS,):
        raise ValueError(f"its array is of shape {shape}")
    return np.frombuffer(values, dtype=np.uint8), np.array(batch[b"labels"], dtype=np.int64)


# Image files


@dataclass(frozen=True)
class _File:
    split: str
    label: int
    name: str
    fact: int  # its size or checksum
    read: Callable[[], bytes]


def _in_folders(root: Path) -> list[_File]:
    return [
        _File(split, label, str(path), path.stat().st_size, path.read_bytes)
        for split in ("train", "test")
        for label, name in enumerate(NAMES)
        for path in sorted((root / split / name).glob("*"))
        if path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".")
    ]


def _in_zip(path: Path) -> list[_File]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged or no .zip file ({error}). Expected: {LAYOUTS}.") from error
    found = []
    for info in sorted(archive.infolist(), key=lambda info: info.filename):
        *_, split, name, file = ("", "", *PurePosixPath(info.filename).parts)
        if split in ("train", "test") and name in NAMES and PurePosixPath(file).suffix.lower() in IMAGE_ENDINGS:
            read = lambda info=info: archive.read(info)  # noqa: E731
            found.append(_File(split, NAMES.index(name), f"{path}/{info.filename}", info.CRC, read))
    return found


def _image_files(data_root: Path, folder: Path, files: list[_File]) -> Cifar10:
    """The images in order of split, class and name."""
    for split in ("train", "test"):
        there = {file.label for file in files if file.split == split}
        if missing := [f"{split}/{name}" for label, name in enumerate(NAMES) if label not in there]:
            raise InputError(f"{data_root} holds no image in {', '.join(missing)}. Add them. Expected: {LAYOUTS}.")
    names = [(file.split, file.label, os.path.basename(file.name), file.fact) for file in files]

    def read(split: str) -> Arrays:
        chosen = sorted((file for file in files if file.split == split), key=lambda file: file.label)
        images = np.empty((len(chosen), SIDE, SIDE, 3), dtype=np.uint8)
        bar = tqdm(chosen, f"decoding {split}", file=sys.stderr, delay=1, leave=False, disable=not SHOW_PROGRESS)
        for target, file in zip(images, bar, strict=True):
            try:
                data = file.read()
            # RuntimeError is zipfile's, of an encrypted file or a compression that it does not know
            except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
                raise InputError(f"{file.name} cannot be read ({error}). Copy it again from its source.") from error
            image = read_rgb(io.BytesIO(data), file.name)
            if image.size != (SIDE, SIDE):
                raise InputError(f"{file.name} is {image.width} x {image.height} pixels. Resize it to 32 x 32.")
            target[:] = image
        return images, np.array([file.label for file in chosen])

    return Cifar10(folder, hashlib.sha256(repr(names).encode()).hexdigest(), read)
