"""An embedded data set with up to 10 000 classes whose frequencies follow Zipf's law, drawn from a seed.

A scene is a mosaic of patches (the Voronoi cells of random points); a patch belongs to class c with a probability in
proportion to 1 / (c + 1), so class 0 is the most frequent. Each class has two colours and a pattern of its own, the
same whatever the number of classes, so that it can be told from the pixels around. As in LVIS, most of many classes
occur in a handful of training images, some in none.

As with the `synthetic` scenes, all bits come from PCG64's raw output, elementwise arithmetic and integers: a scene is
the same on any machine.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from segrepro.datasets.base import Classes, Dataset, Split
from segrepro.datasets.canvas import raw_bits
from segrepro.datasets.synthetic import DEFAULTS, VAL_START
from segrepro.errors import InputError
from segrepro.parameters import Size

__all__ = ["DEFAULTS", "ManyClasses", "load", "patterns"]

VERSION = 1  # raise it when a scene's pixels change: recorded runs and cached statistics depend on it
MOST = 10_000
PATCHES = 24  # in a scene
_WEIGHT = 2**40  # of class 0; class c has this divided by c + 1, a whole number
_PERIODS = (4, 8, 16)  # pixels


@lru_cache(maxsize=1)
def _appearance() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every class: its two colours (MOST, 2, 3) 0..255, the period of its pattern (MOST,), and the pattern's
    direction (MOST, 2): how much a row and a column count.
    """
    bits = raw_bits(0, 0, MOST, 8, purpose=1)
    colours = (bits[:, :6] >> np.uint64(56)).astype(np.int16).reshape(MOST, 2, 3)
    period = np.array(_PERIODS)[bits[:, 6] % np.uint64(len(_PERIODS))]
    direction = np.array([(0, 1), (1, 0), (1, 1)])[bits[:, 7] % np.uint64(3)]
    return colours, period, direction


def patterns(classes: int) -> list[str]:
    """What the patterns of the first classes are called, such as "8 px columns": nine, which the classes share."""
    _, period, direction = _appearance()
    kinds = {(0, 1): "columns", (1, 0): "rows", (1, 1): "diagonals"}
    return [f"{p} px {kinds[tuple(d)]}" for p, d in zip(period[:classes], direction[:classes].tolist(), strict=True)]


class ManyClasses(Split):
    """Scenes `first` to `first + count - 1` of a seed, of size (height, width) pixels.

    Raises InputError for a value outside its range.
    """

    def __init__(self, *, classes: int, seed: int, first: int, count: int, size: tuple[int, int], name: str):
        checks = {
            "classes": (classes, 1 <= classes <= MOST, f"a whole number from 1 to {MOST}"),
            "scene_seed": (seed, seed >= 0, "a whole number from 0"),
            "count": (count, count >= 1, "a whole number from 1"),
            "size": (size, min(size) >= 16, "(height, width) of at least 16 pixels"),
        }
        for parameter, (value, valid, remedy) in checks.items():
            if not valid:
                raise InputError(f"many-class scenes: {parameter} is {value!r}; give {remedy}")
        self.seed, self.first, self.count, self.size, self.name = seed, first, count, tuple(size), name
        names = tuple(f"class {c}" for c in range(classes))
        colours = tuple(tuple(colour) for colour in _appearance()[0][:classes, 0].tolist())
        self.classes = Classes(names, colours, rare=names[classes // 2 :])
        self._ends = np.cumsum(_WEIGHT // np.arange(1, classes + 1))  # integers: the same on any machine

    @property
    def fingerprint(self) -> str:
        height, width = self.size
        return (
            f"many_classes-v{VERSION}:classes={len(self.classes)}:seed={self.seed}:{self.first}+{self.count}:"
            f"{height}x{width}"
        )

    def __len__(self) -> int:
        return self.count

    def source(self, index: int) -> str:
        return f"{self.name} scene {self.first + index} (seed {self.seed}, {len(self.classes)} classes)"

    def _patches(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Which patch each pixel belongs to (H, W), and each patch's class (PATCHES,)."""
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        bits = raw_bits(self.seed, self.first + index, 3, PATCHES, purpose=2)
        drawn = (bits[0] >> np.uint64(1)).astype(np.int64) % self._ends[-1]
        height, width = self.size
        y, x = ((bits[1:] >> np.uint64(11)) * 2.0**-53) * np.array([[height], [width]])
        rows, columns = np.arange(height)[:, None, None] + 0.5, np.arange(width)[:, None] + 0.5
        return ((rows - y) ** 2 + (columns - x) ** 2).argmin(-1), np.searchsorted(self._ends, drawn, side="right")

    def labels(self, index: int) -> np.ndarray:
        patch, classes = self._patches(index)
        return classes.astype(np.int16)[patch]

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 and labels (H, W) int16; every pixel has a label."""
        patch, classes = self._patches(index)
        colours, period, direction = (values[classes] for values in _appearance())
        height, width = self.size
        row, column = direction[:, 0][patch], direction[:, 1][patch]
        place = row * np.arange(height)[:, None] + column * np.arange(width)
        second = place % period[patch] >= period[patch] // 2
        noise = raw_bits(self.seed, self.first + index, height, width, purpose=3) >> np.uint64(59)  # 0 .. 31
        image = colours[patch, second.astype(np.int8)] + noise.astype(np.int16)[..., None] - 16
        return np.clip(image, 0, 255).astype(np.uint8), classes.astype(np.int16)[patch]


def load(
    data_root: Path | None = None,
    *,
    classes: int = 1284,
    size: Size = (64, 128),
    train_scenes: int = 400,
    val_scenes: int = 200,
    scene_seed: int = 0,
) -> Dataset:
    """The many-class data set; it is drawn when asked for and needs no files (`data_root` is not used).

    The default number of classes is that of COCO+LVIS in ESSNet. Rare are the less frequent half. Raises InputError for
    an option outside its range.
    """
    knobs = {"classes": classes, "seed": scene_seed, "size": size}
    train = ManyClasses(first=0, count=train_scenes, name="many_classes train", **knobs)
    val = ManyClasses(first=VAL_START, count=val_scenes, name="many_classes val", **knobs)
    return Dataset("many_classes", train.classes, train, val, DEFAULTS)
