"""Colored digits: as Colored MNIST, of the 1797 digits of 8 x 8 pixels that come with scikit-learn. No download.

The first three quarters of each digit's images are for training, the rest for validation.
"""

from pathlib import Path

import numpy as np

from segrepro.datasets.base import Dataset
from segrepro.datasets.biased import Ratio, Severity
from segrepro.datasets.colored_mnist import DEFAULTS as MNIST_DEFAULTS
from segrepro.datasets.colored_mnist import colored

DEFAULTS = {**MNIST_DEFAULTS, "batch_size": 64, "iterations": 400, "evaluations": 10, "input_divisor": 1.0}
WHITE = 16  # the largest grey value in the digits


def load(
    data_root: Path | None = None, *, aligned_ratio: Ratio = 0.95, severity: Severity = 4, swap: bool = False
) -> Dataset:
    """The colored digits; `data_root` is not used. The options are those of colored_mnist."""
    from sklearn.datasets import load_digits  # scikit-learn takes a second to import: not for those who need it not

    digits = load_digits()
    grey, labels = (digits.images * 255 / WHITE).astype(np.uint8), digits.target.astype(np.int64)
    place = np.empty_like(labels)  # of an image among those of its digit
    for digit in range(10):
        place[labels == digit] = np.arange((labels == digit).sum())
    training = place < 3 * np.bincount(labels)[labels] // 4
    splits = {name: (grey[chosen], labels[chosen]) for name, chosen in (("train", training), ("val", ~training))}
    return colored("colored_digits", splits, DEFAULTS, aligned_ratio=aligned_ratio, severity=severity, swap=swap)
