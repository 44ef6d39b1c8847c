"""What every data set is: classes, splits of images with labels, and the settings that suit it.

In classification the label map of an image is one pixel: labels (1, 1). All else is as in segmentation.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IGNORE = -1  # the label of pixels that count nowhere; every data set converts its own void value to it


@dataclass(frozen=True)
class Classes:
    """The classes of a data set, in label order.

    names: class names; colours: RGB 0..255, one a class; background: the "stuff" around objects (FBNet's foreground is
    the rest); rare: the classes whose mean IoU is reported as the rare-class mIoU (DropClass's dagger set).
    """

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    background: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def indices(self, names: Iterable[str]) -> list[int]:
        """Labels of the given names, in the order given."""
        return [self.names.index(name) for name in names]


@dataclass(frozen=True)
class Groups:
    """A bias attribute, where a data set knows one: G values, and which of them each image has.

    names: what the values are called; index (N,) int64: the value of each image; aligned (C, G) bool: whether an image
    of class c with value g is bias-aligned, that is, whether reading the attribute alone would get it right.
    """

    names: tuple[str, ...]
    index: np.ndarray
    aligned: np.ndarray


class Split(ABC):
    """The images and labels of one split ("train" or "val"), in a fixed order."""

    classes: Classes
    fingerprint: str  # changes whenever the content does; part of the key of runs and cached statistics
    groups: Groups | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 and labels (H, W) int16 in 0..C-1 or IGNORE.

        Raises InputError naming the file if it is damaged or holds labels outside the classes.
        """

    def labels(self, index: int) -> np.ndarray:
        """Labels (H, W) of one sample; a subclass that can read them without the image says how."""
        return self[index][1]

    def decoded_bytes(self) -> int:
        """What all samples take in memory, judged by the first; a subclass that knows their sizes adds them up."""
        return len(self) * sum(array.nbytes for array in self[0])

    @abstractmethod
    def source(self, index: int) -> str:
        """What to call sample `index` in a message: its file, or the recipe of a generated scene."""


class Images(Split):
    """Classified images of one size, in memory."""

    def __init__(self, classes: Classes, images: np.ndarray, labels: np.ndarray, fingerprint: str,
                 source: Callable[[int], str], groups: Groups | None = None):  # fmt: skip
        """images (N, H, W, 3) uint8, labels (N,) of whole images; source(index): what to call an image in a message."""
        self.classes, self.fingerprint, self.groups, self._source = classes, fingerprint, groups, source
        self.images, self.label_maps = images, np.asarray(labels, dtype=np.int16).reshape(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images[index], self.label_maps[index]

    def labels(self, index: int) -> np.ndarray:
        return self.label_maps[index]

    def source(self, index: int) -> str:
        return self._source(index)


@dataclass(frozen=True)
class Dataset:
    """A named data set: its splits, and the values of training parameters that suit it (`None` in a notebook means
    these).
    """

    name: str
    classes: Classes
    train: Split
    val: Split
    defaults: Mapping[str, Any] = field(default_factory=dict)
