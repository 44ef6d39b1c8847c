"""FBNet: Feature Balance Network for Urban-Scene Segmentation (2021).

Deep features of small foreground objects are diluted by the stuff around them ("feature camouflage"). A light module
weighs a deep feature map by channel and by position, and what it makes is added to that map. An auxiliary loss asks of
it only whether a foreground class occurs in a block of pixels, so a thin pole counts as much as a bus.

    block_targets            Eqs. (1), (2)
    block_wise_bce           Eq. (4)
    DualFeatureModulator     Eqs. (5)-(7)
    FBNet                    Eqs. (3), (8), the fusion, and where the module goes (Section 3.4)

Departures
    1. Eq. (2) as printed is 1 everywhere (its step is 1 at 0, its sums overlap). We take the sentence after it: 1 if
       any pixel of the class lies in the block. Blocks at the border of an image whose sides are no multiple of the
       stride are smaller.
    2. Eq. (4) lacks its minus sign, and is a sum; we take the mean over blocks and classes, over all processes, the
       only scale that suits a weight of 1.
    3. The paper does not speak of ignored pixels. They set no class, and a block of nothing else does not count.
    4. "Fuse" is a sum, X_l + X_o (caption of Figure 7: "adding this feature map back"), and the convolution of Eq. (3)
       is 1x1. The paper leaves both open.
    5. The foreground are all classes that the data set does not call background; the paper lists Cityscapes' 14.
    6. Table 4's mixtures: without a modulator X_o is X_l, and nothing is added to it; the point-wise cross-entropy is
       a 1x1 classifier of all classes on X_o, up-sampled, with the class weights in force.
    7. The paper does not say where the layer of Eq. (3) starts. As PyTorch has it P is about 1/2, but few blocks hold a
       given class, and a few hundred steps of AdamW cannot carry its bias down to them: most of such a training the
       loss only asks for less of everything. `bwbce_prior` starts P lower (Lin et al., ICCV 2017, Section 3.3).

Shapes: C classes, of which C_f foreground, K channels, labels Y (B, H, W), stage X_l (B, K, h, w), stride s = H/h.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import pydantic
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, max_pool2d

from segrepro.datasets.base import IGNORE
from segrepro.datasets.batches import Batch
from segrepro.errors import InputError
from segrepro.methods import Method, Step, full_precision, global_mean
from segrepro.models import STAGES, upsample
from segrepro.parameters import Names


def blocks_with(pixels: Tensor, stride: int) -> Tensor:
    """Whether any pixel of a stride x stride block is true: (B, N, H, W) bool -> (B, N, h, w) float, 0 or 1."""
    return max_pool2d(pixels.float(), stride, ceil_mode=True)


def block_targets(labels: Tensor, foreground: Sequence[int], stride: int) -> Tensor:
    """Eqs. (1), (2): Y' (B, C_f, h, w), 1 where any pixel of a block has the class; labels (B, H, W).

    Raises InputError without a foreground class.
    """
    if not len(foreground):
        raise InputError("foreground: the list of classes is empty; name at least one class")
    return blocks_with(labels[:, None] == torch.tensor([*foreground], device=labels.device).view(-1, 1, 1), stride)


def block_wise_bce(logits: Tensor, labels: Tensor, foreground: Sequence[int], stride: int) -> Tensor:
    """Eq. (4): mean binary cross-entropy of every block and foreground class.

    logits (B, C_f, h, w) before the sigmoid of Eq. (3), labels (B, H, W) -> scalar; 0 where no pixel is labelled.
    The gradient with respect to a logit is P - Y' over the number of terms, however many pixels the class has.
    Raises InputError if the blocks of the labels are not those of the logits.
    """
    logits = full_precision(logits)
    targets = block_targets(labels, foreground, stride).to(logits.dtype)
    if targets.shape != logits.shape:
        sizes = [f"{tensor.shape[-2]} x {tensor.shape[-1]}" for tensor in (labels, targets, logits)]
        raise InputError(
            f"crop_size: {sizes[0]} pixels make {sizes[1]} blocks of {stride} x {stride}, but this network has "
            f"{sizes[2]} positions there. Give sides that are multiples of {stride}."
        )
    labelled = blocks_with((labels != IGNORE)[:, None], stride).to(logits.dtype)
    total = binary_cross_entropy_with_logits(logits, targets, labelled.expand_as(logits), reduction="sum")
    return global_mean(total, labelled.sum() * len(foreground))


class DualFeatureModulator(nn.Module):
    """Eqs. (5)-(7): X_o = X_l S_s S_c, with one weight a position and one a channel. (B, K, h, w) -> the same shape."""

    def __init__(self, width: int):
        super().__init__()
        self.spatial, self.channel = nn.Conv2d(width, 1, kernel_size=1), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        s_s = self.spatial(x).sigmoid()  # (B, 1, h, w)
        s_c = self.channel(x.mean(dim=(2, 3))).sigmoid()[:, :, None, None]  # (B, K, 1, 1)
        return x * s_s * s_c


def _stages(names: list[str]) -> list[str]:
    """The named stages, each once, the shallowest first."""
    if unknown := [name for name in names if name not in STAGES]:
        raise ValueError(f"no stage {', '.join(unknown)}; valid: {', '.join(STAGES)}")
    return [name for name in STAGES if name in names]


class FBNet(Method):
    """The module behind one or more stages, inside the forward flow, and its loss.

    The layer that predicts the blocks is only used for the loss, so prediction does without it.
    """

    class Parameters(Method.Parameters):
        stages: Annotated[Names, pydantic.AfterValidator(_stages)] = pydantic.Field(
            ["res5"], description=f"where the module goes: one or more of {', '.join(STAGES)} (Table 3)"
        )
        foreground: Names | None = pydantic.Field(
            None, description="classes that the blocks are searched for; None: all but the data set's background"
        )
        auxiliary: Literal["bwbce", "pointwise", "none"] = pydantic.Field(
            "bwbce", description="the loss on X_o: block-wise BCE, point-wise cross-entropy or none (Table 4)"
        )
        modulator: Literal["dfm", "convolution", "none"] = pydantic.Field(
            "dfm", description="what makes X_o of X_l: the modulator, a 1x1 convolution or nothing (Table 4)"
        )
        bwbce_lambda: float = pydantic.Field(1.0, ge=0, description="weight of the loss on X_o, lambda_1 of Eq. (8)")
        bwbce_prior: float | None = pydantic.Field(
            None, gt=0, lt=1, description="P of Eq. (3) at the start of training; none: about 1/2, departure 7"
        )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        own, self.foreground = self.own, self._foreground()
        self.modulators, self.auxiliary_heads = nn.ModuleDict(), nn.ModuleDict()
        for name in own.stages:
            width = self.network.stage(name).width
            if own.modulator == "dfm":
                self.modulators[name] = DualFeatureModulator(width)
            elif own.modulator == "convolution":
                self.modulators[name] = nn.Conv2d(width, width, kernel_size=1)
            if own.auxiliary != "none":
                outputs = len(self.foreground if own.auxiliary == "bwbce" else self.classes)
                self.auxiliary_heads[name] = head = nn.Conv2d(width, outputs, kernel_size=1)  # G_conv of Eq. (3)
                if own.auxiliary == "bwbce" and own.bwbce_prior is not None:
                    nn.init.constant_(head.bias, math.log(own.bwbce_prior / (1 - own.bwbce_prior)))
            self.network.modify_stage(name, partial(self._modulate, name))
        self._outputs: dict[str, Tensor] = {}  # X_o of each stage, from the forward pass until the loss
        self._strength: dict[str, Tensor] | None = None  # filled by a forward pass while it is a dictionary

    def _foreground(self) -> list[int]:
        """Labels of the foreground classes, each once."""
        names, classes = self.own.foreground, self.classes
        if names is None:
            names = [name for name in classes.names if name not in classes.background]
        if unknown := [name for name in names if name not in classes.names]:
            raise InputError(f"foreground: no class {', '.join(unknown)}; valid: {', '.join(classes.names)}")
        if not names:
            raise InputError(f"foreground: every class is background; name one or more of {', '.join(classes.names)}")
        return sorted(set(classes.indices(names)))

    def _modulate(self, name: str, x_l: Tensor) -> Tensor:
        """X_l + X_o, which deeper stages see in place of X_l."""
        x_o = self.modulators[name](x_l) if name in self.modulators else x_l
        if name in self.auxiliary_heads and torch.is_grad_enabled():  # in prediction no loss takes it away
            self._outputs[name] = x_o
        if self._strength is not None:
            self._strength[name] = torch.stack([x_l.abs().mean(dim=1), x_o.abs().mean(dim=1)], dim=1)
        return x_l + x_o if name in self.modulators else x_l

    def extra_losses(self, features: Tensor, labels: Tensor, step: Step) -> dict[str, Tensor]:
        """lambda_1 times the sum of the stages' losses, Eq. (8)."""
        total = torch.zeros((), device=labels.device)
        for name, head in self.auxiliary_heads.items():
            logits = head(self._outputs.pop(name))
            if self.own.auxiliary == "pointwise":
                total = total + step.cross_entropy(logits, labels)
            else:
                total = total + block_wise_bce(logits, labels, self.foreground, self.network.stage(name).stride)
        return {self.own.auxiliary: self.own.bwbce_lambda * total} if self.auxiliary_heads else {}

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """Channel means of |X_l| and |X_o| of each stage, "strength/res5" (B, 2, h, w), what Figure 7 shows."""
        self._strength = {}
        self.network.features(images)
        found, self._strength = self._strength, None
        return {f"strength/{name}": maps for name, maps in found.items()}

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Of each stage, channel means of |X_l| and |X_o|, and 1, summed over the pixels of each class: (3, C)."""
        known, sums = batch.labels != IGNORE, {}
        for name, maps in self.maps(batch.images).items():
            maps = upsample(full_precision(maps), batch.labels.shape[-2:]).movedim(1, 0)[:, known]
            rows = torch.cat([maps, torch.ones_like(maps[:1])])
            sums[name] = rows.new_zeros(3, len(self.classes)).index_add_(1, batch.labels[known], rows)
        return sums
