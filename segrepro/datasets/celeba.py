"""CelebA (Learning from Failure, Section 4.2): is the hair blond, or the make-up heavy? The bias attribute is gender.

Validation is on the official validation images, as in the authors' code. Bias-aligned are, as the paper's text has it,
blond women and men who are not blond, and women with heavy make-up and men without.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import PositiveInt

from segrepro.datasets.base import Classes, Dataset, Groups
from segrepro.datasets.biased import QUALITATIVE
from segrepro.datasets.files_on_disk import require_folders
from segrepro.datasets.image_files import ImageFiles
from segrepro.errors import InputError

IMAGES, ATTRIBUTES, PARTITION = "img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt"
PUBLISHED_IN = {IMAGES: "Img", ATTRIBUTES: "Anno", PARTITION: "Eval"}  # torchvision has all three in one folder
TARGETS = {
    "HairColor": ("Blond_Hair", ("not blond", "blond")),
    "HeavyMakeup": ("Heavy_Makeup", ("no heavy make-up", "heavy make-up")),
}
GENDERS = ("female", "male")  # Male is -1, 1
ALIGNED = np.array([[False, True], [True, False]])  # (class, gender): the same for both targets

# As the authors train: 200 epochs. Two departures: they train only the last layer of an ImageNet network, and with
# Adam, which adds the weight decay to the gradient and does not decouple it.
DEFAULTS = {
    "architecture": "pooled",
    "encoder": "resnet18",
    "pretrained": True,
    "optimiser": "adamw",
    "learning_rate": 1e-4,
    "weight_decay": 1e-4,
    "decay_power": 0.0,
    "batch_size": 256,
    "iterations": 127_200,
    "evaluations": 40,
    "crop_size": None,
    "augmentation": "flip",
}


def load(
    data_root: Path | None, *, target: Literal["HairColor", "HeavyMakeup"] = "HairColor", size: PositiveInt = 224
) -> Dataset:
    """CelebA: img_align_celeba/, list_attr_celeba.txt and list_eval_partition.txt, in data_root as torchvision has them
    or in Img/, Anno/ and Eval/ as its publisher does.

    size: side in pixels that images are resized to, in each epoch anew: all of them would take 24 GB of memory.
    Raises InputError naming folder or file where these are missing or not as they should be.
    """
    published = data_root is not None and (data_root / PUBLISHED_IN[IMAGES]).is_dir()
    require_folders(data_root, (f"{PUBLISHED_IN[IMAGES]}/{IMAGES}" if published else IMAGES,), dataset="celeba")
    images, listed, parts = (
        data_root / PUBLISHED_IN[name] / name if published else data_root / name
        for name in (IMAGES, ATTRIBUTES, PARTITION)
    )
    attribute, names = TARGETS[target]
    classes = Classes(names, QUALITATIVE[:2])
    attributes = _table(listed, [attribute, "Male"], (-1, 1), skiprows=1)
    partition = _table(parts, ["split"], (0, 1, 2), names=["image", "split"])["split"]
    if not attributes.index.equals(partition.index):
        raise InputError(
            f"{parts} and {listed} list different images ({len(partition)} and {len(attributes)}). Copy both again "
            "from one source."
        )
    splits = []
    for number, name in enumerate(("training", "validation")):
        chosen = attributes[partition == number]
        if chosen.empty:
            raise InputError(f"{parts} lists no {name} image ({number}). Copy it again.")
        paths = [images / name for name in chosen.index]
        groups = Groups(GENDERS, (chosen["Male"] == 1).to_numpy().astype(np.int64), ALIGNED)
        labels = (chosen[attribute] == 1).to_numpy().astype(np.int64)
        splits.append(ImageFiles(data_root, paths, labels, classes, size=size, groups=groups))
    return Dataset("celeba", classes, *splits, DEFAULTS)


def _table(path: Path, columns: list[str], valid: tuple[int, ...], **options) -> pd.DataFrame:
    """Columns of one of CelebA's lists, whose rows begin with the image's name."""
    try:
        table = pd.read_csv(path, sep=r"\s+", index_col=0, **options)
        if table.index.inferred_type != "string":
            raise ValueError("its rows do not begin with the names of files")
        if absent := [column for column in columns if column not in table]:
            raise ValueError(f"it has no column {', '.join(absent)}")
        if not table[columns].isin(valid).all(axis=None):
            raise ValueError(f"values other than {', '.join(map(str, valid))} in {', '.join(columns)}")
    except (OSError, ValueError) as error:  # what pandas raises of a malformed file are ValueErrors
        raise InputError(f"{path} is missing, damaged or another list ({error}). Copy it from CelebA.") from error
    return table[columns]
