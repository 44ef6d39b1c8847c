"""What a paper may change in plain training, and how several changes are combined.

A method states only its difference. It is an `nn.Module`, so what it adds (layers, buffers) is trained, moved and
checkpointed with the network. Slots that can have one owner only (EXCLUSIVE) make two methods that both want one an
error.

Shapes: B images of H x W, labels (B, H, W) with IGNORE = -1, C classes, features A (B, K, h, w), logits (B, C, h, w).
Where whole images are classified, labels are (B, 1, 1) and h = w = 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pydantic
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from segrepro.datasets.base import IGNORE, Classes
from segrepro.datasets.batches import Batch
from segrepro.datasets.statistics import Statistics
from segrepro.errors import InputError
from segrepro.models import Network, upsample
from segrepro.processes import is_distributed, sum_over_processes


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """total / count with both summed over all processes; 0 where nothing counts.

    Each process gets its share times the number of processes, because distributed training averages gradients.
    """
    world = torch.distributed.get_world_size() if is_distributed() else 1
    return world * total / sum_over_processes(count).clamp(min=torch.finfo(total.dtype).tiny)


def full_precision(x: Tensor) -> Tensor:
    """Half-precision values as float32, others untouched: losses and sums are taken at full precision."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def pixel_cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over labelled pixels, logits up-sampled to the labels' size.

    logits (B, C, h, w), labels (B, H, W), weight (C,) or None -> scalar; divided by the weights of the pixels that
    count, over all processes. A batch without a labelled pixel gives 0, with a zero gradient.
    """
    logits = upsample(full_precision(logits), labels.shape[-2:])
    weight = None if weight is None else weight.to(logits.dtype)
    total = cross_entropy(logits, labels, weight, ignore_index=IGNORE, reduction="sum")
    labelled = labels != IGNORE
    count = labelled.sum() if weight is None else (weight[labels.clamp(min=0)] * labelled).sum()
    return global_mean(total, count.to(total.dtype))


@dataclass
class Step:
    """One training iteration as a method sees it.

    iteration counts from 0; generator is on the CPU and draws the same on every process (for choices that concern the
    whole batch); cross_entropy(logits, labels) -> scalar includes class_weights (C,), the ones in force or None.
    """

    iteration: int
    iterations: int
    generator: torch.Generator
    batch: Batch
    cross_entropy: Callable[[Tensor, Tensor], Tensor] = pixel_cross_entropy
    class_weights: Tensor | None = None

    @property
    def progress(self) -> float:
        """Share of the training done, 0 at the first iteration, rising linearly to 1."""
        return self.iteration / self.iterations


class Method(nn.Module):
    """Plain training: every hook is what happens without a paper. A subclass overrides what it changes.

    Parameters: pydantic model of the method's own parameters, with their defaults and valid ranges.
    version: raised by hand when the same parameters give other results than before; part of the key of a run.
    """

    version = 1

    class Parameters(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def __init__(self, network: Network, classes: Classes, statistics: Statistics, own: pydantic.BaseModel):
        super().__init__()
        # The network is registered by its owner, not here as a child: that would list its parameters twice.
        object.__setattr__(self, "network", network)
        self.classes, self.statistics, self.own = classes, statistics, own

    def repeats(self, presence: np.ndarray) -> np.ndarray | None:
        """How often each training image occurs in an epoch (N,), from which classes it contains: presence (N, C)
        bool.
        """

    def class_weights(self) -> Tensor | None:
        """Weights (C,) of the classes in every pixel-wise cross-entropy."""

    def classifier(self) -> nn.Module | None:
        """What replaces the network's 1x1 classifier, features (B, K, h, w) -> logits (B, C, h, w), with class vectors
        (C, d, 1, 1) as its `weight`. Who needs the 1x1 classifier as it is claims the slot and returns None.
        """

    def targets(self, labels: Tensor, step: Step) -> Tensor:
        """The labels (B, H, W) to train on."""
        return labels

    def main_loss(self, features: Tensor, labels: Tensor, step: Step) -> dict[str, Tensor]:
        """Named terms whose sum is the main loss."""
        return {"cross_entropy": step.cross_entropy(self.network.classifier(features), labels)}

    def extra_losses(self, features: Tensor, labels: Tensor, step: Step) -> dict[str, Tensor]:
        """Named terms to be added, already weighted."""
        return {}

    def predict(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, C, h, w) at test time; what is not of the images' `size` (H, W) is up-sampled afterwards."""
        return self.network.classifier(features)

    def heads(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Other predictions that a record keeps beside the method's own: name -> images (B, 3, H, W) -> logits."""
        return {}

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """Pictures of its workings that a record keeps of a few examples: images (B, 3, H, W) uint8 -> name ->
        (B, n, h, w).
        """
        return {}

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """What a record keeps beside the counts: arrays of any shape by name, summed over the validation batches."""
        return {}

    def parameter_groups(self) -> list[dict]:
        """Optimiser groups of what the method added, and of what it treats apart in the network; a group may set `lr`,
        `weight_decay`, `momentum` and `power`, or `encoder` for the encoder's learning rate.
        """
        return [{"params": list(self.parameters())}]


EXCLUSIVE = ("repeats", "class_weights", "classifier", "main_loss", "predict")


def owner(methods: Sequence[Method], slot: str) -> Method:
    """The method that fills a slot: the one that overrides it, or the first one with plain training's behaviour."""
    return next((m for m in methods if getattr(type(m), slot) is not getattr(Method, slot)), methods[0])


def check_slots(names: Sequence[str], kinds: Sequence[type[Method]]) -> None:
    """Raises InputError if two methods want the same exclusive slot."""
    for slot in EXCLUSIVE:
        claimants = [
            n for n, kind in zip(names, kinds, strict=True) if getattr(kind, slot) is not getattr(Method, slot)
        ]
        if len(claimants) > 1:
            raise InputError(
                f"methods: {' and '.join(claimants)} cannot be combined, each replaces '{slot}'. Choose one of them."
            )


class Learner(nn.Module):
    """A network with its methods: what one training step computes, and what is predicted.

    One module, so that wrappers for several processes see one forward call.
    """

    def __init__(self, network: Network, methods: Sequence[Method]):
        super().__init__()
        replacement = owner(methods, "classifier").classifier()
        self.has_plain_head = replacement is None
        network.classifier = network.classifier if self.has_plain_head else replacement
        self.network, self.methods = network, nn.ModuleList(methods)
        self.register_buffer("class_weights", owner(methods, "class_weights").class_weights(), persistent=False)
        self.main, self.predictor = (list(methods).index(owner(methods, slot)) for slot in ("main_loss", "predict"))

    @property
    def heads(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """What else than the method's own prediction can be evaluated: name -> images (B, 3, H, W) -> logits.

        "plain_head" is there where test time uses something else than the plain head.
        """
        has_own = self.has_plain_head and type(self.methods[self.predictor]).predict is not Method.predict
        plain = {"plain_head": lambda images: self.network.classifier(self.network.features(images))} if has_own else {}
        return plain | {name: head for method in self.methods for name, head in method.heads().items()}

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """The weighted loss terms of one batch; their sum is what is minimised."""
        step.class_weights = self.class_weights
        step.cross_entropy = partial(pixel_cross_entropy, weight=self.class_weights)
        features, labels = self.network.features(batch.images), batch.labels
        for method in self.methods:
            labels = method.targets(labels, step)
        terms = self.methods[self.main].main_loss(features, labels, step)
        for method in self.methods:
            terms |= method.extra_losses(features, labels, step)
        return terms

    def predict(self, images: Tensor, *, head: str | None = None) -> Tensor:
        """Logits (B, C, H, W) of images (B, 3, H, W) uint8, (B, C, 1, 1) of a network that pools: the method's own, or
        those of one of the `heads`.
        """
        size = (1, 1) if self.network.pools else images.shape[-2:]
        if head is None:
            logits = self.methods[self.predictor].predict(self.network.features(images), size)
        else:
            logits = self.heads[head](images)
        return upsample(full_precision(logits), size)

    def parameter_groups(self, encoder_learning_rate: float) -> list[dict]:
        """Optimiser groups: encoder, the rest of the network, then each method's own."""
        encoder = self.network.encoder_parameters()
        own = [dict(group) for method in self.methods for group in method.parameter_groups()]
        for group in own:
            if group.pop("encoder", False):
                group["lr"] = encoder_learning_rate
        apart = {id(p) for p in encoder} | {id(p) for group in own for p in group["params"]}
        rest = [p for p in self.network.parameters() if id(p) not in apart]
        groups = [{"params": encoder, "lr": encoder_learning_rate}, {"params": rest}, *own]
        return [group for group in groups if group["params"]]
