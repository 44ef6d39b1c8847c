"""How far ESSNet's truncated posterior is from the full one (Section 3.2), measured with its own losses."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from segrepro.papers.essnet import truncated_cross_entropy, truncation_error, worst_truncation_error
from segrepro.softmax import exact_cross_entropy

TAU = 0.05


def target_nearest(classes: int, t: float, tau: float = TAU) -> tuple[Tensor, Tensor, Tensor]:
    """A pixel on its own class's vector, and all other classes at one distance: t = exp((near^2 - far^2) / tau).

    x (1, 3), mu (classes, 3), y (1,) in float64, of unit length: the others lie on a circle around the pixel. t is in
    (0, 1], and not below exp(-4 / tau), where they would be farther than the opposite pole.
    """
    height = 1 + tau * np.log(t) / 2  # |x - mu|^2 = 2 - 2 x.mu
    angle = torch.linspace(0, 2 * torch.pi, classes, dtype=torch.float64)[: classes - 1]
    radius = (1 - height**2) ** 0.5
    others = torch.stack([radius * angle.cos(), radius * angle.sin(), torch.full_like(angle, height)], dim=1)
    x = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    return x, torch.cat([x, others]), torch.zeros(1, dtype=torch.int64)


def measured_error(k: int, classes: int, t: float, tau: float = TAU) -> float:
    """p_bar - p of `target_nearest` as the two losses give them, with the target among the k."""
    x, mu, y = target_nearest(classes, t, tau)
    p_bar = truncated_cross_entropy(x, mu, y, torch.arange(k)[None], tau).neg().exp()  # of those equally far any k - 1
    return float(p_bar - exact_cross_entropy(x, mu, y, tau).neg().exp())


def errors(k: int, classes: Sequence[int]) -> pd.DataFrame:
    """p_bar - p in closed form and as measured, one row a number of classes and value of t."""
    values = [(count, t) for count in classes for t in np.geomspace(1e-4, 1, 41)]
    rows = [(count, t, truncation_error(k, count, t), measured_error(k, count, t)) for count, t in values]
    return pd.DataFrame(rows, columns=["classes", "t", "closed form", "measured"])


def worst_cases(k: int, classes: Sequence[int]) -> pd.DataFrame:
    """The error at equal distances, which the paper calls the worst, and the largest there is, by number of classes.

    The other columns: the t at which it is largest, the two posteriors there and their measured difference.
    """
    rows = []
    for count in classes:
        t = ((k - 1) * (count - 1)) ** -0.5 if k > 1 else 1.0
        p_bar = 1 / (1 + (k - 1) * t)
        rows.append(
            {"classes": count, "1/k - 1/C": 1 / k - 1 / count, "worst": worst_truncation_error(k, count), "at t": t,
             "p̄": p_bar, "p": p_bar - truncation_error(k, count, t), "p̄ - p measured": measured_error(k, count, t)}
        )  # fmt: skip
    return pd.DataFrame(rows).set_index("classes")
