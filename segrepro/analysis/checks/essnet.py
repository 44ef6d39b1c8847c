"""The exact and mechanical claims of ESSNet."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from segrepro.analysis.checks.registered import check, largest, relative
from segrepro.analysis.scaling import extra_bytes
from segrepro.analysis.truncation import TAU, target_nearest
from segrepro.neighbours import nearest
from segrepro.papers.essnet import max_margin, truncated_cross_entropy, truncation_error, worst_truncation_error
from segrepro.softmax import exact_cross_entropy

PIXELS = 4096


def _drawn(pixels: int, classes: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Unit x (N, d) and mu (C, d) in float64 that want a gradient, and y (N,)."""
    generator = torch.Generator().manual_seed(seed)
    x, mu = (normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1) for n in (pixels, classes))
    return x.requires_grad_(), mu.requires_grad_(), torch.randint(0, classes, (pixels,), generator=generator)


def _posteriors(x: Tensor, mu: Tensor, y: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """p_bar with the k nearest classes and p with all, each (N,)."""
    p_bar = truncated_cross_entropy(x, mu, y, nearest(x, mu, k, "torch"), TAU).neg().exp()
    return p_bar, torch.softmax(-torch.cdist(x, mu).square() / TAU, 1).gather(1, y[:, None])[:, 0]


@check
def essnet_truncation_error() -> tuple[float, float]:
    """essnet-C11: the loss's p_bar - p on constructed distances against its formulas, and below the supremum on drawn
    ones.
    """
    residuals = []
    for k, classes in itertools.product((1, 2, 7, 18), (19, 150)):
        nearest_of_all = 1 if k == 1 else ((k - 1) * (classes - 1)) ** -0.5
        for t, expected in (
            (1.0, 1 / k - 1 / classes),
            (0.3, truncation_error(k, classes, 0.3)),
            (nearest_of_all, worst_truncation_error(k, classes)),
        ):
            x, mu, y = target_nearest(classes, t)
            others = torch.arange(k)[None]  # of those equally far any k - 1, with the target
            p_bar = truncated_cross_entropy(x, mu, y, others, TAU).neg().exp()
            p = truncated_cross_entropy(x, mu, y, torch.arange(classes)[None], TAU).neg().exp()
            residuals.append(abs((p_bar - p).item() - expected))
        outside = truncated_cross_entropy(*target_nearest(classes, 1.0), torch.arange(1, k + 1)[None], TAU)
        residuals.append(abs(outside.neg().exp().item() - 1 / (k + 1)))
        x, mu, _ = _drawn(500, classes, 4)
        p_bar, p = _posteriors(x, mu, nearest(x, mu, 1, "torch")[:, 0], k)
        residuals.append(float((p_bar - p).max().detach()) - worst_truncation_error(k, classes))
    return largest(residuals), 1e-10


@check
def essnet_truncation_is_one_sided() -> tuple[float, float]:
    """essnet-C12: p_bar = p for k = C and where the omitted classes have no mass; p_bar >= p for drawn embeddings."""
    x, mu, y = _drawn(500, 30, 6)
    residuals = []
    for k in range(1, 31):
        p_bar, p = _posteriors(x, mu, y, k)
        residuals.append(float((p - p_bar).max().detach()))
    residuals.append(relative(p_bar, p))
    far = torch.cat([mu, 100 + mu])  # 30 more classes, of no mass
    residuals.append(relative(_posteriors(x, far, y, 30)[0], p))
    return largest(residuals), 1e-10


@check
def essnet_is_a_cosine_classifier() -> tuple[float, float]:
    """essnet-C13: Eq. (5) against the softmax of cosines over tau / 2, and the chunked loss and its gradients against
    the dense ones.
    """
    x, mu, y = _drawn(500, 40, 6)
    by_distance = torch.softmax(-torch.cdist(x, mu).square() / TAU, 1)
    residuals = [relative(torch.softmax(x @ mu.T / (TAU / 2), 1), by_distance)]
    dense = cross_entropy(2 * x @ mu.T / TAU - mu.square().sum(1) / TAU, y, reduction="sum")
    exact = exact_cross_entropy(x, mu, y, TAU)
    residuals.append(relative(exact, dense))
    pairs = zip(torch.autograd.grad(exact, (x, mu)), torch.autograd.grad(dense, (x, mu)), strict=True)
    residuals += [relative(found, expected) for found, expected in pairs]
    return largest(residuals), 1e-10


@check
def essnet_margin_pushes_the_nearest() -> tuple[float, float]:
    """essnet-C14: L_r is 0 just below the smallest distance and not just above it, and its gradient that of the nearest
    pairs alone.
    """
    _, mu, _ = _drawn(1, 20, 4)
    distances = torch.cdist(mu, mu) + torch.diag(torch.full((20,), torch.inf, dtype=torch.float64))
    closest, which = distances.min(1)
    residuals = [max_margin(mu, closest.min().item() * 0.999, "torch").item()]
    residuals.append(float(not max_margin(mu, closest.min().item() * 1.001, "torch").item() > 0))
    for margin in (0.2, 0.5, 1.0):
        (found,) = torch.autograd.grad(max_margin(mu, margin, "torch"), mu)
        expected = torch.zeros_like(mu)
        for i in range(20):
            if closest[i] < margin:
                push = (mu[i] - mu[which[i]]).detach() / closest[i].item() / 20
                expected[i] -= push
                expected[which[i]] += push
        residuals.append(float((found - expected).abs().max()))
    return largest(residuals), 1e-10


def _dense(z: Tensor, mu: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(z, y, reduction="sum") + 0 * mu.sum()


def _truncated(k: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda x, mu, y: truncated_cross_entropy(x, mu, y, nearest(x, mu, k, "torch"), TAU).sum()


def _bytes_a_pixel(classes: int, d: int, k: int | None = None) -> float:
    """Memory of the last layer's d channels, their gradient and the loss: ESSNet's, or the dense one if k is None."""
    x, mu, y = (tensor.detach() for tensor in _drawn(PIXELS, classes, d))
    x, mu = x.float().requires_grad_(), mu.float().requires_grad_()
    return (extra_bytes(_dense if k is None else _truncated(k), x, mu, y) + 2 * x.nbytes) / PIXELS


@check
def essnet_memory_is_flat() -> tuple[float, float]:
    """essnet-C3: bytes a pixel that one more class costs the truncated loss, as a share of the dense loss's."""
    ours = (_bytes_a_pixel(10_000, 12, 7) - _bytes_a_pixel(1284, 12, 7)) / (10_000 - 1284)
    dense = (_bytes_a_pixel(1284, 1284) - _bytes_a_pixel(150, 150)) / (1284 - 150)
    return abs(ours / dense), 0.02


@check
def essnet_memory_crosses_over() -> tuple[float, float]:
    """essnet-C4: dense over ours at 19 classes (d = 6, k = 7), ours over dense at 150 (d = 12, k = 8 and 6)."""
    few = _bytes_a_pixel(19, 19) / _bytes_a_pixel(19, 6, 7)
    many = max(_bytes_a_pixel(150, 12, k) for k in (8, 6)) / _bytes_a_pixel(150, 150)
    return max(few, many), 1.0
