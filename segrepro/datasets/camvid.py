"""CamVid in the layout of the SegNet tutorial: 11 classes, 367 training and 101 validation images of 360 x 480."""

from pathlib import Path

from segrepro.datasets.base import Classes, Dataset
from segrepro.datasets.files_on_disk import FileSplit, contiguous_labels, pair_files, require_folders

CLASSES = Classes(
    names=(
        "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian", "bicyclist",
    ),
    colours=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
    background=("sky", "building", "road", "pavement", "tree"),
    rare=("pole", "sign symbol", "fence", "pedestrian", "bicyclist"),
)  # fmt: skip
VOID = 11

DEFAULTS = {
    "architecture": "deeplabv3plus",
    "encoder": "tf_efficientnet_lite0",
    "pretrained": True,
    "optimiser": "adamw",
    "learning_rate": 1e-3,
    "encoder_learning_rate": 2e-4,
    "weight_decay": 1e-4,
    "batch_size": 8,
    "iterations": 450,
    "crop_size": (192, 256),
    "augmentation": "resized_crop",
}


def load(data_root: Path | None) -> Dataset:
    """CamVid from train/, trainannot/, val/ and valannot/ (masks: 0..10 the classes, 11 void).

    Raises InputError naming folder or file where these are missing or not as they should be.
    """
    require_folders(data_root, ("train", "trainannot", "val", "valannot"), dataset="camvid")
    train, val = (
        FileSplit(
            data_root,
            pair_files(data_root / name, data_root / f"{name}annot"),
            CLASSES,
            contiguous_labels(len(CLASSES), [VOID]),
        )
        for name in ("train", "val")
    )
    return Dataset("camvid", CLASSES, train, val, DEFAULTS)
