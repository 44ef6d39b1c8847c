"""What the papers compare with: plain training and simple remedies for class imbalance."""

import math
from typing import Literal

import numpy as np
import pydantic
import torch
from torch import Tensor, nn

from segrepro.datasets.base import IGNORE
from segrepro.errors import InputError
from segrepro.methods import Method, Step, full_precision, global_mean
from segrepro.models import upsample
from segrepro.papers.essnet import EmbeddingHead
from segrepro.papers.region_rebalance import log_prior

# The mild class weights of HRNet's Cityscapes loader, road ... bicycle: what DropClass's authors train with where the
# paper says "median-frequency balancing" (true median-frequency weights differ by a factor of hundreds between
# classes).
HRNET_WEIGHTS = (0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023,
                 0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507)  # fmt: skip


class Plain(Method):
    """Cross-entropy and nothing else: the baseline of every comparison."""


class MedianFrequency(Method):
    """Class weights median(freq) / freq_c on the cross-entropy (DropClass Section 3.2); classes without a
    pixel get 0.
    """

    def class_weights(self) -> Tensor:
        counts = np.asarray(self.statistics.pixel_counts, dtype=np.float64)
        weights = np.divide(np.median(counts[counts > 0]), counts, out=np.zeros_like(counts), where=counts > 0)
        return torch.tensor(weights, dtype=torch.float32)


class HRNetWeights(Method):
    """HRNet's mild list of class weights for Cityscapes' 19 classes.

    Raises InputError for any other number of classes.
    """

    def class_weights(self) -> Tensor:
        if len(self.classes) != len(HRNET_WEIGHTS):
            raise InputError(
                "methods: hrnet_weights is a list for Cityscapes' 19 classes; "
                f"this data set has {len(self.classes)}. Use median_frequency."
            )
        return torch.tensor(HRNET_WEIGHTS)


class Oversample(Method):
    """Every training image that contains one chosen class is seen twice an epoch (DropClass Table 3)."""

    class Parameters(Method.Parameters):
        oversample_class: str = pydantic.Field("motorcycle", description="the class whose images are seen twice")

    def repeats(self, presence: np.ndarray) -> np.ndarray:
        name = self.own.oversample_class
        if name not in self.classes.names:
            raise InputError(f"oversample_class: no class '{name}'; valid: {', '.join(self.classes.names)}")
        return 1 + presence[:, self.classes.names.index(name)].astype(np.int64)


class IgnoreLabel(Method):
    """Plain training that ignores the labels of one random class each step (DropClass Table 6, "Ignore Label").

    Departure: the probability rises from 0 to 1 as DropClass's does; the paper does not say.
    """

    def targets(self, labels: Tensor, step: Step) -> Tensor:
        coin = torch.rand((), generator=step.generator).item()
        z = int(torch.randint(len(self.classes), (), generator=step.generator))
        return labels.masked_fill(labels == z, IGNORE) if coin < step.progress else labels


class HardExamples(Method):
    """Cross-entropy of the hard pixels only: online hard example mining, part of FBNet's strong baseline (Section 4.1).

    Hard is a pixel whose own class has a probability below a threshold; where these are few, the hardest pixels of the
    batch, on each process, make up a share. The paper gives no details; these are the usual ones of segmentation code.
    """

    class Parameters(Method.Parameters):
        ohem_threshold: float = pydantic.Field(
            0.7, ge=0, le=1, description="pixels that are right with less probability are hard"
        )
        ohem_share: float = pydantic.Field(0.1, gt=0, le=1, description="at least this share of the labelled pixels")

    def main_loss(self, features: Tensor, labels: Tensor, step: Step) -> dict[str, Tensor]:
        logits, known = self.network.classifier(features), labels != IGNORE
        with torch.no_grad():
            probability = upsample(full_precision(logits), labels.shape[-2:]).softmax(dim=1)
            right = probability.gather(1, labels.clamp(min=0)[:, None])[:, 0].masked_fill(~known, 2)
            rank = max(1, math.ceil(self.own.ohem_share * int(known.sum())))
            threshold = right.flatten().kthvalue(rank).values.clamp(min=self.own.ohem_threshold)
            hard = labels.masked_fill(right > threshold, IGNORE)
        return {"cross_entropy": step.cross_entropy(logits, hard)}


# What Region Rebalance compares with: its Tables 1 and 6


class EffectiveNumber(Method):
    """Class weights (1 - beta) / (1 - beta^n_c) with n_c pixels on the cross-entropy: re-weighting by the effective
    number of samples (Cui et al., CVPR 2019); classes without a pixel get 0.

    beta = 0 weights all classes alike, beta -> 1 by 1 / n_c. The latter is `median_frequency`: our cross-entropy is
    divided by the weights of the pixels that count, so a common factor plays no part.
    """

    class Parameters(Method.Parameters):
        effective_beta: float = pydantic.Field(
            0.9999, ge=0, lt=1, description="beta; classes of many more than 1 / (1 - beta) pixels count alike"
        )

    def class_weights(self) -> Tensor:
        counts, beta = np.asarray(self.statistics.pixel_counts, dtype=np.float64), self.own.effective_beta
        weights = np.divide(1 - beta, 1 - beta**counts, out=np.zeros_like(counts), where=counts > 0)
        return torch.tensor(weights, dtype=torch.float32)


class BalancedSoftmax(Method):
    """Cross-entropy of every pixel on logits shifted by log F (Ren et al., NeurIPS 2020): rebalance of pixels.

    Test time uses the logits without the shift.
    """

    class Parameters(Method.Parameters):
        softmax_prior: Literal["pixels", "regions"] = pydantic.Field(
            "pixels", description="what F counts: pixels of the class, or images with it (Table 1's starred row)"
        )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        statistics = self.statistics
        counts = statistics.pixel_counts if self.own.softmax_prior == "pixels" else statistics.image_counts
        self.register_buffer("log_frequency", log_prior(counts, self.classes.names), persistent=False)

    def main_loss(self, features: Tensor, labels: Tensor, step: Step) -> dict[str, Tensor]:
        logits = self.network.classifier(features) + self.log_frequency.view(-1, 1, 1)
        return {"cross_entropy": step.cross_entropy(logits, labels)}


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """V-Net's Dice loss, 1 - (2 sum pg + 1) / (sum p^2 + sum g + 1) over the labelled pixels of each image and class,
    averaged over both.

    logits (B, C, h, w), up-sampled to the labels' size, labels (B, H, W) -> scalar. The added 1, mmsegmentation's
    default, defines the loss for a class that an image lacks.
    """
    probability = upsample(full_precision(logits), labels.shape[-2:]).softmax(dim=1)  # p
    probability = probability * (labels != IGNORE)[:, None]
    truth = labels[:, None] == torch.arange(logits.shape[1], device=labels.device).view(-1, 1, 1)  # g
    overlap = (probability * truth).sum(dim=(2, 3))
    size = probability.square().sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    loss = 1 - (2 * overlap + 1) / (size + 1)
    return global_mean(loss.sum(), loss.new_tensor(loss.numel()))


class Dice(Method):
    """Dice loss in place of the cross-entropy, or beside it."""

    class Parameters(Method.Parameters):
        dice_cross_entropy: float = pydantic.Field(
            0.0, ge=0, description="weight of the cross-entropy beside the Dice loss; 0 is Dice alone"
        )

    def main_loss(self, features: Tensor, labels: Tensor, step: Step) -> dict[str, Tensor]:
        logits, weight = self.network.classifier(features), self.own.dice_cross_entropy
        terms = {"dice": dice_loss(logits, labels)}
        return terms | ({"cross_entropy": weight * step.cross_entropy(logits, labels)} if weight else {})


# What ESSNet is compared with


class CosineClassifier(Method):
    """The network's K features and one vector a class, all of unit length, and the softmax over all classes: ESSNet
    without its d channels and without truncation, at the memory of C channels.
    """

    class Parameters(Method.Parameters):
        cosine_tau: float = pydantic.Field(
            0.05, gt=0, description="temperature of squared distances, as in ESSNet: cosines are divided by half of it"
        )

    def classifier(self) -> nn.Module:
        return EmbeddingHead(
            self.network.classifier.in_channels, len(self.classes), None, self.own.cosine_tau, "before"
        )
