"""How often each class occurs, by pixels and by images (Region Rebalance's "regions"), and which occur together."""

import hashlib
import json
import sys
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from segrepro.datasets.base import IGNORE, Groups, Split
from segrepro.files import write_atomically
from segrepro.progress import SHOW_PROGRESS


@dataclass(frozen=True)
class Statistics:
    """pixel_counts (C,) int64: pixels labelled with each class; presence (N, C) bool: which of N images contain it.

    groups: the bias attribute of the N images, where the data set knows one.
    """

    pixel_counts: np.ndarray
    presence: np.ndarray
    groups: Groups | None = None

    @property
    def images(self) -> int:
        return len(self.presence)

    @cached_property
    def image_counts(self) -> np.ndarray:
        """(C,) int64: images that contain each class, the region frequency F of Region Rebalance."""
        return self.presence.sum(0)

    @cached_property
    def co_occurrence(self) -> np.ndarray:
        """(C, C) int64: images that contain both classes; image_counts on the diagonal."""
        presence = self.presence.astype(np.float32)  # exact below 2**24 images, and fast
        return (presence.T @ presence).astype(np.int64)

    @property
    def pixel_frequency(self) -> np.ndarray:
        """(C,) share of the labelled pixels, of sum 1."""
        return self.pixel_counts / max(self.pixel_counts.sum(), 1)

    @property
    def pif(self) -> float:
        """Pixel imbalance factor (Region Rebalance, Figure 5): most over least pixels of a class that occurs at all."""
        return imbalance_factor(self.pixel_counts)

    @property
    def rif(self) -> float:
        """Region imbalance factor: the same of images that contain a class."""
        return imbalance_factor(self.image_counts)


def imbalance_factor(counts: np.ndarray) -> float:
    """Most over least counts (C,) of a class that occurs at all; nan if none does."""
    occurring = counts[counts > 0]
    return float(occurring.max() / occurring.min()) if len(occurring) else float("nan")


def class_statistics(split: Split, cache_dir: Path | None = None) -> Statistics:
    """Statistics of a split in one pass over its labels, kept in `cache_dir` under the split's fingerprint.

    Warns, naming them, of classes that never occur, and of a damaged file in the cache, which is then written anew.
    Raises InputError if a mask cannot be read.
    """
    key = hashlib.sha256(split.fingerprint.encode()).hexdigest()[:16]
    path = None if cache_dir is None else Path(cache_dir) / f"{key}.json"
    statistics = (
        _cached(path, images=len(split), classes=len(split.classes)) if path is not None and path.exists() else None
    )
    if statistics is None:
        statistics = _count(split)
        if path is not None:
            write_atomically(path, _to_json(statistics))
    if absent := [name for name, count in zip(split.classes.names, statistics.pixel_counts, strict=True) if not count]:
        shown = ", ".join(absent[:10]) + ", ..." * (len(absent) > 10)
        warnings.warn(f"{len(absent)} classes never occur and are left out of imbalance factors: {shown}", stacklevel=2)
    return replace(statistics, groups=split.groups)


def _count(split: Split) -> Statistics:
    classes = len(split.classes)
    pixels, presence = np.zeros(classes, dtype=np.int64), np.zeros((len(split), classes), dtype=bool)
    for index in tqdm(
        range(len(split)), "counting classes", file=sys.stderr, delay=1, leave=False, disable=not SHOW_PROGRESS
    ):
        counts = np.bincount(split.labels(index).ravel() - IGNORE, minlength=classes + 1)[
            1:
        ]  # ignored pixels were counted at 0
        pixels += counts
        presence[index] = counts > 0
    return Statistics(pixels, presence)


def _to_json(statistics: Statistics) -> str:
    present = [np.flatnonzero(row).tolist() for row in statistics.presence]
    return json.dumps(
        {"pixel_counts": statistics.pixel_counts.tolist(), "classes_of_images": present}, separators=(",", ":")
    )


def _cached(path: Path, *, images: int, classes: int) -> Statistics | None:
    """What `path` holds, or None with a warning if that is damaged or does not fit."""
    try:
        stored = json.loads(path.read_bytes())
        pixels, presence = np.array(stored["pixel_counts"], dtype=np.int64), np.zeros((images, classes), dtype=bool)
        for row, present in zip(presence, stored["classes_of_images"], strict=True):
            row[present] = True
        if pixels.shape != (classes,):
            raise ValueError(f"{len(pixels)} classes in place of {classes}")
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        warnings.warn(f"{path} is damaged ({error}); the class statistics are counted again", stacklevel=3)
        return None
    return Statistics(pixels, presence)
