"""The rule that turns paired differences into a verdict, fixed before the runs.

Per seed there is a difference; its mean and 95 % t-interval decide:

    greater       reproduced if the whole interval is above zero, else not reproduced if it lies wholly under the margin
    less          the mirror image
    equivalent    reproduced if the interval lies within +-margin, not reproduced if wholly outside
    not_greater   "does not help": reproduced if it lies wholly under the margin, else not reproduced if above zero
    nonzero       reproduced if the interval leaves out zero, else not reproduced if it lies within +-margin

and otherwise it is inconclusive, as a single seed always is. Several comparisons are Holm-corrected: reproduced if
every one is, not reproduced if any one is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.stats

LEVEL = 0.05  # 1 - the confidence of every interval
FLOOR = 5.0  # points of (mean) IoU: a class, or set of classes, that is found less has next to nothing to lose
REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, NOT_JUDGED = "reproduced", "not reproduced", "inconclusive", "not judged"

Direction = Literal["greater", "less", "equivalent", "not_greater", "nonzero"]


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of values over seeds and the ends of its 95 % t-interval; ends nan of one value, all nan of none."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return (float(values.mean()) if len(values) else np.nan), np.nan, np.nan
    mean, half = float(values.mean()), scipy.stats.t.ppf(1 - LEVEL / 2, len(values) - 1) * scipy.stats.sem(values)
    return mean, mean - half, mean + half


@dataclass(frozen=True)
class Evidence:
    """One comparison over seeds: the paired differences (n,), what is claimed of them, the paper's own effects, and the
    unit of all these.
    """

    label: str
    differences: np.ndarray
    direction: Direction
    margin: float
    paper: Sequence[float] = ()
    unit: str = "points"

    @property
    def n(self) -> int:
        return len(self.differences)

    @property
    def effect(self) -> float:
        """Mean difference."""
        return float(np.mean(self.differences))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % t-interval of the mean; nan with one seed."""
        return mean_interval(self.differences)[1:]

    @property
    def claimed(self) -> str:
        """What the mean difference should be, as one writes it."""
        margin = f"{self.margin:g}"
        return {
            "greater": "> 0",
            "less": "< 0",
            "equivalent": f"within ±{margin}",
            "not_greater": f"< {margin}",
            "nonzero": "not 0",
        }[self.direction]

    def p_above(self, bound: float) -> float:
        """The smallest p for which the (1 - p) interval lies wholly above `bound`; 1 if none does."""
        return self._p(self.effect - bound)

    def p_below(self, bound: float) -> float:
        """The smallest p for which the (1 - p) interval lies wholly below `bound`; 1 if none does."""
        return self._p(bound - self.effect)

    def _p(self, distance: float) -> float:
        if self.n < 2 or not distance > 0:  # neither does an effect that is undefined (nan)
            return 1.0
        error = scipy.stats.sem(self.differences)
        return float(2 * scipy.stats.t.sf(distance / error, self.n - 1)) if error > 0 else 0.0

    @property
    def p_for(self) -> float:
        """p at which the comparison counts as reproduced."""
        margin = self.margin
        match self.direction:
            case "greater":
                return self.p_above(0)
            case "less":
                return self.p_below(0)
            case "not_greater":
                return self.p_below(margin)
            case "equivalent":
                return max(self.p_above(-margin), self.p_below(margin))
            case "nonzero":
                return min(self.p_above(0), self.p_below(0))

    @property
    def p_against(self) -> float:
        """p at which the comparison counts as not reproduced."""
        margin = self.margin
        match self.direction:
            case "greater":
                return self.p_below(margin)
            case "less":
                return self.p_above(-margin)
            case "not_greater":
                return self.p_above(0)
            case "equivalent":
                return min(self.p_below(-margin), self.p_above(margin))
            case "nonzero":
                return max(self.p_above(-margin), self.p_below(margin))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjusted p-values (m,), in the order given: to be compared with the level as they are."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def decide(evidence: Sequence[Evidence]) -> tuple[str, Evidence]:
    """The verdict on a claim from all its comparisons, and the comparison that decided it (or the weakest one)."""
    return decide_each([evidence])[0]


def decide_each(claims: Sequence[Sequence[Evidence]]) -> list[tuple[str, Evidence]]:
    """`decide` of several claims that are read together: Holm's correction is over the comparisons of all of them."""
    every, ends = [e for evidence in claims for e in evidence], np.cumsum([len(evidence) for evidence in claims])[:-1]
    p_for, p_against = (np.split(holm([getattr(e, p) for e in every]), ends) for p in ("p_for", "p_against"))
    return [_outcome(*of_one) for of_one in zip(claims, p_for, p_against, strict=True)]


def _outcome(evidence: Sequence[Evidence], p_for: np.ndarray, p_against: np.ndarray) -> tuple[str, Evidence]:
    p_against = np.where(p_for <= LEVEL, 1, p_against)  # what is reproduced, if by less than the margin, is not failed
    if (p_for <= LEVEL).all():
        outcome = REPRODUCED
    elif (p_against <= LEVEL).any():
        return NOT_REPRODUCED, evidence[int(p_against.argmin())]
    else:
        outcome = INCONCLUSIVE
    return outcome, evidence[int(np.argmax([e.p_for for e in evidence]))]
