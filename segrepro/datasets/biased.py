"""What the data sets of Learning from Failure share: which image gets which value of the bias attribute.

Class c is aligned with value c. The training split has few of the other pairs; in the validation split every pair of
class and value is equally frequent, so that its mean accuracy is the unbiased one.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from segrepro.datasets.base import Classes, Groups, Images

Ratio = Annotated[float, Field(gt=0, le=1)]
Severity = Annotated[int, Field(ge=1, le=4)]  # no Literal: that would refuse the text "4"

# Paul Tol's "muted" scheme: ten colours that colour-blind readers can tell apart.
QUALITATIVE = (
    (51, 34, 136), (136, 204, 238), (68, 170, 153), (17, 119, 51), (153, 153, 51),
    (221, 204, 119), (204, 102, 119), (136, 34, 85), (170, 68, 153), (221, 221, 221),
)  # fmt: skip


def bias_values(labels: np.ndarray, values: int, aligned_ratio: float) -> np.ndarray:
    """The value (N,) int64 of the bias attribute that each image gets, from its class: labels (N,) in 0..values-1.

    Of class c a share `aligned_ratio` gets the value c, the rest is spread evenly over the others; with 1 / values all
    are equally frequent. Within a class the values 0, 1, ... lie one after the other in the order of the images, with
    borders at the rounded cumulative shares: nothing is drawn (as in the authors' code; the paper leaves it open).
    """
    shares = np.full((values, values), (1 - aligned_ratio) / (values - 1))
    np.fill_diagonal(shares, aligned_ratio)
    index = np.empty(len(labels), dtype=np.int64)
    for label, share in enumerate(shares):
        members = np.flatnonzero(labels == label)
        ends = np.round(len(members) * np.cumsum(share))
        index[members] = np.searchsorted(ends, np.arange(len(members)), side="right")
    return index


def swapped(split: Images, colours: tuple[tuple[int, int, int], ...]) -> Images:
    """The same images with the bias attribute as their class, in these colours, and the class as their bias."""
    groups, labels = split.groups, split.label_maps[:, 0, 0].astype(np.int64)
    return Images(
        Classes(groups.names, colours),
        split.images,
        groups.index,
        f"{split.fingerprint}:swapped",
        split.source,
        Groups(split.classes.names, labels, groups.aligned.T),
    )
