"""Which class is taken for which (FBNet Figure 2)."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from segrepro.runs import Run


def of_runs(runs: Iterable[Run], evaluation: str = "val") -> np.ndarray:
    """Confusion counts (C, C) [label, prediction], summed over runs (seeds) of one configuration."""
    return np.sum([run.counts(evaluation) for run in runs], axis=0)


def row_shares(matrix: np.ndarray) -> np.ndarray:
    """Each label's pixels by predicted class, in percent (C, C): rows sum to 100, or are nan for an absent label."""
    pixels = matrix.sum(axis=1, keepdims=True)
    return np.divide(100 * matrix, pixels, out=np.full(matrix.shape, np.nan), where=pixels > 0)


def top_confusions(
    matrix: np.ndarray, names: Sequence[str], *, baseline: np.ndarray | None = None, count: int = 15
) -> pd.DataFrame:
    """The `count` largest confusions: label, prediction, percent of the label's pixels; sorted, the largest first.

    With a baseline's counts (C, C), the largest are the baseline's, and the columns `baseline` and `change` (points)
    say what became of them.
    """
    shares = row_shares(matrix)
    ranked = row_shares(baseline) if baseline is not None else shares
    wrong = np.where(np.eye(len(names), dtype=bool), -np.inf, np.nan_to_num(ranked, nan=-np.inf))
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    label, prediction = np.unravel_index(order[wrong.ravel()[order] > 0], wrong.shape)
    table = pd.DataFrame(
        {
            "label": np.array(names)[label],
            "taken for": np.array(names)[prediction],
            "percent": shares[label, prediction],
        }
    )
    if baseline is not None:
        table.insert(2, "baseline", ranked[label, prediction])
        table["change"] = table["percent"] - table["baseline"]
    return table
