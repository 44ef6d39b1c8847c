"""Colored MNIST (Learning from Failure, Section 4.1): digits in ten colours, of which each digit prefers one.

The paper states neither the colours nor the perturbation nor which image gets which colour; all three are the authors'.
    1. One colour an image: the mean colour plus Gaussian noise in each channel, clipped to 0..1, times the grey values
       and truncated to 8 bits. The background stays black.
    2. The standard deviation of the noise is 0.05, 0.02, 0.01 or 0.005 for severity 1 to 4.
    3. Validation is on MNIST's test images, every pair of digit and colour equally frequent.
Ours is the seed of the noise, which is fixed, so that data sets of the same options are the same.
"""

import gzip
import hashlib
import math
import zlib
from pathlib import Path

import numpy as np

from segrepro.datasets.base import Classes, Dataset, Groups, Images
from segrepro.datasets.biased import Ratio, Severity, bias_values, swapped
from segrepro.errors import InputError

VERSION = 1  # raise it when pixels change: recorded runs depend on it

MEAN_COLOURS = np.array([
    (0.983682, 0.312519, 0.168575), (0.990530, 0.915605, 0.351512), (0.672964, 0.461070, 0.579808),
    (0.783252, 0.831556, 0.601329), (0.088016, 0.777963, 0.981808), (0.321393, 0.961055, 0.446450),
    (0.024616, 0.235650, 0.758666), (0.555247, 0.101580, 0.761763), (0.207723, 0.392949, 0.018702),
    (0.833658, 0.202409, 0.266943),
], dtype=np.float32)  # fmt: skip
COLOUR_NAMES = ("orange", "yellow", "mauve", "khaki", "sky blue", "light green", "blue", "violet", "dark green", "red")
NOISE = {1: 0.05, 2: 0.02, 3: 0.01, 4: 0.005}
_RGB = tuple(tuple(colour) for colour in np.round(255 * MEAN_COLOURS).astype(int).tolist())
DIGITS = Classes(tuple("0123456789"), _RGB)  # a digit is shown in the colour that it is aligned with

FILES = {  # images and labels of each split
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "val": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

# As the authors train: 100 epochs of 60 000 images. They evaluate as each epoch begins, we after every second one.
DEFAULTS = {
    "architecture": "mlp",
    "encoder": "none",
    "pretrained": False,
    "optimiser": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "decay_power": 0.0,
    "batch_size": 256,
    "iterations": 23_438,
    "evaluations": 50,
    "input_divisor": 255.0,
    "crop_size": None,
    "augmentation": "none",
}


def load(data_root: Path | None, *, aligned_ratio: Ratio = 0.99, severity: Severity = 3, swap: bool = False) -> Dataset:
    """Colored MNIST from MNIST's four IDX files, plain or as .gz, in data_root, data_root/raw or data_root/MNIST/raw.

    aligned_ratio: the share of training images in their digit's colour; 0.1 is an unbiased training set.
    severity: 1 (colours vary most, the easiest to ignore) to 4 (least); 3 with inputs that are divided by 255 twice, as
    the authors' network does, comes nearest to the paper's plain training (03_lff), and so is the default.
    swap: the same images, but the colour is to be told and the digit is the bias.
    Raises InputError naming the file if one is missing or damaged.
    """
    folder = _raw_folder(data_root)
    splits = {name: _read_pair(folder, *names) for name, names in FILES.items()}
    (_, *there), (_, *for_testing) = (splits[name][0].shape for name in ("train", "val"))
    if there != for_testing:
        raise InputError(
            f"{folder / FILES['train'][0]} has images of {there} pixels, {folder / FILES['val'][0]} of {for_testing}. "
            "Copy both again from one source."
        )
    return colored("colored_mnist", splits, DEFAULTS, aligned_ratio=aligned_ratio, severity=severity, swap=swap)


def colored(
    name: str, splits: dict[str, tuple[np.ndarray, np.ndarray]], defaults: dict, *, aligned_ratio: float, severity: int,
    swap: bool,
) -> Dataset:  # fmt: skip
    """The data set of "train" and "val", each grey images (N, H, W) uint8 and digits (N,), with coloured digits."""
    made = {}
    for seed, (split, (grey, digits)) in enumerate(splits.items()):
        ratio = aligned_ratio if split == "train" else 1 / len(DIGITS)
        colours = bias_values(digits, len(DIGITS), ratio)
        content = hashlib.sha256(grey.tobytes() + digits.astype(np.uint8).tobytes()).hexdigest()
        made[split] = Images(
            DIGITS,
            coloured(grey, colours, NOISE[severity], seed),
            digits,
            f"{name}-v{VERSION}:{content}:aligned={float(ratio)!r}:noise={NOISE[severity]}:seed={seed}",
            f"{name} {split} image {{}}".format,
            Groups(COLOUR_NAMES, colours, np.eye(len(DIGITS), dtype=bool)),
        )
        if swap:
            made[split] = swapped(made[split], DIGITS.colours)
    return Dataset(name, made["train"].classes, made["train"], made["val"], defaults)


def coloured(grey: np.ndarray, colours: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """Images (N, H, W, 3) uint8 from grey ones (N, H, W) uint8 and the index (N,) of each one's mean colour."""
    perturbation = np.random.default_rng(seed).standard_normal((len(grey), 3)) * noise
    rgb = np.clip(MEAN_COLOURS[colours] + perturbation, 0, 1)[:, None, None]
    images = np.empty((*grey.shape, 3), dtype=np.uint8)
    # Straight into 8 bits: MNIST in floating point would take half a gigabyte.
    return np.multiply(grey[..., None], rgb, out=images, dtype=np.float32, casting="unsafe")


def _raw_folder(data_root: Path | None) -> Path:
    wanted = f"data set 'colored_mnist' expects MNIST's files in it or below it in raw/ or MNIST/raw/ ({_listed()})"
    if data_root is None:
        raise InputError(f"data_root is not set: {wanted}. Set data_root to the folder that holds the data.")
    folders = (data_root, data_root / "raw", data_root / "MNIST" / "raw")
    first = FILES["train"][0]
    found = next((f for f in folders if any((f / n).is_file() for n in (first, f"{first}.gz"))), None)
    if found is None:
        raise InputError(f"data_root {data_root} does not hold MNIST: {wanted}; {first} is missing. Correct data_root.")
    return found


def _listed() -> str:
    return ", ".join(name for names in FILES.values() for name in names) + ", each plain or as .gz"


def _read_pair(folder: Path, images: str, labels: str) -> tuple[np.ndarray, np.ndarray]:
    grey, digits = read_idx(folder / images, 3), read_idx(folder / labels, 1)
    if len(grey) != len(digits) or not len(grey):
        raise InputError(
            f"{folder / images} holds {len(grey)} images, {folder / labels} {len(digits)} labels. Copy both files "
            "again from one source."
        )
    if digits.max() >= len(DIGITS):
        raise InputError(f"{folder / labels} holds the label {digits.max()}; valid are 0-9. Use MNIST's own file.")
    return grey, digits.astype(np.int64)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The unsigned bytes of an IDX file with so many dimensions; `path` itself or, where it is not there, `path`.gz.

    Raises InputError naming the file if it is missing, damaged or of another kind.
    """
    plain, packed = path, path.with_name(f"{path.name}.gz")
    path = plain if plain.exists() or not packed.exists() else packed
    try:
        with (gzip.open if path is packed else open)(path, "rb") as file:
            magic = file.read(4)
            if magic != bytes((0, 0, 8, dimensions)):  # 8 is the format's code for unsigned bytes
                raise ValueError(f"it begins with {magic.hex(' ') or 'nothing'}, not 00 00 08 0{dimensions}")
            shape = np.frombuffer(file.read(4 * dimensions), dtype=">u4").tolist()
            size = math.prod(shape)
            data = file.read()
        if len(shape) != dimensions or len(data) != size:
            raise ValueError(f"{len(data)} bytes in place of the announced {size}")
    except FileNotFoundError as error:
        raise InputError(f"{plain} is missing, and so is {packed.name}. Copy MNIST's files there.") from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path} is damaged or no IDX file ({error}). Copy it again from its source.") from error
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
