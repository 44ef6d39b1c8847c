"""Scaling Semantic Segmentation Beyond 1K Classes on a Single GPU (Jain, Paudel, Danelljan, Van Gool, ICCV 2021).

Predict d numbers for each pixel instead of C scores, and learn d numbers for each class; both are points on the unit
sphere, and a pixel belongs to the class that is nearest. The cross-entropy is taken over the pixel's own class and the
k nearest ones only, so neither the output nor the loss grows with the number of classes.

    EmbeddingHead                     Section 3.1, in place of the 1x1 classifier; the nearest class as logits
    truncated_cross_entropy           Eq. (6), Algorithm 1
    random_classes                    the random negatives of Table 2 and Figure 4
    max_margin                        Eq. (7)
    truncation_error                  p_bar - p, Section 3.2
    worst_truncation_error            its true supremum (derived)
    segrepro.neighbours.nearest       kNN() of Algorithm 1
    segrepro.softmax.exact_cross_entropy   Eq. (5) over all C classes, at constant memory (not in the paper)
    ESSNet                            Algorithm 1

Departures, and what the paper leaves open
    1. Algorithm 1 puts the target before the k neighbours, also where it is one of them. Eq. (6) has the union: we mask
       the duplicate. (The authors' code replaces it by the class of the next lower index, and counts class 0 twice.)
    2. The output is up-sampled to the labels' size, then normalised. The paper does not say in which order; the
       authors' code normalises first, so that lengths fall below 1 (`normalisation="before"`).
    3. The distance in the logits is squared, as in Eqs. (5), (6); the authors' code does not square it
       (`distance="plain"`). The margin is 0.5, as in the paper; the code has 0.2.
    4. Class embeddings start uniform in [-1, 1] (authors' code) and have no weight decay (the paper gives one for the
       network only; the code decays them too).
    5. Their momentum is 0.95 and the power of their learning rate 0.95, as in the paper. Under AdamW momentum is beta1,
       and a step is as long as the learning rate: class embeddings go not far in a few hundred of them, where SGD takes
       their large gradients (1 / tau) as they are. `embedding_learning_rate` sets theirs apart; the paper does not.
    6. Random negatives are k different classes other than the target, drawn for each pixel; the paper does not say.
    7. Ignored pixels are left out of the search and the mean; a batch without a labelled pixel gives 0 (the code: nan).
    8. Class weights, where another method brings them, weight the pixels in the mean.
    9. The rest of the training is the data set's and the same for all methods. The paper has a tenth of the learning
       rate for the backbone, a BatchNorm momentum of 0.01 there, images at a single scale, and no other augmentation.

Shapes: B images, K channels, C classes, d embedding channels, N labelled pixels; x (N, d) pixel and mu (C, d) class
embeddings, y (N,) the pixels' classes.
"""

from typing import Literal

import pydantic
import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import conv2d, embedding, normalize

from segrepro.datasets.base import IGNORE
from segrepro.errors import InputError
from segrepro.methods import Method, Step, full_precision, global_mean
from segrepro.models import upsample
from segrepro.neighbours import nearest
from segrepro.softmax import exact_cross_entropy


class EmbeddingHead(nn.Module):
    """d channels a pixel and one vector of d numbers a class, in place of the 1x1 classifier (Section 3.1).

    features (B, K, h, w) -> logits (B, C, h, w). width: K. d: None keeps the K features as they are (a cosine
    classifier). normalisation: of pixels "after" or "before" up-sampling, and of classes; "none" for neither. Raises
    InputError for d < 1.
    """

    def __init__(self, width: int, classes: int, d: int | None, tau: float, normalisation: str = "after"):
        super().__init__()
        if d is not None and d < 1:
            raise InputError(f"d: {d} channels are none; give a whole number from 1")
        self.project = nn.Identity() if d is None else nn.Conv2d(width, d, kernel_size=1)
        self.class_embeddings = nn.Parameter(torch.empty(classes, d or width).uniform_(-1, 1))
        self.tau, self.normalisation = tau, normalisation

    @property
    def mu(self) -> Tensor:
        """Class embeddings (C, d), of unit length unless normalisation is "none"."""
        return self.class_embeddings if self.normalisation == "none" else normalize(self.class_embeddings, dim=1)

    @property
    def weight(self) -> Tensor:
        """The class vectors as a 1x1 classifier has them, (C, d, 1, 1)."""
        return self.mu[:, :, None, None]

    def pixel_embeddings(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """O (B, d, H, W) of features (B, K, h, w), at full precision."""
        output = full_precision(self.project(features))
        if self.normalisation == "before":
            return upsample(normalize(output, dim=1), size)
        output = upsample(output, size)
        return normalize(output, dim=1) if self.normalisation == "after" else output

    def logits(self, x: Tensor) -> Tensor:
        """-|x - mu_c|^2 / tau without |x|^2: largest at the nearest class, whichever distance was trained.

        x (B, d, H, W) -> (B, C, H, W); for unit vectors (2 x.mu_c - 1) / tau, a cosine classifier.
        """
        with torch.autocast(x.device.type, enabled=False):  # logits reach 2 / tau = 40: too coarse in half precision
            return conv2d(x, 2 / self.tau * self.weight, -self.mu.square().sum(1) / self.tau)

    def forward(self, features: Tensor) -> Tensor:
        return self.logits(self.pixel_embeddings(features, features.shape[-2:]))


def truncated_cross_entropy(
    x: Tensor, mu: Tensor, y: Tensor, others: Tensor, tau: float, distance: str = "squared"
) -> Tensor:
    """-log p_bar(y | x) (N,) of Eq. (6): the softmax of -|x - mu|^2 / tau over the union of y and `others` (N, k).

    distance: "squared", or "plain" for -|x - mu| / tau.
    """
    classes = torch.cat([y[:, None], others], dim=1)
    vectors = embedding(classes, mu)  # Z_o (N, k + 1, d)
    if distance == "squared":  # |x|^2 is the same for all classes; |mu|^2 once a class holds less than once a vector
        logits = (2 * torch.einsum("nd,nkd->nk", x, vectors) - mu.square().sum(1)[classes]) / tau
    else:
        logits = -vector_norm(x[:, None] - vectors, dim=2) / tau
    counted_twice = classes == y[:, None]
    counted_twice[:, 0] = False
    return logits.masked_fill(counted_twice, -torch.inf).logsumexp(1) - logits[:, 0]


def random_classes(y: Tensor, k: int, classes: int) -> Tensor:
    """k different classes (N, min(k, C - 1)) other than y (N,), each set equally likely (Floyd's sampling)."""
    k, others = min(k, classes - 1), classes - 1
    drawn = y.new_empty(len(y), k)
    for i, largest in enumerate(range(others - k, others)):
        draw = torch.randint(0, largest + 1, (len(y),), device=y.device)
        taken = (drawn[:, :i] == draw[:, None]).any(1)
        drawn[:, i] = torch.where(taken, largest, draw)
    return drawn + (drawn >= y[:, None])  # 0 .. C - 2 without a gap at y


def max_margin(mu: Tensor, margin: float, search: str = "auto") -> Tensor:
    """L_r of Eq. (7): mean over classes of max(0, m - distance to the nearest other class); mu (C, d) -> scalar.

    The nearest class is searched without a gradient, so that no C x C matrix is held. One class has no other: 0.
    """
    if len(mu) == 1:
        return 0 * mu.sum()
    first, second = nearest(mu, mu, 2, search).T
    itself = first == torch.arange(len(mu), device=mu.device)
    closest = torch.where(itself, second, first)
    return (margin - vector_norm(mu - mu[closest], dim=1)).relu().mean()


def truncation_error(k: int, classes: int, t: float = 1.0) -> float:
    """p_bar - p for a target that is the nearest class, with all others at one larger distance (Section 3.2).

    t = exp((d_near^2 - d_far^2) / tau) in (0, 1]; 1, all equally far, gives the paper's 1/k - 1/C. k counts the target.
    """
    return 1 / (1 + (k - 1) * t) - 1 / (1 + (classes - 1) * t)


def worst_truncation_error(k: int, classes: int) -> float:
    """The largest p_bar - p with the target among the k <= C nearest classes: (1 - r) / (1 + r), r^2 = (k - 1)/(C - 1).

    Derived: `truncation_error` is largest at t = 1 / sqrt((k - 1)(C - 1)); for k = 1 at t = 1, where it is 1 - 1/C.
    """
    if k == 1 or k == classes:
        return 1 / k - 1 / classes
    r = ((k - 1) / (classes - 1)) ** 0.5
    return (1 - r) / (1 + r)


class ESSNet(Method):
    """Algorithm 1 in place of any network's classifier and cross-entropy."""

    class Parameters(Method.Parameters):
        d: int = pydantic.Field(6, ge=1, description="channels of the embeddings; 12 in the paper from 150 classes on")
        k: int = pydantic.Field(7, ge=1, description="classes beside the target in the loss; above C: all")
        tau: float = pydantic.Field(0.05, gt=0, description="temperature of the distances")
        margin: float = pydantic.Field(0.5, ge=0, description="m of the max-margin loss, Eq. (7); 0 leaves it out")
        normalisation: Literal["after", "before", "none"] = pydantic.Field(
            "after", description="embeddings to unit length after or before up-sampling, or not at all"
        )
        distance: Literal["squared", "plain"] = pydantic.Field("squared", description="in the logits, departure 3")
        negatives: Literal["nearest", "random", "all"] = pydantic.Field(
            "nearest", description="classes beside the target: k nearest, k random, or the exact softmax over all"
        )
        search: Literal["auto", "faiss", "torch"] = pydantic.Field("auto", description="how neighbours are searched")
        embedding_momentum: float = pydantic.Field(0.95, ge=0, lt=1, description="of the class embeddings")
        embedding_power: float = pydantic.Field(0.95, ge=0, description="of their polynomial learning-rate schedule")
        embedding_learning_rate: float | None = pydantic.Field(
            None, gt=0, description="of the class embeddings; none: the network's, as in the paper"
        )

        @pydantic.field_validator("negatives")
        @classmethod
        def _has_an_exact_form(cls, negatives: str, info: pydantic.ValidationInfo) -> str:
            if negatives == "all" and info.data.get("distance") == "plain":
                raise ValueError("the exact softmax needs distance='squared'; with 'plain' take nearest with k >= C")
            return negatives

    def classifier(self) -> nn.Module:
        own = self.own
        return EmbeddingHead(self.network.classifier.in_channels, len(self.classes), own.d, own.tau, own.normalisation)

    def main_loss(self, features: Tensor, labels: Tensor, step: Step) -> dict[str, Tensor]:
        """L_cls, the mean over labelled pixels, and L_r."""
        own, head = self.own, self.network.classifier
        output, mu = head.pixel_embeddings(features, labels.shape[-2:]), head.mu
        labelled = labels != IGNORE
        x, y = output.permute(0, 2, 3, 1)[labelled], labels[labelled]
        weight = x.new_ones(len(y)) if step.class_weights is None else step.class_weights.to(x.dtype)[y]
        with torch.autocast(x.device.type, enabled=False):
            if own.negatives == "all":
                total = exact_cross_entropy(x, mu, y, own.tau, weight)
            else:
                near = own.negatives == "nearest"
                others = nearest(x, mu, own.k, own.search) if near else random_classes(y, own.k, len(mu))
                total = (weight * truncated_cross_entropy(x, mu, y, others, own.tau, own.distance)).sum()
            terms = {"cross_entropy": global_mean(total, weight.sum())}
            return terms | ({"max_margin": max_margin(mu, own.margin, own.search)} if own.margin else {})

    def predict(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """The nearest class at every pixel of the image, as logits (B, C, *size)."""
        head = self.network.classifier
        return head.logits(head.pixel_embeddings(features, size))

    def parameter_groups(self) -> list[dict]:
        own = self.own
        group = {"params": [self.network.classifier.class_embeddings], "weight_decay": 0.0,
                 "momentum": own.embedding_momentum, "power": own.embedding_power}  # fmt: skip
        return [group if own.embedding_learning_rate is None else group | {"lr": own.embedding_learning_rate}]
