"""What every segmentation data set is: classes, splits of images with masks, and the settings that suit it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
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


class Split(ABC):
    """The images and masks of one split ("train" or "val"), in a fixed order."""

    classes: Classes
    fingerprint: str  # changes whenever the content does; part of the key of runs and cached statistics

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

    @abstractmethod
    def source(self, index: int) -> str:
        """What to call sample `index` in a message: its file, or the recipe of a generated scene."""


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
