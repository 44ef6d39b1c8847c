"""Biased Action Recognition (BAR; Learning from Failure, Section 4.3): six actions, each in its typical place.

In the training images climbing is on rock walls, diving under water and so on; the test images show other places. Which
image shows which place is not given, so there are no groups.

The paper has a ResNet-18, states neither transform nor optimiser nor length of training, and its authors published no
code for BAR: `DEFAULTS` are ours, with an EfficientNet-Lite0. Images are resized without keeping their proportions, so
that nothing is cut off.
"""

from pathlib import Path

import numpy as np
from pydantic import PositiveInt

from segrepro.datasets.base import Classes, Dataset
from segrepro.datasets.biased import QUALITATIVE
from segrepro.datasets.files_on_disk import IMAGE_ENDINGS, require_folders
from segrepro.datasets.image_files import ImageFiles
from segrepro.errors import InputError

CLASSES = Classes(("Climbing", "Diving", "Fishing", "Racing", "Throwing", "Vaulting"), QUALITATIVE[:6])
PREFIXES = ("climbing", "diving", "fishing", "racing", "throwing", "pole vaulting")  # of the files, in this order

DEFAULTS = {
    "architecture": "pooled",
    "encoder": "tf_efficientnet_lite0",
    "pretrained": True,
    "optimiser": "adamw",
    "learning_rate": 1e-4,
    "weight_decay": 0.0,
    "decay_power": 0.0,
    "batch_size": 32,
    "iterations": 607,  # 10 epochs of 1941 images
    "evaluations": 10,
    "crop_size": None,
    "augmentation": "flip",
}


def load(data_root: Path | None, *, size: PositiveInt = 224) -> Dataset:
    """BAR from train/ and test/, whose files are called <class>_<number>.jpg; test/ is for validation.

    size: side in pixels that images are resized to. Raises InputError naming folder or file if a split lacks a class or
    a file's name has none.
    """
    require_folders(data_root, ("train", "test"), dataset="bar")
    return Dataset("bar", CLASSES, *(_split(data_root, name, size) for name in ("train", "test")), DEFAULTS)


def _split(data_root: Path, name: str, size: int) -> ImageFiles:
    folder = data_root / name
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_ENDINGS and path.name[0] != "."]
    prefixes = [path.stem.rpartition("_")[0].lower() for path in paths]
    expected = f"Files are called <class>_<number>.jpg with one of the classes {', '.join(PREFIXES)}."
    for path, prefix in zip(paths, prefixes, strict=True):
        if prefix not in PREFIXES:
            raise InputError(f"{path}: '{prefix}' is no class. {expected} Rename or remove it.")
    if missing := [prefix for prefix in PREFIXES if prefix not in prefixes]:
        raise InputError(f"{folder} holds no image of {', '.join(missing)}. {expected} Add them.")
    labels = np.array([PREFIXES.index(prefix) for prefix in prefixes])
    return ImageFiles(data_root, paths, labels, CLASSES, size=size)
