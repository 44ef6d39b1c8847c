"""One's own data: images/, masks/ (PNG files of the same names whose grey values are the labels) and classes.csv."""

import colorsys
import csv
import hashlib
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image, ImageColor
from pydantic import Field, NonNegativeInt
from tqdm.auto import tqdm

from segrepro.datasets.base import Classes, Dataset
from segrepro.datasets.files_on_disk import (
    Fault,
    FileSplit,
    Pair,
    contiguous_labels,
    match_files,
    raise_first,
    read_mask,
    require_folders,
)
from segrepro.errors import InputError
from segrepro.files import write_atomically
from segrepro.progress import SHOW_PROGRESS

VOID = (255, 65535)  # the largest value of an 8-bit and of a 16-bit mask
MOST_CLASSES = 2**15 - 1  # labels are int16
SPLITS = ("train", "val")
NEARLY = (*SPLITS, "training", "trainval", "valid", "validation", "eval", "dev", "test", "testing")  # in any case
LIST = "classes.csv"
COLUMNS = ("name", "colour", "background", "rare")
Fraction = Annotated[float, Field(gt=0, lt=1)]
ONE_CLASS = (
    "all labelled pixels are of one class, so there is nothing to tell apart (255 means unlabelled: in masks of 0 and "
    "255 the second class is lost). Save every class as a value of its own: 0, 1, 2 and so on."
)
FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}

DEFAULTS = {
    "architecture": "deeplabv3plus",
    "encoder": "tf_efficientnet_lite0",
    "pretrained": True,
    "optimiser": "adamw",
    "learning_rate": 1e-3,
    "encoder_learning_rate": 2e-4,
    "weight_decay": 1e-4,
    "batch_size": 8,
    "iterations": 2000,
    "crop_size": (256, 256),
    "augmentation": "scale_crop",
}


def load(data_root: Path | None, *, val_fraction: Fraction = 0.2, split_seed: NonNegativeInt = 0) -> Dataset:
    """The images and masks in `data_root`.

    Splits are the sub-folders train/ and val/ of images/ and masks/ where they exist (others beside them are left out);
    else `val_fraction` of the images, drawn with `split_seed`, are for validation. Mask values 0..C-1 are the labels,
    255 and 65535 are ignored (unless there are so many classes). classes.csv has one row a class in the order of
    labels, with the columns name and, as one likes, colour ("#ff0000" or "255 0 0"), background and rare (true or
    false). Without it the classes are 0 to the largest value in the masks, which takes one pass over them.

    Raises InputError naming file, class or parameter.
    """
    train, val, faults = listing(data_root, val_fraction=val_fraction, split_seed=split_seed)
    raise_first(faults)
    listed = data_root / LIST
    classes = read_classes(listed) if listed.exists() else classes_in(data_root, _values(train + val))
    meaning = contiguous_labels(len(classes), VOID)
    train, val = (FileSplit(data_root, pairs, classes, meaning) for pairs in (train, val))
    return Dataset("folder", classes, train, val, DEFAULTS)


def listing(
    data_root: Path | None, *, val_fraction: float = 0.2, split_seed: int = 0
) -> tuple[list[Pair], list[Pair], list[Fault]]:
    """The pairs for training and for validation, and the files that have no partner or share their name with another.

    Raises InputError where that is not the layout, or holds no image.
    """
    require_folders(data_root, ("images", "masks"), dataset="folder")
    if any((data_root / kind / name).is_dir() for kind in ("images", "masks") for name in SPLITS):
        folders = {name: (f"images/{name}", f"masks/{name}") for name in SPLITS}
        require_folders(data_root, [path for pair in folders.values() for path in pair], dataset="folder")
        (train, faults), (val, more) = (
            match_files(data_root / images, data_root / masks) for images, masks in folders.values()
        )
        return train, val, faults + more
    if named := [
        path for path in sorted((data_root / "images").iterdir()) if path.is_dir() and path.name.lower() in NEARLY
    ]:
        raise InputError(
            f"{named[0]} looks like a split, but splits are the sub-folders train/ and val/ of images/ and masks/; all "
            "others would be mixed and divided anew. Rename it in both, or give it a name that is no split's."
        )
    pairs, faults = match_files(data_root / "images", data_root / "masks")
    if faults and len(pairs) < 2:
        return pairs, [], faults
    return *_split(pairs, val_fraction, split_seed), faults


def _split(pairs: list[Pair], val_fraction: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    if len(pairs) < 2:
        raise InputError(
            f"{pairs[0][0]} is the only image: one for training and one for validation are needed. Add images."
        )
    count = min(max(round(val_fraction * len(pairs)), 1), len(pairs) - 1)
    chosen = set(np.random.default_rng(seed).permutation(len(pairs))[:count].tolist())
    return [pair for i, pair in enumerate(pairs) if i not in chosen], [
        pair for i, pair in enumerate(pairs) if i in chosen
    ]


def read_classes(path: Path) -> Classes:
    """The classes listed in a CSV file with the columns `name`, and, as one likes, `colour`, `background`, `rare`.

    Raises InputError naming the file and row, also for an empty list or a name given twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns, rows = reader.fieldnames or [], list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV file in UTF-8 ({error}). Save it as such.") from error
    if "name" not in columns or not set(columns) <= set(COLUMNS):
        shown = ", ".join(columns) or "none"
        hint = " Separate columns by commas." if any(";" in name for name in columns) else ""
        raise InputError(f"{path} has the columns {shown}. It needs name and may have {', '.join(COLUMNS[1:])}.{hint}")
    if not rows:
        raise InputError(f"{path} lists no class. Add one row a class in the order of labels, or delete the file.")
    names, colours, chosen = [], [], {"background": [], "rare": []}
    for label, (row, colour) in enumerate(zip(rows, _distinct_colours(len(rows)), strict=True)):
        where = f"{path}, class {label}"
        if None in row:
            raise InputError(
                f"{where} has more values than there are columns. Put those with a comma in double quotes."
            )
        name, text = (str(row.get(column) or "").strip() for column in ("name", "colour"))
        if not name or name in names:
            raise InputError(f"{where}: the name '{name}' is {'given twice' if name else 'empty'}. Give each its own.")
        names.append(name)
        colours.append(_colour(text, where) if text else colour)
        for column, members in chosen.items():
            flag = str(row.get(column) or "").strip()
            if flag.lower() not in FLAGS:
                raise InputError(f"{where}: {column} is '{flag}'. Write true or false.")
            if FLAGS[flag.lower()]:
                members.append(name)
    return Classes(tuple(names), tuple(colours), **{column: tuple(members) for column, members in chosen.items()})


def _colour(text: str, where: str) -> tuple[int, int, int]:
    """A colour like "#ff0000" or "255 0 0"."""
    try:
        red, green, blue = map(int, text.split()) if text[0].isdigit() else ImageColor.getrgb(text)
    except ValueError:
        red = -1
    if red < 0 or max(red, green, blue) > 255:
        raise InputError(f"{where}: colour is '{text}'. Write it like #ff0000 or 255 0 0.")
    return red, green, blue


def _distinct_colours(count: int) -> list[tuple[int, int, int]]:
    """Hues a golden angle apart, so that neighbouring labels differ and more classes do not change the first ones."""
    hues = (i * 0.6180339887 % 1 for i in range(count))
    return [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, 0.9)) for hue in hues]


def _values(pairs: list[Pair]) -> Iterator[tuple[Path, np.ndarray]]:
    for _, mask in tqdm(pairs, "looking for classes", file=sys.stderr, delay=1, leave=False, disable=not SHOW_PROGRESS):
        yield mask, read_mask(mask)


def classes_in(data_root: Path, masks: Iterable[tuple[Path, np.ndarray]]) -> Classes:
    """Classes named by their labels, 0 to the largest value in the masks; masks: files with (some of) their values.

    Raises InputError for a value that is too large for a label, or if there are fewer than two labels.
    """
    count = 0
    for mask, values in masks:
        values = values.astype(np.int32)
        count = max(count, 1 + values[~np.isin(values, VOID)].max(initial=-1))
        if count > MOST_CLASSES:
            raise InputError(
                f"{mask} holds the value {count - 1}; labels go up to {MOST_CLASSES - 1}. Correct the mask."
            )
    if not count:
        raise InputError(f"{data_root / 'masks'}: no mask has a value other than 255 and 65535. Label the images.")
    if count == 1:
        raise InputError(f"{data_root / 'masks'}: {ONE_CLASS}")
    return Classes(tuple(f"class {i}" for i in range(count)), tuple(_distinct_colours(count)))


def write(dataset: Dataset, parent: Path) -> Path:
    """Write a data set as such a folder in `parent`, and return it; it is named by the data set and its fingerprints.

    The list of classes comes last: where it is there, the folder is complete and is left as it is.
    """
    contents = hashlib.sha256(f"{dataset.train.fingerprint}/{dataset.val.fingerprint}".encode()).hexdigest()[:12]
    root, classes = Path(parent) / f"{dataset.name}-as-folder-{contents}", dataset.classes
    if (root / LIST).exists():
        return root
    kind = np.uint8 if len(classes) <= VOID[0] else np.uint16  # either turns IGNORE, -1, into its void value
    samples = [(name, split, i) for name, split in zip(SPLITS, (dataset.train, dataset.val), strict=True)
               for i in range(len(split))]  # fmt: skip
    for name, split, i in tqdm(
        samples, f"writing {root.name}", file=sys.stderr, delay=1, leave=False, disable=not SHOW_PROGRESS
    ):
        image, labels = split[i]
        for folder, picture in (("images", image), ("masks", labels.astype(kind))):
            content = io.BytesIO()
            Image.fromarray(picture).save(content, "png")
            write_atomically(root / folder / name / f"{i:05}.png", content.getvalue())
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for name, colour in zip(classes.names, classes.colours, strict=True):
        table.writerow([name, " ".join(map(str, colour)), name in classes.background, name in classes.rare])
    write_atomically(root / LIST, text.getvalue())
    return root
