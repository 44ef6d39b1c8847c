"""How the foreground pixels of a block pull on its one coarse logit (FBNet Section 3.1, Figure 4)."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch.nn.functional import cross_entropy, interpolate

from segrepro.papers.fbnet import block_wise_bce


def gradients(logits: torch.Tensor, labels: torch.Tensor, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient of a block's loss at its logits (C, h, w): point-wise (the mean over its pixels, to which the logits
    are copied) and block-wise.

    labels (h stride, w stride), C classes, all of them foreground.
    """
    logits, labels, blocks = logits[None].requires_grad_(), labels[None], logits[0].numel()
    copied = interpolate(logits, scale_factor=stride, mode="nearest")
    (pointwise,) = torch.autograd.grad(blocks * cross_entropy(copied, labels), logits)
    (blockwise,) = torch.autograd.grad(block_wise_bce(logits, labels, range(logits.shape[1]), stride), logits)
    return pointwise[0], logits.numel() * blockwise[0]


def block(stride: int, pixels: int) -> torch.Tensor:
    """Labels (stride, stride): the first pixels are of class 1, the others of class 0."""
    return (torch.arange(stride**2) < pixels).long().view(stride, stride)


def pulls(strides: Sequence[int], probability: float) -> pd.DataFrame:
    """By how much each loss pulls up the logit of a class that has `pixels` of a block and, so far, this probability.

    Minus the gradient, by autograd. Columns: stride, pixels (1 to stride²), point-wise, block-wise.
    """
    logits = torch.tensor([0.0, probability], dtype=torch.float64)
    logits[1] = logits[1].logit()  # of a softmax with the one other class as of a sigmoid
    rows = []
    for stride in strides:
        for pixels in range(1, stride**2 + 1):
            found = gradients(logits.clone().view(2, 1, 1), block(stride, pixels), stride)
            rows.append((stride, pixels, *(-float(gradient[1]) for gradient in found)))
    return pd.DataFrame(rows, columns=["stride", "pixels", "point-wise", "block-wise"])
