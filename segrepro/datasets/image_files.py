"""Classified images in files: resized to one size, decoded when asked for, read with errors that name the file."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from segrepro.datasets.base import Classes, Groups, Split
from segrepro.errors import InputError
from segrepro.progress import SHOW_PROGRESS


class ImageFiles(Split):
    """Images in files of any size, each of one class, given as (size, size, 3).

    The fingerprint covers class names, size, and each file's name (relative to `root`), size in bytes, class and value
    of the bias attribute; an edit that keeps a file's size goes unseen.
    """

    def __init__(self, root: Path, paths: Sequence[Path], labels: np.ndarray, classes: Classes, *, size: int,
                 groups: Groups | None = None):  # fmt: skip
        """root: what names are relative to; labels (N,); size in pixels. Raises InputError if a file is missing."""
        self.classes, self.groups, self.paths, self.size = classes, groups, list(paths), size
        self.label_maps = np.asarray(labels, dtype=np.int16).reshape(-1, 1, 1)
        facts = hashlib.sha256(repr((classes.names, size)).encode())
        values = np.zeros(len(paths), dtype=np.int64) if groups is None else groups.index
        bar = tqdm(self.paths, "checking files", file=sys.stderr, delay=1, leave=False, disable=not SHOW_PROGRESS)
        for path, label, value in zip(bar, labels, values, strict=True):
            try:
                facts.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size} {label} {value}\n".encode())
            except OSError as error:
                raise InputError(f"{path} cannot be read ({error.strerror}). Copy it again from its source.") from error
        self.fingerprint = facts.hexdigest()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image = read_rgb(self.paths[index], str(self.paths[index]))
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        return np.array(image), self.label_maps[index]

    def labels(self, index: int) -> np.ndarray:
        return self.label_maps[index]

    def source(self, index: int) -> str:
        return str(self.paths[index])


def read_rgb(file: Path | BinaryIO, name: str) -> Image.Image:
    """The image in a file as RGB. Raises InputError, which calls it `name`, if it is damaged or deeper than 8 bits."""
    try:
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"more than 8 bits a channel, mode {image.mode}")
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{name} is damaged, truncated or no 8-bit image ({error}). Copy it again from its source, or remove it."
        ) from error
