"""Learning Debiased and Disentangled Representations for Semantic Segmentation (Chu, Kim, Han, NeurIPS 2021).

Split the last feature map into one map per class, leave out one random class, average the rest, and classify again with
the same classifier. That output must be right everywhere except on the dropped class, which it must not predict; so no
class can lean on another class's features.

    importance_scores, drop_literally    Eqs. (1), (2), (4) as printed, through autograd (for tests and claims)
    channel_scales, drop                 the same in one pass over A, for a 1x1 classifier
    drop_and_convolve                    the same with the convolution after Eq. (4), for A >= 0
    suppression_loss                     Eq. (8)
    DropClass                            Eqs. (3), (5)-(7), (9) and the schedules of Section 2.3

Departures
    1. Eq. (1) averages over output pixels, which puts a constant 1/(h1 w1) before W. It is left out, as in the authors'
       code: the BatchNorm after the convolution removes any constant, unless it is so small that the BatchNorm's eps
       outweighs its input. `paper_scale=True` keeps it, and the 1/C of Eq. (4).
    2. Eq. (4) divides by C. We divide by the kept classes (C - 1 when one is dropped), as in the authors' code, so that
       training and testing see the same scale.
    3. The convolution after the drop is 1x1, K -> K, with BatchNorm and ReLU (authors' code; the paper says
       "convolutional layer").
    4. When nothing is dropped the drop path is computed with all classes kept, and it is what is tested (authors' code;
       the paper does not say). The plain head's scores are recorded beside it.
    5. Eqs. (5) and (6) divide by all pixels; we divide by the pixels that count (not ignored, not labelled z), weighted
       when class weights are in force (authors' code). If none is left the term is 0, where theirs is 0/0.
    6. Eq. (8) is taken on the low-resolution logits, over all pixels (authors' code).
    7. The drop probability and lambda rise per iteration, where the authors' code steps them once an epoch.
    8. The gradient flows through the importance scores too, and the classifier's bias stays in the second output
       (authors' code; the paper does not say).

Shapes: C classes, K channels, features A (B, K, h, w), classifier weight W (C, K).
"""

import pydantic
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from segrepro.datasets.base import IGNORE
from segrepro.methods import Method, Step, full_precision, global_mean


def importance_scores(logits: Tensor, features: Tensor) -> Tensor:
    """Eq. (1): S (C, B, K, h, w), the gradient of each class's mean logit with respect to each feature.

    logits (B, C, H, W) must depend on features (B, K, h, w). One backward pass a class: the expensive form.
    """
    means = logits.mean(dim=(2, 3)).sum(dim=0)  # the images of a batch do not mix, so one sum serves all
    return torch.stack([torch.autograd.grad(mean, features, retain_graph=True)[0] for mean in means])


def drop_literally(features: Tensor, scores: Tensor, z: int | None) -> Tensor:
    """Eqs. (2) and (4): A'_drop (B, K, h, w) from S (C, B, K, h, w), without class z; None drops nothing."""
    class_features = torch.relu(features * scores)  # A^c
    kept = [c for c in range(len(scores)) if c != z]
    return class_features[kept].sum(dim=0) / len(scores)


def channel_scales(weight: Tensor, z: int | None, constant: float | None = None) -> tuple[Tensor, Tensor]:
    """What the kept classes' maps amount to: the mean over c != z of ReLU(W_ck) and of ReLU(-W_ck), each (K,).

    weight (C, K). With S^c = W_c, sum_c ReLU(A_k W_ck) = ReLU(A_k) sum_c ReLU(W_ck) + ReLU(-A_k) sum_c ReLU(-W_ck):
    exact, one scaling a channel, so neither time nor memory of the drop grows with C x pixels.
    constant: what the sums are multiplied with; one over the kept classes if not given (departures 1 and 2).
    """
    kept = torch.arange(len(weight), device=weight.device) != (-1 if z is None else z)
    constant = 1 / (len(weight) - (z is not None)) if constant is None else constant
    weight = weight * kept[:, None]  # summing what is kept: subtracting class z from the sum of all would round
    return constant * torch.relu(weight).sum(dim=0), constant * torch.relu(-weight).sum(dim=0)


def paper_constant(features: Tensor, classes: int) -> float:
    """1/C of Eq. (4) times 1/(h1 w1) of Eq. (1), for features (B, K, h1, w1)."""
    return 1 / (classes * features.shape[-2] * features.shape[-1])


def drop(features: Tensor, weight: Tensor, z: int | None, constant: float | None = None) -> Tensor:
    """A'_drop (B, K, h, w) of Eq. (4) in one pass over A (B, K, h, w) of any sign, for a 1x1 classifier with weight W
    (C, K).
    """
    positive, negative = (scale.view(1, -1, 1, 1) for scale in channel_scales(weight, z, constant))
    return torch.relu(features) * positive + torch.relu(-features) * negative


def drop_and_convolve(
    features: Tensor, weight: Tensor, z: int | None, convolution: nn.Conv2d, constant: float | None = None
) -> Tensor:
    """convolution(drop(A)) for A >= 0 and a 1x1 convolution, without a pass over A for the drop.

    A'_drop = A * s with one number s_k a channel, and (V s) A = V (s A): the scaling moves into the convolution's
    weight V.
    """
    positive, _ = channel_scales(weight, z, constant)
    return conv2d(features, convolution.weight * positive.view(1, -1, 1, 1), convolution.bias)


def suppression_loss(logits: Tensor, z: int) -> Tensor:
    """Eq. (8): mean probability of the dropped class, over all pixels. logits (B, C, h, w) -> scalar."""
    probability = full_precision(logits).softmax(dim=1)[:, z]
    return global_mean(probability.sum(), probability.new_tensor(probability.numel()))


class DropClass(Method):
    """The training scheme of Algorithm 1 around any network whose classifier is a 1x1 convolution."""

    class Parameters(Method.Parameters):
        alpha: float = pydantic.Field(
            10.0, ge=0, description="weight of the suppression loss, Eq. (9); 0 is Table 6's ablation"
        )
        drop_probability: float = pydantic.Field(
            1.0, ge=0, le=1, description="that a class is dropped, at the end of training; it rises to it linearly"
        )
        paper_scale: bool = pydantic.Field(
            False, description="keep the constants of Eqs. (1) and (4), departures 1 and 2"
        )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        width = self.network.classifier.in_channels
        self.mix = nn.Sequential(nn.Conv2d(width, width, kernel_size=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))

    def classifier(self) -> None:
        """It stays as it is: S = W holds for a 1x1 convolution."""

    def drop_path(self, features: Tensor, z: int | None) -> Tensor:
        """y_drop (B, C, h, w): drop, mix, classify with the same classifier (text after Eq. (4))."""
        classifier, (convolution, norm, relu) = self.network.classifier, self.mix
        weight = classifier.weight[:, :, 0, 0]
        constant = paper_constant(features, len(weight)) if self.own.paper_scale else None
        if self.network.rectified:
            mixed = drop_and_convolve(features, weight, z, convolution, constant)
        else:
            mixed = convolution(drop(features, weight, z, constant))
        return classifier(relu(norm(mixed)))

    def main_loss(self, features: Tensor, labels: Tensor, step: Step) -> dict[str, Tensor]:
        """The terms of Eq. (9); lambda and the probability of a drop rise with the share of the training done."""
        lambda_ = step.progress
        coin = torch.rand((), generator=step.generator).item()
        z = int(torch.randint(len(self.classes), (), generator=step.generator))  # Eq. (3), one for the whole batch
        z = z if coin < self.own.drop_probability * step.progress else None
        y_drop = self.drop_path(features, z)
        terms = {"cross_entropy": (1 - lambda_) * step.cross_entropy(self.network.classifier(features), labels)}
        if z is not None:
            labels = labels.masked_fill(labels == z, IGNORE)  # Eq. (6)
            terms["suppression"] = self.own.alpha * suppression_loss(y_drop, z)
        terms["cross_entropy_drop"] = lambda_ * step.cross_entropy(y_drop, labels)
        return terms

    def predict(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """The drop path with every class kept (departure 4)."""
        return self.drop_path(features, None)
