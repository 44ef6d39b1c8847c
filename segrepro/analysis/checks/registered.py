"""What the checks of all papers share: the register, a residual, a batch to try a method on."""

import functools
from collections.abc import Callable, Iterable

import numpy as np
import torch

from segrepro.datasets.base import Classes
from segrepro.datasets.batches import Batch
from segrepro.datasets.statistics import Statistics

CHECKS: dict[str, Callable[[], tuple[float, float]]] = {}
SMALL_CLASSES = Classes(("ground", "thing", "sky"), ((0, 0, 0),) * 3)
SMALL_STATISTICS = Statistics(np.ones(3, dtype=np.int64), np.ones((2, 3), dtype=bool))


def check(function: Callable[[], tuple[float, float]]) -> Callable[[], tuple[float, float]]:
    """Register a function without arguments that returns (residual, tolerance); it is computed once."""
    CHECKS[function.__name__] = functools.cache(function)
    return function


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest deviation relative to the largest expected entry."""
    return float(((found - expected).abs().max() / expected.abs().max()).detach())


def largest(residuals: Iterable[float]) -> float:
    """The largest residual; NaN if any is, which Python's `max` passes over unless it comes first."""
    return float(np.max(list(residuals)))


def small_batch(generator: torch.Generator) -> Batch:
    """Two random images of 32 x 64 with random labels of SMALL_CLASSES."""
    images = torch.randint(0, 256, (2, 3, 32, 64), generator=generator).to(torch.uint8)
    return Batch(images, torch.randint(0, 3, (2, 32, 64), generator=generator), torch.arange(2), ["", ""])
