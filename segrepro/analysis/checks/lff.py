"""What LfF claims of its loss, of its weight, and of its test sets."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from segrepro import metrics
from segrepro.analysis.checks.registered import check, largest
from segrepro.papers.lff import generalised_cross_entropy, relative_difficulty


def _samples() -> tuple[Tensor, Tensor]:
    """Logits (300, 10, 1, 1) in float64 that want a gradient, labels (300, 1, 1); p_y from almost 1 to about 1e-100."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([1.0, 10.0, 60.0], dtype=torch.float64).repeat_interleave(100).view(-1, 1, 1, 1)
    logits = scale * torch.randn(300, 10, 1, 1, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(0, 10, (300, 1, 1), generator=generator)


@check
def lff_gce_scales_the_gradient() -> tuple[float, float]:
    """lff-C12: autograd of GCE against p_y^q times autograd of the cross-entropy, relative to each sample's largest
    entry.
    """
    logits, labels = _samples()
    losses, residuals = cross_entropy(logits, labels, reduction="none"), []
    (plain,) = torch.autograd.grad(losses.sum(), logits)
    probability = logits.detach().softmax(dim=1).gather(1, labels[:, None])
    for q in (0.001, 0.1, 0.5, 0.7, 1.0):
        (found,) = torch.autograd.grad(generalised_cross_entropy(logits, labels, q).sum(), logits)
        expected = probability**q * plain
        learned = expected.abs().amax(1) > 0  # not where p rounds to 1
        residuals.append(((found - expected).abs().amax(1) / expected.abs().amax(1))[learned].max().item())
    return largest(residuals), 1e-10


@check
def lff_gce_tends_to_cross_entropy() -> tuple[float, float]:
    """lff-C13: CE - GCE lies between q CE^2 / 2 - q^2 CE^3 / 6 and q CE^2 / 2 for q -> 0; GCE is 1 - p at q = 1."""
    logits, labels = (samples.detach() for samples in _samples())
    losses = cross_entropy(logits, labels, reduction="none")
    probability = logits.softmax(dim=1).gather(1, labels[:, None])[:, 0]
    residuals = [(generalised_cross_entropy(logits, labels, 1.0) - (1 - probability)).abs().max().item()]
    for q in (0.1, 0.01, 0.001, 0.0001):
        below = losses - generalised_cross_entropy(logits, labels, q)
        highest = q * losses**2 / 2
        outside = torch.maximum(below - highest, highest - q**2 * losses**3 / 6 - below)
        residuals.append((outside / losses.clamp(min=1)).max().item())
    return largest(residuals), 1e-10


@check
def lff_weight_is_a_share() -> tuple[float, float]:
    """lff-C14: W over a grid of losses; counts the entries outside [0, 1], those other than 1/2 at equal losses, those
    that do not rise with CE_B or do not fall with CE_D, and a gradient through W.
    """
    grid = torch.cat([torch.zeros(1), torch.logspace(-6, 3, 50)]).double()
    biased, debiased = (part.clone().requires_grad_() for part in torch.meshgrid(grid, grid, indexing="ij"))
    weight = relative_difficulty(biased, debiased)
    wrong = (~((weight >= 0) & (weight <= 1))).sum() + (weight.diagonal() != 0.5).sum()  # NaN is outside too
    # Where the other loss is 0, W is 1 or 0 whatever this one is.
    wrong += (weight.diff(dim=0)[:, 1:] <= 0).sum() + (weight.diff(dim=1)[1:] >= 0).sum()
    return float(wrong + weight.requires_grad), 0.0


@check
def lff_unbiased_accuracy_is_a_mean() -> tuple[float, float]:
    """lff-C15: accuracy over all samples of n x n equal cells against 1/n aligned plus (1 - 1/n) conflicting."""
    generator, residuals = np.random.default_rng(0), []
    for n in (2, 3, 10):
        chances = generator.dirichlet(np.ones(n), (n, n))
        counts = generator.multinomial(97, chances)  # (G, C, C): 97 samples of each bias value and class
        aligned = np.eye(n, dtype=bool)  # bias value by class
        unbiased, on_aligned, on_conflicting = (
            metrics.pixel_accuracy((counts * cells[..., None]).sum(axis=0))
            for cells in (aligned | True, aligned, ~aligned)
        )
        residuals.append(abs(unbiased - (on_aligned / n + (1 - 1 / n) * on_conflicting)))
    return largest(residuals), 1e-12
