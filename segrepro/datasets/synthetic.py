"""The embedded data set: procedural street scenes with the 19 classes of Cityscapes.

Pixel shares follow DropClass Table 1 ("Pixel %"); a scene is known by (seed, index), at any size and on any machine.
"""

from math import isfinite
from pathlib import Path

import numpy as np

from segrepro.datasets.base import Dataset, Split
from segrepro.datasets.cityscapes_classes import CITYSCAPES_CLASSES
from segrepro.datasets.scenes import draw_scene
from segrepro.errors import InputError
from segrepro.parameters import Size

VERSION = 1  # raise it when a scene's pixels change: recorded runs and cached statistics depend on it

DEFAULTS = {
    "architecture": "deeplabv3plus",
    "encoder": "tf_efficientnet_lite0",
    "pretrained": True,
    "optimiser": "adamw",
    "learning_rate": 1e-3,
    "encoder_learning_rate": 2e-4,
    "weight_decay": 1e-4,
    "batch_size": 8,
    "iterations": 400,
    "evaluations": 5,
    "crop_size": None,
    "augmentation": "flip",
}

VAL_START = 1_000_000  # validation scenes are numbered from here, so no number of training scenes reaches them


class SyntheticScenes(Split):
    """Scenes `first` to `first + count - 1` of a seed.

    size: (height, width) in pixels. The layout is relative to it, so the same scene appears at any size; it looks
        right at 1 : 2.
    co_location: the probability (0..1) that an object stands in its stereotyped place: cars on the road, persons on the
        sidewalk, signs and lights on poles, riders on two-wheelers. Otherwise it stands anywhere between the outer
        edges of the sidewalks, signs and lights hang in the air, and a rider has no vehicle.
    rarity: each of the nine rare classes is put into a scene with 1 / rarity times its usual probability (at most 1);
        1 gives the pixel shares of Table 1. Scenes that have it at a higher rarity also have it at a lower one.
    without: leave this class out. Every other object and the light stay as they are, and what the class covered shows
        what is behind it: sidewalk in place of the road, road in place of the sidewalk, building in place of the sky.

    Raises InputError for a value outside its range or an unknown class.
    """

    classes = CITYSCAPES_CLASSES

    def __init__(
        self,
        *,
        seed: int = 0,
        first: int = 0,
        count: int,
        size: tuple[int, int] = (64, 128),
        co_location: float = 0.9,
        rarity: float = 1.0,
        without: str | None = None,
        name: str = "synthetic",
    ):
        checks = {
            "scene_seed": (seed, seed >= 0, "a whole number from 0"),
            "first": (first, first >= 0, "a whole number from 0"),
            "count": (count, count >= 1, "a whole number from 1"),
            "size": (size, min(size) >= 16, "(height, width) of at least 16 pixels"),
            "co_location": (co_location, 0 <= co_location <= 1, "0 (objects anywhere) to 1 (only in their place)"),
            "rarity": (rarity, rarity > 0 and isfinite(rarity), "a number above 0 (2: in half as many scenes)"),
            "without": (without, without in (None, *self.classes.names), f"one of {', '.join(self.classes.names)}"),
        }
        for parameter, (value, valid, remedy) in checks.items():
            if not valid:
                raise InputError(f"synthetic scenes: {parameter} is {value!r}; give {remedy}")
        self.seed, self.first, self.count, self.size = seed, first, count, tuple(size)
        self.co_location, self.rarity, self.name = co_location, rarity, name
        self.removed = without

    @property
    def fingerprint(self) -> str:
        height, width = self.size
        return (
            f"synthetic-v{VERSION}:seed={self.seed}:{self.first}+{self.count}:{height}x{width}:"
            f"co_location={float(self.co_location)!r}:rarity={float(self.rarity)!r}:without={self.removed}"
        )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, 3) uint8 and labels (H, W) int16; every pixel has a label."""
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        return draw_scene(
            self.seed,
            self.first + index,
            self.size,
            co_location=self.co_location,
            rarity=self.rarity,
            without=self.removed,
        )

    def source(self, index: int) -> str:
        without = f", without {self.removed}" if self.removed else ""
        return f"{self.name} scene {self.first + index} (seed {self.seed}{without})"

    def without(self, class_name: str) -> "SyntheticScenes":
        """The same scenes lacking one class: the counterfactual that erasing pixels only approximates."""
        return SyntheticScenes(
            seed=self.seed,
            first=self.first,
            count=self.count,
            size=self.size,
            co_location=self.co_location,
            rarity=self.rarity,
            without=class_name,
            name=self.name,
        )


def load(
    data_root: Path | None = None,
    *,
    size: Size = (64, 128),
    train_scenes: int = 400,
    val_scenes: int = 200,
    co_location: float = 0.9,
    rarity: float = 1.0,
    scene_seed: int = 0,
) -> Dataset:
    """The synthetic data set; it is drawn when asked for and needs no files (`data_root` is not used).

    Raises InputError for an option outside its range (see SyntheticScenes).
    """
    knobs = {"seed": scene_seed, "size": size, "co_location": co_location, "rarity": rarity}
    train = SyntheticScenes(first=0, count=train_scenes, name="synthetic train", **knobs)
    val = SyntheticScenes(first=VAL_START, count=val_scenes, name="synthetic val", **knobs)
    return Dataset("synthetic", CITYSCAPES_CLASSES, train, val, DEFAULTS)
