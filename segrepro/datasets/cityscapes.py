"""Cityscapes, fine annotations, in the publisher's layout: 2975 training and 500 validation images of 1024 x 2048."""

from pathlib import Path

from segrepro.datasets.base import IGNORE, Dataset
from segrepro.datasets.cityscapes_classes import CITYSCAPES_CLASSES
from segrepro.datasets.files_on_disk import FileSplit, pair_files, require_folders

# The official labelIds of the 19 evaluated classes, in the order of trainIds; the rest of 0..33 is not evaluated.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
TRAIN_ID_OF_LABEL_ID = {**dict.fromkeys(range(34), IGNORE), **{label: i for i, label in enumerate(LABEL_IDS)}}

# Much as DropClass's authors train (in their code; the paper leaves it open): 968 epochs on 4 GPUs with 12 images each.
# Theirs scales in 17 steps from 0.5 to 2.1 and does not vary colours; it has a BatchNorm momentum of 0.01 and its own
# initialisation. The other papers' settings (learning rate, length, network) are parameters of their notebooks.
DEFAULTS = {
    "architecture": "hrnet",
    "encoder": "hrnet_w18_small",
    "pretrained": True,
    "optimiser": "sgd",
    "learning_rate": 0.004,
    "weight_decay": 5e-4,
    "batch_size": 48,
    "iterations": 60_000,
    "crop_size": (512, 1024),
    "augmentation": "scale_crop",
}


def load(data_root: Path | None) -> Dataset:
    """Cityscapes from leftImg8bit/{train,val}/<city>/ and gtFine/{train,val}/<city>/ (*_gtFine_labelIds.png).

    Raises InputError naming folder or file where these are missing or not as they should be.
    """
    folders = [f"{kind}/{split}" for kind in ("leftImg8bit", "gtFine") for split in ("train", "val")]
    require_folders(data_root, folders, dataset="cityscapes")
    train, val = (
        FileSplit(
            data_root,
            pair_files(
                data_root / "leftImg8bit" / split,
                data_root / "gtFine" / split,
                image_endings=["_leftImg8bit.png"],
                mask_ending="_gtFine_labelIds.png",
            ),
            CITYSCAPES_CLASSES,
            TRAIN_ID_OF_LABEL_ID,
        )
        for split in ("train", "val")
    )
    return Dataset("cityscapes", CITYSCAPES_CLASSES, train, val, DEFAULTS)
