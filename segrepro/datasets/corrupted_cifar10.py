"""Corrupted CIFAR-10 (Learning from Failure, Section 4.1): photographs under ten corruptions, one for each class.

The paper names its two sets of corruptions, ^1 and ^2, and leaves the rest open. As the authors' code has it, class j
prefers the j-th corruption, and severity 1 to 4 is level 2 to 5 of CIFAR-10-C. Validation is on CIFAR-10's test images,
every pair of class and corruption equally frequent.

Corrupting all images takes a minute or two; they are kept in cache/ beside CIFAR-10, or else in ~/.cache/segrepro.
"""

import contextlib
import hashlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import safetensors
import safetensors.numpy
from pydantic import Field
from tqdm.auto import tqdm

from segrepro.datasets import cifar10
from segrepro.datasets.base import Classes, Dataset, Groups, Images
from segrepro.datasets.biased import QUALITATIVE, Ratio, Severity, bias_values, swapped
from segrepro.datasets.corruptions import corrupt
from segrepro.errors import InputError
from segrepro.files import write_atomically
from segrepro.progress import SHOW_PROGRESS

VERSION = 1  # raise it when pixels change: recorded runs and cached images depend on it
CLASSES = Classes(cifar10.NAMES, QUALITATIVE)
ORIGINAL = "original"
SETS = {
    1: ("snow", "frost", "fog", "brightness", "contrast", "spatter", "elastic", "jpeg", "pixelate", "saturate"),
    2: ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "gaussian_blur", "defocus_blur", "glass_blur",
        "motion_blur", "zoom_blur", ORIGINAL),
}  # fmt: skip
CHUNK = 500  # images that are corrupted at a time: their copies in double precision take 12 MB each

# As the authors train: 200 epochs of 50 000 images. They evaluate as each epoch begins, we after every fifth one.
DEFAULTS = {
    "architecture": "resnet20",
    "encoder": "none",
    "pretrained": False,
    "optimiser": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "decay_power": 0.0,
    "batch_size": 256,
    "iterations": 39_063,
    "evaluations": 40,
    "crop_size": None,
    "augmentation": "pad_crop",
}


def load(
    data_root: Path | None,
    *,
    corruptions: Annotated[int, Field(ge=1, le=2)] = 1,
    severity: Severity = 4,
    aligned_ratio: Ratio = 0.99,
    swap: bool = False,
) -> Dataset:
    """Corrupted CIFAR-10 from CIFAR-10 in any layout that `cifar10.find` knows.

    corruptions: the paper's set 1 or 2. severity: 1 (weak) to 4. aligned_ratio: the share of training images with their
    class's corruption; 0.1 is an unbiased training set. swap: the same images, but the corruption is to be told and the
    class is the bias. Raises InputError naming folder or file.
    """
    source = cifar10.find(data_root)
    names = SETS[corruptions]
    splits = []
    for seed, (split, ratio) in enumerate({"train": float(aligned_ratio), "test": 1 / len(names)}.items()):
        recipe = f"{split}:corruptions={corruptions}:severity={severity}:aligned={ratio!r}:seed={seed}"
        fingerprint = f"corrupted_cifar10-v{VERSION}:{source.fingerprint}:{recipe}"
        file = f"corrupted_cifar10-{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}.safetensors"
        places = [folder / file for folder in (source.folder / "cache", _user_cache())]
        stored = _stored(places)
        if stored is None:
            images, labels = source.read(split)
            index = bias_values(labels, len(names), ratio)
            _corrupt_all(images, index, names, level=severity + 1, seed=seed)
            stored = {"images": images, "labels": labels, "index": index}
            _store(stored, places)
        groups = Groups(names, stored["index"], np.eye(len(names), dtype=bool))
        called = f"corrupted_cifar10 {split} image {{}}".format
        made = Images(CLASSES, stored["images"], stored["labels"], fingerprint, called, groups)
        splits.append(swapped(made, QUALITATIVE) if swap else made)
    return Dataset("corrupted_cifar10", splits[0].classes, *splits, DEFAULTS)


def _corrupt_all(images: np.ndarray, index: np.ndarray, names: Sequence[str], *, level: int, seed: int) -> None:
    """Give each image (N, 32, 32, 3), in place, the corruption names[index]."""
    shown = {"file": sys.stderr, "delay": 1, "leave": False, "disable": not SHOW_PROGRESS}
    with tqdm(total=len(images), desc="corrupting", **shown) as bar:
        for value, name in enumerate(names):
            generator, members = np.random.default_rng((seed, value)), np.flatnonzero(index == value)
            for chunk in (members[start : start + CHUNK] for start in range(0, len(members), CHUNK)):
                if name != ORIGINAL:
                    images[chunk] = corrupt(images[chunk], name, level, generator)
                bar.update(len(chunk))


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segrepro"


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]))
    return digest.hexdigest()


def _stored(places: Sequence[Path]) -> dict[str, np.ndarray] | None:
    """The arrays in the first of these files that is there and whole; a damaged one is passed over with a warning."""
    for path in places:
        try:
            if not path.exists():
                continue
            with safetensors.safe_open(path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in ("images", "labels", "index")}
                digest = (file.metadata() or {}).get("sha256")
            if _digest(arrays) == digest:
                return arrays
            problem = "its checksum is another"
        except (OSError, safetensors.SafetensorError) as error:
            problem = str(error)
        warnings.warn(f"{path} is damaged ({problem}); the images are corrupted again", stacklevel=3)
    return None


def _store(arrays: dict[str, np.ndarray], places: Sequence[Path]) -> None:
    """Write the arrays to the first of these files that can be written; a warning if none can."""
    content = safetensors.numpy.save(arrays, {"sha256": _digest(arrays)})
    for path in places:
        there = next(folder for folder in path.absolute().parents if folder.exists())
        # An administrator could write into a folder that is marked read-only, and should not.
        if there.stat().st_mode & 0o222:
            with contextlib.suppress(InputError):
                return write_atomically(path, content)
    shown = " nor ".join(str(path.parent) for path in places)
    return warnings.warn(f"the corrupted images are not kept: neither {shown} can be written", stacklevel=3)
