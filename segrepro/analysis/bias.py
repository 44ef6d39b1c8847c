"""Accuracies by cell of class and bias value, as Learning from Failure reports them, and how they develop.

A cell's accuracy is the share of its images that are classified right. "unbiased" is the mean over all cells that
occur, "aligned" and "conflicting" over those where the bias is right or wrong; all in percent.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.stats
import torch

from segrepro.following import named
from segrepro.papers.lff import relative_difficulty
from segrepro.runs import Run

KINDS = ("unbiased", "aligned", "conflicting")


def cell_accuracies(counts: np.ndarray) -> np.ndarray:
    """Counts (G, C, C) -> percent right (C, G) of each cell of class and bias value; nan where there is no image."""
    counts = np.asarray(counts)
    return _percent(np.diagonal(counts, axis1=1, axis2=2).T, counts.sum(axis=2).T)


def accuracies(cells: np.ndarray, aligned: np.ndarray) -> dict[str, float]:
    """Mean accuracy by kind from those of the cells (C, G) and which of them are aligned (C, G) bool."""
    masks = dict(zip(KINDS, (np.ones_like(aligned), aligned, ~aligned), strict=True))
    return {kind: float(np.nanmean(cells[mask])) for kind, mask in masks.items()}


def of_run(run: Run, head: str | None = None) -> dict[str, float]:
    """Accuracies by kind of a run's last evaluation, or of one of its heads ("biased": LfF's f_B)."""
    counts = run.group_counts(named("val", head))
    return accuracies(cell_accuracies(counts), np.array(run.record.aligned))


def curve(run: Run, head: str | None = None) -> pd.DataFrame:
    """How a run developed, one row an evaluation, the last at its end: iteration, accuracies by kind, and the mean
    losses of watched training samples, "loss aligned" and "loss conflicting" (nan where the split has none).
    """
    record = run.record
    aligned, counts = np.array(record.aligned), run.group_counts(named("val", head))
    sizes = counts.sum(axis=2).T
    rows = []
    for point in record.curve:
        cells = _percent(np.array(point[named("hits", head)]).T, sizes)
        losses = {f"loss {kind}": point.get(named(kind, head), np.nan) for kind in KINDS[1:]}
        rows.append({"iteration": point["iteration"], **accuracies(cells, aligned), **losses})
    last = {f"loss {kind}": float(np.mean(run.arrays.get(f"watched/{named(kind, head)}", [np.nan])))
            for kind in KINDS[1:]}  # fmt: skip
    rows.append({"iteration": record.parameters["iterations"], **of_run(run, head), **last})
    return pd.DataFrame(rows)


def difficulty(run: Run) -> dict[str, np.ndarray]:
    """W = CE_B / (CE_B + CE_D) at the end, of the watched training samples: "aligned" (n,), "conflicting" (m,)."""
    return {
        kind: np.asarray(relative_difficulty(*(_watched(run, kind, head) for head in ("biased", None))))
        for kind in KINDS[1:]
    }


def detection(run: Run) -> float:
    """How well W tells conflicting from aligned samples: the area under its ROC curve, 0.5 by chance, 1 at best."""
    weights = difficulty(run)
    u = scipy.stats.mannwhitneyu(weights["conflicting"], weights["aligned"]).statistic
    return float(u / (len(weights["conflicting"]) * len(weights["aligned"])))


def summary(runs: dict[str, Sequence[Run]], head: str | None = None) -> pd.DataFrame:
    """Mean and standard deviation over seeds of the accuracies by kind, and of the highest unbiased accuracy on the way
    ("peak"): one row a configuration.
    """
    rows = {}
    for name, found in runs.items():
        table = pd.DataFrame([of_run(run, head) | {"peak": curve(run, head)["unbiased"].max()} for run in found])
        rows[name] = {(kind, of): getattr(table[kind], of)() for kind in table for of in ("mean", "std")}
        rows[name]["seeds", ""] = len(found)
    return pd.DataFrame.from_dict(rows, orient="index")


def _watched(run: Run, kind: str, head: str | None) -> torch.Tensor:
    return torch.from_numpy(run.arrays[f"watched/{named(kind, head)}"])


def _percent(right: np.ndarray, all_: np.ndarray) -> np.ndarray:
    return 100 * np.divide(right, all_, out=np.full(np.shape(all_), np.nan), where=np.asarray(all_) > 0)
