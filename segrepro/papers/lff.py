"""Learning from Failure: Training Debiased Classifier from Biased Classifier (Nam, Cha, Ahn, Lee, Shin, NeurIPS 2020).

A bias does harm where it is easier to learn than the target, and then it is learned first. A second network f_B is
pushed to rely on what is learned easily; the network itself, f_D, gives weight to what f_B fails on, most of which
conflicts with the bias. Nobody has to label the bias.

    generalised_cross_entropy    GCE, Section 3
    relative_difficulty          W(x), Section 3
    LfF                          Algorithm 1; prediction is f_D's, f_B's is the head "biased"

Departures
    1. Algorithm 1 sums over the batch and updates f_B, then f_D. We take means over the labelled pixels of all
       processes, compute W before the step, and update both at once: no gradient passes from one to the other.
    2. W is 1/2 where both losses are 0, which the formula leaves open (0 in the authors' form); nothing is learned from
       such a sample.
    3. Label maps: every labelled pixel is a sample with its own W. Class weights in force apply to the cross-entropy of
       f_D; W and the loss of f_B go without.
    4. f_B stays as it was built where another method changes f_D's layers.
    5. The text at hand does not give q; 0.7 is the authors' code.
    6. `lff_form="authors"` is what that code does and the paper does not say. Each loss in W is an exponential average
       over the visits of that training image (0.7 for the past; the first visit sets it), divided by the largest
       average of all training images of its class; 1e-8 is added to W's denominator; the gradient of GCE is multiplied
       by q. The value we report there is q GCE. An image that is twice in one batch counts once, with its mean loss.

HEX and ReBias, with which the paper compares, are not implemented; of them there are the paper's numbers only.

Shapes: B images, C classes, N training images, labels (B, H, W) with IGNORE, logits (B, C, h, w); for whole images
H = W = h = w = 1.
"""

from collections.abc import Callable
from typing import Literal

import pydantic
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from segrepro.datasets.base import IGNORE
from segrepro.errors import InputError
from segrepro.methods import Method, Step, full_precision, global_mean
from segrepro.models import upsample
from segrepro.processes import gather_over_processes

PAST = 0.7  # share of the past in the authors' averages


def _cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """CE (B, H, W) of every pixel, 0 where it is ignored; logits (B, C, h, w) are up-sampled to the labels' size."""
    logits = upsample(full_precision(logits), labels.shape[-2:])
    return cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")


def _generalised(cross_entropies: Tensor, q: float) -> Tensor:
    """(1 - p^q) / q with p^q = exp(-q CE), whose gradient is right to the last digits however small p is.

    (The gradient of expm1 is 0 where p^q is below the precision, and that of pow is infinite at p = 0.)
    """
    return (1 - torch.exp(-q * cross_entropies)) / q


def generalised_cross_entropy(logits: Tensor, labels: Tensor, q: float) -> Tensor:
    """GCE = (1 - p_y^q) / q of every pixel (Zhang and Sabuncu, 2018; Section 3): logits (B, C, h, w), labels (B, H, W)
    -> (B, H, W), 0 where a pixel is ignored.

    Its gradient is p_y^q times that of the cross-entropy, the limit for q -> 0; q = 1 gives 1 - p_y.
    """
    return _generalised(_cross_entropies(logits, labels), q)


def relative_difficulty(loss_biased: Tensor, loss_debiased: Tensor) -> Tensor:
    """W = CE_B / (CE_B + CE_D), Section 3: losses of any one shape, 0 or more -> weights of that shape in [0, 1],
    without a gradient; 1/2 where both are 0.
    """
    loss_biased, total = loss_biased.detach(), (loss_biased + loss_debiased).detach()
    return torch.where(total > 0, loss_biased / total, 0.5)


class LfF(Method):
    """Algorithm 1: the network is f_D; f_B is another of its kind, trained on the same batches."""

    class Parameters(Method.Parameters):
        q: float = pydantic.Field(0.7, gt=0, le=1, description="how far GCE amplifies what f_B finds easy; 0 is CE")
        lff_form: Literal["paper", "authors"] = pydantic.Field(
            "paper", description="W of the batch's losses, or of averages over visits as in the authors' code"
        )
        biased_loss: Literal["gce", "ce"] = pydantic.Field(
            "gce", description="the loss of f_B; ce is the ablation of Table 4"
        )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.own.lff_form == "authors":
            if not self.network.pools:
                raise InputError(
                    "lff_form: authors keeps one loss an image, but the labels here are maps of many pixels. "
                    "Use lff_form=paper."
                )
            presence = torch.from_numpy(self.statistics.presence)
            self.register_buffer("label_of", presence.int().argmax(dim=1), persistent=False)
            self.register_buffer("averages", torch.zeros(2, len(presence)))  # of CE_B and CE_D
            self.register_buffer("visited", torch.zeros(len(presence), dtype=torch.bool))
            self.register_buffer("sums", torch.zeros(3, len(presence)), persistent=False)  # of a batch, see _averaged
        self.biased = self.network.twin()

    def main_loss(self, features: Tensor, labels: Tensor, step: Step) -> dict[str, Tensor]:
        """The mean losses of f_B and f_D; neither has a gradient in the other's network."""
        authors, q = self.own.lff_form == "authors", self.own.q
        biased = _cross_entropies(self._biased_logits(step.batch.images), labels)
        debiased = _cross_entropies(self.network.classifier(features), labels)
        if authors:
            visits = torch.stack([biased, debiased, labels != IGNORE]).detach().flatten(1)
            b, d = self._averaged(visits, step.batch.index)
            weight = relative_difficulty(b, d + 1e-8).view_as(debiased)
        else:
            weight = relative_difficulty(biased, debiased)
        if self.own.biased_loss == "gce":
            biased = _generalised(biased, q) * (q if authors else 1)
        pixels = share = (labels != IGNORE).to(debiased.dtype)
        if step.class_weights is not None:
            share = pixels * step.class_weights.to(debiased.dtype)[labels.clamp(min=0)]
        return {
            "biased": global_mean(biased.sum(), pixels.sum()),
            "cross_entropy": global_mean((share * weight * debiased).sum(), share.sum()),
        }

    def _averaged(self, visits: Tensor, index: Tensor) -> Tensor:
        """Averages over visits, this one included, over the largest of the class: visits (3, B), both losses and 1, or
        0 if the image is ignored, of images index (B,) -> (2, B).

        What every process saw goes into them, so they are the same everywhere. Only those of the batch are touched; the
        largest of all classes come from one pass over all N.
        """
        everywhere = gather_over_processes(index)
        self.sums[:, everywhere] = 0
        self.sums.index_add_(1, everywhere, gather_over_processes(visits))
        losses, count = self.sums[:, everywhere].split([2, 1])  # of all visits, also where an image is there twice
        visited, seen = self.visited[everywhere], count[0] > 0
        rate = (1 - PAST * visited.to(visits.dtype)) * seen
        self.averages[:, everywhere] = self.averages[:, everywhere].lerp(losses / count.clamp(min=1), rate)
        self.visited[everywhere] = visited | seen
        largest = self.averages.new_zeros(2, len(self.classes))
        largest.scatter_reduce_(1, self.label_of.expand(2, -1), self.averages, "amax")
        return self.averages[:, index] / largest[:, self.label_of[index]].clamp(min=torch.finfo(visits.dtype).tiny)

    def _biased_logits(self, images: Tensor) -> Tensor:
        return self.biased.classifier(self.biased.features(images))

    def heads(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Logits (B, C, h, w) of f_B."""
        return {"biased": self._biased_logits}

    def parameter_groups(self) -> list[dict]:
        """f_B's encoder learns at the encoder's learning rate, as f_D's does."""
        encoder = self.biased.encoder_parameters()
        apart = {id(p) for p in encoder}
        rest = [p for p in self.biased.parameters() if id(p) not in apart]
        return [{"params": encoder, "encoder": True}, {"params": rest}]
