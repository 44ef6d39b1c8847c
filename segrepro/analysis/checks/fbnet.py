"""What FBNet claims of its gradients, its targets and its cost."""

import itertools
import math

import torch

from segrepro.analysis.checks.registered import check, largest, relative
from segrepro.analysis.dilution import block, gradients
from segrepro.analysis.operations import flops
from segrepro.datasets.base import IGNORE
from segrepro.papers.fbnet import block_targets

STRIDES = (2, 3, 8)


def _some_logits(*size: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@check
def fbnet_pointwise_loss_dilutes() -> tuple[float, float]:
    """fbnet-C9: autograd against softmax - n_c / s^2, for each number n of foreground pixels in a block."""
    residuals = []
    for stride in STRIDES:
        for pixels in range(stride**2 + 1):
            logits, share = _some_logits(3, 1, 1), pixels / stride**2
            pointwise, _ = gradients(logits, block(stride, pixels), stride)
            labelled = torch.tensor([1 - share, share, 0], dtype=torch.float64)
            residuals.append(relative(pointwise.flatten(), logits.flatten().softmax(0) - labelled))
    return largest(residuals), 1e-10


@check
def fbnet_block_loss_does_not_dilute() -> tuple[float, float]:
    """fbnet-C10: autograd against sigmoid - Y' for each number of foreground pixels; at a probability near 0, one pixel
    pulls s^2 times as much as point-wise.
    """
    residuals = []
    for stride in STRIDES:
        for pixels in range(1, stride**2 + 1):
            logits = _some_logits(3, 1, 1)
            _, blockwise = gradients(logits, block(stride, pixels), stride)
            occurs = torch.tensor([pixels < stride**2, True, False], dtype=torch.float64)
            residuals.append(relative(blockwise.flatten(), logits.flatten().sigmoid() - occurs))
        unlikely = torch.tensor([0.0, -40.0], dtype=torch.float64).view(2, 1, 1)
        pointwise, blockwise = gradients(unlikely, block(stride, 1), stride)
        residuals.append(relative(blockwise[1], stride**2 * pointwise[1]))
    return largest(residuals), 1e-10


@check
def fbnet_targets_are_a_maximum() -> tuple[float, float]:
    """fbnet-C11: `block_targets` against a loop over blocks and classes, also where the stride does not divide the
    sides; the residual counts the entries that differ.
    """
    generator = torch.Generator().manual_seed(0)
    labels, foreground, wrong = torch.randint(IGNORE, 5, (2, 13, 22), generator=generator), [1, 2, 4], 0
    for stride in STRIDES:
        found = block_targets(labels, foreground, stride)
        places = itertools.product(range(2), enumerate(foreground), range(0, 13, stride), range(0, 22, stride))
        for image, (place, c), top, left in places:
            occurs = any(c in row[left : left + stride] for row in labels[image, top : top + stride])
            wrong += int(found[image, place, top // stride, left // stride] != occurs)
    return float(wrong), 0.0


@check
def fbnet_costs_next_to_nothing() -> tuple[float, float]:
    """fbnet-C4: operations that the module adds at 1024 x 1024 to PSPNet and DeepLabV3+ on ResNet-50, output stride 8.

    With the layer that only training has; without it they are 13 times fewer. The residual is the larger of two
    shares of what is allowed: 0.2 % of the network's operations, and a factor of 10 from the paper's 0.76 GFLOPs. It is
    infinite if the heads differ in what is added.
    """
    networks = {"output_stride": 8, "training": True}
    plain, fbnet = (
        [flops(head, "resnet50", [name], (1024, 1024), **networks) for head in ("pspnet", "deeplabv3plus")]
        for name in ("plain", "fbnet")
    )
    added = [after - before for after, before in zip(fbnet, plain, strict=True)]
    if added[0] != added[1]:
        return math.inf, 1.0
    return max(added[0] / min(plain) / 0.002, abs(math.log10(added[0] / 0.76e9))), 1.0
