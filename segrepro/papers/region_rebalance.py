"""Region Rebalance for Long-Tailed Semantic Segmentation (Cui, Yuan, Zhong, Tian, Hu, Lin, Jia, 2022).

Average the features of all pixels that one class has in one image: a "region". Classify the regions with a linear layer
of their own, under a loss rebalanced by how many images contain each class. Regions are less imbalanced than pixels,
and rebalancing them does not buy accuracy with false positives, as rebalancing pixels does.

    region_features    the averages, Section 3.2
    log_prior          log F for Eq. (8); F of Eq. (7) is `Statistics.image_counts`
    region_loss        Eq. (8)
    RegionRebalance    Eq. (9); the branch exists in training only

What the paper leaves open, and what we do
    1. The branch reads A, the input of the pixel classifier (Figure 2 draws it there).
    2. Features and labels differ in size. Every labelled pixel takes the features of the cell of A that it lies in, as
       if A were enlarged without interpolation, so no region is too small to count.
    3. The region classifier is one linear layer with a bias, initialised as PyTorch does.
    4. F counts whole training images, while regions are those of the crops trained on.
    5. Ignored pixels belong to no region. A class in no training image gets F = 1, with a warning: log 0 is no logit.

Shapes: B images, C classes, K channels, features A (B, K, h, w), labels (B, H, W), R regions in a batch.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import pydantic
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from segrepro.datasets.base import IGNORE
from segrepro.datasets.batches import Batch
from segrepro.errors import InputError
from segrepro.methods import Method, Step, full_precision, global_mean


def region_features(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Mean feature f_r of every region (R, K), and its class (R,), by image, then class; R may be 0.

    features A (B, K, h, w), labels (B, H, W). One index-add over (image, class): neither time nor memory grows with C.
    """
    features = full_precision(features)
    images, channels, height, width = features.shape
    rows, columns = (torch.arange(size, device=labels.device) * cells // size
                     for size, cells in zip(labels.shape[-2:], (height, width), strict=True))  # fmt: skip
    image = torch.arange(images, device=labels.device).view(-1, 1, 1)
    cell = (image * height + rows[:, None]) * width + columns  # (B, H, W)
    # Pixels of one class in one cell have the same features: they are added once, times how many they are.
    pairs, pixels = (cell * classes + labels)[labels != IGNORE].unique(return_counts=True)
    cell, label = pairs // classes, pairs % classes
    regions, region = (cell // (height * width) * classes + label).unique(return_inverse=True)
    pixels = pixels.to(features.dtype)[:, None]
    in_cells = features.movedim(1, -1).reshape(-1, channels).index_select(0, cell)
    sums = features.new_zeros(len(regions), channels).index_add(0, region, pixels * in_cells)
    areas = features.new_zeros(len(regions), 1).index_add(0, region, pixels)
    return sums / areas, regions % classes


def log_prior(frequencies: Sequence[int] | np.ndarray, names: Sequence[str]) -> Tensor:
    """log F(k) (C,): what balanced softmax adds to the logits, from how often each class occurs in training.

    A class that never occurs counts as once, with a warning that names it. Raises InputError for a frequency that is
    negative or no number, or if all are 0.
    """
    counts = np.asarray(frequencies, dtype=np.float64)
    if wrong := [name for name, count in zip(names, counts, strict=True) if not 0 <= count < np.inf]:
        raise InputError(
            f"prior: the frequency of {', '.join(wrong)} is negative or no number; valid are counts from 0"
        )
    if not counts.any():
        raise InputError(
            "prior: all frequencies are 0, and at least one must be above: the training split has no labelled pixel. "
            "Check its masks."
        )
    if absent := [name for name, count in zip(names, counts, strict=True) if count == 0]:
        warnings.warn(f"in no training image: {', '.join(absent)}; frequency 0 is raised to 1", stacklevel=2)
    return torch.from_numpy(np.log(np.where(counts == 0, 1, counts))).float()


def region_loss(logits: Tensor, labels: Tensor, log_frequency: Tensor) -> Tensor:
    """Eq. (8): mean balanced-softmax cross-entropy over the regions of all processes; 0 if there is none.

    logits r (R, C), labels (R,), log_frequency log F (C,) -> scalar. F(y) e^(r_y) / sum_k F(k) e^(r_k) is the softmax
    of r + log F; a constant F leaves plain cross-entropy.
    """
    total = cross_entropy(full_precision(logits) + log_frequency, labels, reduction="sum")
    return global_mean(total, total.new_tensor(len(labels)))


class RegionRebalance(Method):
    """Plain training with the region loss beside the pixel loss; what is deployed is the plain network."""

    class Parameters(Method.Parameters):
        region_lambda: float = pydantic.Field(0.3, ge=0, description="weight of the region loss, Eq. (9)")
        region_rebalanced: bool = pydantic.Field(
            True, description="False leaves F out of Eq. (8): the region branch alone (Figure 7, component I)"
        )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        classes = self.classes.names
        self.region_classifier = nn.Linear(self.network.classifier.in_channels, len(classes))
        frequency = self.statistics.image_counts if self.own.region_rebalanced else np.ones(len(classes))
        self.register_buffer("log_frequency", log_prior(frequency, classes), persistent=False)

    def extra_losses(self, features: Tensor, labels: Tensor, step: Step) -> dict[str, Tensor]:
        """lambda L_reg of Eq. (9)."""
        regions, region_labels = region_features(features, labels, len(self.classes))
        loss = region_loss(self.region_classifier(regions), region_labels, self.log_frequency)
        return {"region": self.own.region_lambda * loss}

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Regions of each class that the region classifier gets right, and all: "regions" (2, C) (Figure 4 (c))."""
        classes = len(self.classes)
        regions, labels = region_features(self.network.features(batch.images), batch.labels, classes)
        right = labels[self.region_classifier(regions).argmax(dim=1) == labels]
        return {"regions": torch.stack([right.bincount(minlength=classes), labels.bincount(minlength=classes)])}
