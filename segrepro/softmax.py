"""The exact softmax over all classes at constant memory: cross-entropy by distance to class vectors, in chunks.

-|x - mu_c|^2 / tau = (2 x.mu_c - |mu_c|^2) / tau + a number that is the same for all classes: a linear layer. So the
pixels can be taken a few at a time, and the gradient formed on the way forward from the same exponentials: never is
there a tensor of pixels x classes, and each pair costs one exponential.

Shapes: N pixels, C classes, d channels.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.linalg import vector_norm

from segrepro.errors import InputError

ENTRIES = {"cpu": 2**18, "cuda": 2**22}  # pairs of pixel and class at a time: what a core's cache holds; 16 MiB
LARGEST_RANGE = 80.0  # exp(-80) is still an ordinary number in float32
UNIT = 1 + 1e-5  # the length of a unit vector, rounded
LANES = 16  # products of so many columns, or a multiple, are twice as fast on a CPU as those of 13: d = 12 and one


def exact_cross_entropy(x: Tensor, mu: Tensor, y: Tensor, tau: float, weight: Tensor | None = None) -> Tensor:
    """Sum over pixels of -log p(y | x), p the softmax over all C classes of -|x - mu_c|^2 / tau (ESSNet Eq. (5)).

    x (N, d), mu (C, d), y (N,) int64 classes, weight (N,) of the pixels -> scalar; differentiable once, in x and mu.
    Beyond inputs and gradients it holds ENTRIES numbers and a few for each pixel.

    The exponentials are shifted by one fixed number, in place of each pixel's largest logit, where that is safe: no
    vector longer than 1 puts all logits within 4 / tau, and 4 / tau <= 80. Raises InputError unless tau > 0.
    """
    if not tau > 0:
        raise InputError(f"tau: {tau} is no temperature; give a number above 0")
    return _ExactCrossEntropy.apply(x, mu, y, tau, x.new_ones(len(x)) if weight is None else weight)


def has_fixed_shift(x: Tensor, mu: Tensor, tau: float) -> bool:
    """Whether the logits are bounded well enough for a fixed shift."""
    short = vector_norm(x, dim=1).le(UNIT).all() & vector_norm(mu, dim=1).le(UNIT).all()
    return 4 / tau <= LARGEST_RANGE and bool(short)


def _with_column(vectors: Tensor, column: Tensor | float) -> Tensor:
    """Vectors (n, d) with a further column d, and zeros up to a multiple of LANES."""
    n, d = vectors.shape
    wide = vectors.new_zeros(n, -(-(d + 1) // LANES) * LANES)
    wide[:, :d], wide[:, d] = vectors, column
    return wide


class _ExactCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, mu: Tensor, y: Tensor, tau: float, weight: Tensor) -> Tensor:
        fixed = has_fixed_shift(x, mu, tau)
        d = x.shape[1]
        bias = -mu.square().sum(1) / tau - (1 / tau if fixed else 0)
        to_logits, to_sums = _with_column(2 / tau * mu, bias), _with_column(mu, 1.0)  # (C, LANES * i) both
        wants_x, wants_mu = ctx.needs_input_grad[:2]
        loss, grad_x = x.new_empty(len(x)), torch.empty_like(x) if wants_x else None
        sums_mu = torch.zeros_like(to_sums)
        rows = max(1, ENTRIES.get(x.device.type, ENTRIES["cuda"]) // len(mu))
        buffer = x.new_empty(min(rows, len(x)), len(mu))
        for start in range(0, len(x), rows):
            part = slice(start, start + rows)
            x1 = _with_column(x[part], 1.0)  # its column meets the bias
            z = torch.mm(x1, to_logits.T, out=buffer[: len(x1)])
            z_y = z.gather(1, y[part, None])
            top = 0 if fixed else z.amax(1, keepdim=True)
            e = (z if fixed else z.sub_(top)).exp_()
            sums = e @ to_sums  # sum_c e_c mu_c, and in column d sum_c e_c
            s = sums[:, d, None]
            loss[part] = (s.log() + top - z_y)[:, 0]
            w = weight[part, None]
            if wants_x:
                torch.mul(sums[:, :d] / s - mu[y[part]], 2 / tau * w, out=grad_x[part])
            if wants_mu:
                sums_mu.addmm_(e.T, x1 * (w / s)).index_add_(0, y[part], x1 * w, alpha=-1)
        grad_mu = 2 / tau * (sums_mu[:, :d] - mu * sums_mu[:, d, None]) if wants_mu else None
        ctx.save_for_backward(grad_x, grad_mu)
        return loss.mul_(weight).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        # In place, because a second copy of x's gradient would be the largest thing held.
        return *(None if g is None else g.mul_(grad) for g in ctx.saved_tensors), None, None, None
