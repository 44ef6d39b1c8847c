"""What the papers compare with: plain training and simple remedies for class imbalance."""

import math
import warnings
from typing import Literal

import numpy as np
import pydantic
import torch
from scipy.special import expit
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from segrepro.datasets.base import IGNORE, Groups
from segrepro.datasets.statistics import Statistics
from segrepro.errors import InputError
from segrepro.methods import Method, Step, full_precision, global_mean
from segrepro.models import upsample
from segrepro.papers.essnet import EmbeddingHead
from segrepro.papers.region_rebalance import log_prior
from segrepro.processes import sum_over_processes

# The mild class weights of HRNet's Cityscapes loader: what DropClass's authors train with where the paper says
# "median-frequency balancing" (by the formula, weights differ by a factor of hundreds between classes).
HRNET_WEIGHTS = {
    "road": 0.8373, "sidewalk": 0.918, "building": 0.866, "wall": 1.0345, "fence": 1.0166, "pole": 0.9969,
    "traffic light": 0.9754, "traffic sign": 1.0489, "vegetation": 0.8786, "terrain": 1.0023, "sky": 0.9539,
    "person": 0.9843, "rider": 1.1116, "car": 0.9037, "truck": 1.0865, "bus": 1.0955, "train": 1.0865,
    "motorcycle": 1.1529, "bicycle": 1.0507,
}  # fmt: skip

REPAIR_BIAS = 1e-3  # the share of the class entropy that the bias attribute may still explain
REPAIR_RATE = 10 / 128  # learning rate of the weights
REPAIR_STEPS = 20_000


class Plain(Method):
    """Cross-entropy and nothing else: the baseline of every comparison."""


class MedianFrequency(Method):
    """Class weights median(freq) / freq_c on the cross-entropy (DropClass Section 3.3); classes without a pixel get 0.

    The paper gives no formula. Here freq_c is the class's share of all pixels (Badrinarayanan et al., SegNet, 2017), up
    to a factor inverse frequency. Eigen and Fergus (2015), who proposed it, take the share of the images that contain
    the class, which gives rare classes less.
    """

    def class_weights(self) -> Tensor:
        counts = np.asarray(self.statistics.pixel_counts, dtype=np.float64)
        weights = np.divide(np.median(counts[counts > 0]), counts, out=np.zeros_like(counts), where=counts > 0)
        return torch.tensor(weights, dtype=torch.float32)


class HRNetWeights(Method):
    """HRNet's mild list of class weights for Cityscapes' classes. Raises InputError for data with any other class."""

    def class_weights(self) -> Tensor:
        if unknown := [name for name in self.classes.names if name not in HRNET_WEIGHTS]:
            raise InputError(
                f"methods: hrnet_weights has weights for Cityscapes' classes only, not for {', '.join(unknown)}. "
                "Use median_frequency."
            )
        return torch.tensor([HRNET_WEIGHTS[name] for name in self.classes.names])


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
    """Plain training that ignores the labels of one random class each step (DropClass Table 6, "Ignore Label")."""

    version = 2  # 1: with a probability that rose from 0 to 1

    def targets(self, labels: Tensor, step: Step) -> Tensor:
        z = int(torch.randint(len(self.classes), (), generator=step.generator))
        return labels.masked_fill(labels == z, IGNORE)


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

    logits (B, C, h, w), up-sampled to the labels' size, labels (B, H, W) -> scalar. The added 1, the default of
    mmsegmentation 0.x, defines the loss for a class that an image lacks.
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
    """The network's K features and one vector a class, all of unit length, and the softmax over all classes, at the
    memory of C channels: ESSNet without its d channels, truncation and margin.

    Pixels are brought to unit length before up-sampling, as the logits are cosines of the features. The class vectors
    keep the network's momentum and schedule. At its learning rate AdamW hardly moves them in a few hundred steps: they
    stay the random directions that they began as, and the features come to them. `embedding_learning_rate` sets theirs
    apart, without weight decay then.
    """

    class Parameters(Method.Parameters):
        cosine_tau: float = pydantic.Field(
            0.05, gt=0, description="temperature of squared distances, as in ESSNet: cosines are divided by half of it"
        )
        embedding_learning_rate: float | None = pydantic.Field(
            None, gt=0, description="of the class vectors; none: the network's"
        )

    def classifier(self) -> nn.Module:
        return EmbeddingHead(
            self.network.classifier.in_channels, len(self.classes), None, self.own.cosine_tau, "before"
        )

    def parameter_groups(self) -> list[dict]:
        vectors, rate = self.network.classifier.class_embeddings, self.own.embedding_learning_rate
        return [] if rate is None else [{"params": [vectors], "weight_decay": 0.0, "lr": rate}]


# What LfF is compared with: these two read the bias attribute of every training image


def _bias_attribute(statistics: Statistics, method: str) -> Groups:
    """Raises InputError naming the method if the data set has no bias attribute."""
    if statistics.groups is None:
        raise InputError(
            f"methods: {method} reads the bias attribute of every training image, and this data set has none. "
            "Use lff, which needs none, or a data set with one, such as colored_digits."
        )
    return statistics.groups


class GroupDRO(Method):
    """Trains the worst group (Sagawa et al., ICLR 2020, Algorithm 1): the loss is sum_g q_g L_g with L_g the mean
    cross-entropy of group g in the batch, and before each step q_g grows by the factor exp(eta L_g).

    The groups are the cells of a class and a value of the bias attribute that occur in training.

    1. The paper draws one group uniformly, then samples of it. A batch here mixes groups; they are drawn equally often
       up to the rounding of how often an image is repeated in an epoch, a ninth of it at most. A group that a batch
       lacks has no loss in it, and its q changes by normalisation only. Data in which some image has several classes,
       or none, are drawn as in plain training.
    2. The paper's adjustment for small groups is left out, and its strong regularisation is left to `weight_decay`.
    3. Class weights in force cancel out in the mean of a group. In label maps a pixel has the group of its own class.
    """

    version = 2  # 1: batches drawn as in plain training

    class Parameters(Method.Parameters):
        group_dro_step: float = pydantic.Field(0.01, gt=0, description="step size eta of the group weights")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        groups = _bias_attribute(self.statistics, "group_dro")
        image, of_class = np.nonzero(self.statistics.presence)
        weights = torch.zeros(len(self.classes), len(groups.names))
        weights[of_class, groups.index[image]] = 1
        self.register_buffer("group_weights", weights / weights.sum())  # q (C, G)
        self.register_buffer("value_of", torch.from_numpy(groups.index), persistent=False)

    def repeats(self, presence: np.ndarray) -> np.ndarray | None:
        if (presence.sum(axis=1) != 1).any():
            return None
        cell = presence.argmax(axis=1) * self.group_weights.shape[1] + self.value_of.numpy()
        counts = np.bincount(cell)
        return np.rint(4 * counts.max() / counts[cell]).astype(np.int64)

    def main_loss(self, features: Tensor, labels: Tensor, step: Step) -> dict[str, Tensor]:
        logits, known = upsample(full_precision(self.network.classifier(features)), labels.shape[-2:]), labels != IGNORE
        losses = cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")[known]
        values = self.value_of[step.batch.index].view(-1, 1, 1).expand_as(labels)
        cell = (labels * self.group_weights.shape[1] + values)[known]
        totals, counts = (
            losses.new_zeros(self.group_weights.numel()).index_add(0, cell, x)
            for x in (losses, torch.ones_like(losses))
        )
        means = sum_over_processes(totals) / sum_over_processes(counts).clamp(min=1)
        self.group_weights *= torch.exp(self.own.group_dro_step * means).view_as(self.group_weights)
        self.group_weights /= self.group_weights.sum()
        return {"cross_entropy": (self.group_weights.flatten().clone() * global_mean(totals, counts)).sum()}


def representation_bias(mass: np.ndarray) -> tuple[float, np.ndarray]:
    """1 - R / H of REPAIR (its Eq. (3)) for weighted counts (C, G), and the gradient (C, G) times their sum.

    R is the cross-entropy of the best linear classifier on the one-hot bias attribute, which is the weighted frequency
    of the classes at each value; H is the entropy of the classes. 0: the attribute says nothing of the class; 1: all.
    """
    share = mass / mass.sum()
    log_share, log_value, log_class = (
        np.log(x, out=np.zeros_like(x), where=x > 0) for x in (share, share.sum(0), share.sum(1, keepdims=True))
    )
    losses = log_value - log_share
    entropy = max(-(share * log_class).sum(), np.finfo(share.dtype).tiny)
    ratio = (share * losses).sum() / entropy
    return 1 - ratio, -(losses + ratio * log_class) / entropy


def repair_weights(counts: np.ndarray) -> np.ndarray:
    """The probability (C, G) of keeping a sample of each cell that removes the representation bias; counts (C, G).

    Warns if a bias of more than REPAIR_BIAS is left, as where a value of the attribute has one class only.
    """
    logits = np.zeros(counts.shape)
    for _ in range(REPAIR_STEPS):
        weights = expit(logits)
        bias, gradient = representation_bias(counts * weights)
        if bias <= REPAIR_BIAS:
            return weights
        kept = (counts * weights).sum() / counts.sum()
        logits -= REPAIR_RATE * gradient / kept * weights * (1 - weights)
    warnings.warn(
        f"repair: a representation bias of {bias:.3f} is left; are all cells of class and bias attribute there?",
        stacklevel=3,
    )
    return weights


class Repair(Method):
    """Trains on a subset in which the bias attribute says nothing of the class (Li and Vasconcelos, CVPR 2019):
    sigmoid weights of the samples minimise `representation_bias`, then each sample is kept with its weight's
    probability.

    1. The paper alternates stochastic gradient steps of a linear classifier and of the weights. On a one-hot attribute
       all samples of a cell of class and value get the same gradient, and the best classifier is known: only the cells'
       weights are trained, by gradient descent from 1/2, without chance.
    2. One of our steps is worth an epoch of the authors' code (rate 10, batches of 128). That code makes 200, which
       leave a bias of 0.9 where 99 % of the samples are aligned; we go on until REPAIR_BIAS is reached. Where most
       cells are empty that can cost a class its last image, which a warning says: the bias of the others falls by it.
    3. Of the paper's ways to use the weights there are "sample" and "threshold" (all above 1/2 in its code, by default;
       here from 1/2 on, which keeps all where there is no bias). Ranking, which orders whole cells here, there is not.
       The subset is drawn once, from the seed of the run.
    4. Training takes as many steps as every other method's, so what is kept is seen more often: at 99 % of Colored
       MNIST some hundreds of images, thousands of times. The comparison in LfF does not say.
    """

    class Parameters(Method.Parameters):
        repair_strategy: Literal["sample", "threshold"] = pydantic.Field(
            "sample", description="keep a sample with the probability of its weight, or if that is at least 1/2"
        )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.groups = _bias_attribute(self.statistics, "repair")

    def repeats(self, presence: np.ndarray) -> np.ndarray:
        if (presence.sum(axis=1) != 1).any():
            raise InputError(
                "methods: repair needs images of one class each; in this data set some have none or several. Use lff."
            )
        cell = presence.argmax(axis=1), self.groups.index
        counts = np.zeros((len(self.classes), len(self.groups.names)))
        np.add.at(counts, cell, 1)
        weight = repair_weights(counts)[cell]
        keep = weight >= (0.5 if self.own.repair_strategy == "threshold" else torch.rand(len(weight)).numpy())
        if lost := [name for name, of in zip(self.classes.names, presence.T, strict=True) if of.any() > of[keep].any()]:
            warnings.warn(
                f"repair: no image of {', '.join(lost)} is kept, so they are not learned. A lower aligned_ratio or "
                "more images would help.",
                stacklevel=2,
            )
        return keep.astype(np.int64)
