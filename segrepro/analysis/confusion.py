"""Which class is taken for which (FBNet Figure 2)."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from segrepro import metrics
from segrepro.errors import InputError
from segrepro.runs import Run, paired
from segrepro.verdict import mean_interval


def of_runs(runs: Iterable[Run], evaluation: str = "val") -> np.ndarray:
    """Confusion counts (C, C) [label, prediction], summed over runs (seeds) of one configuration."""
    return np.sum([run.counts(evaluation) for run in runs], axis=0)


def of_shared_seeds(runs: Mapping[str, Sequence[Run]]) -> dict[str, np.ndarray]:
    """`of_runs` of each configuration, of the seeds that all have, so that differences are the methods'.

    Raises InputError if there is no such seed.
    """
    seeds = set.intersection(*({run.record.seed for run in found} for found in runs.values()))
    if not seeds:
        raise InputError(f"no seed is recorded for all of {', '.join(runs)}: record one, or compare fewer of them")
    return {name: of_runs(run for run in found if run.record.seed in seeds) for name, found in runs.items()}


def row_shares(matrix: np.ndarray) -> np.ndarray:
    """Each label's pixels by predicted class, in percent (C, C): rows sum to 100, or are nan for an absent label."""
    return 100 * metrics.ratio(matrix, matrix.sum(axis=1, keepdims=True))


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


def largest_confusions(counts: Mapping[str, np.ndarray], names: Sequence[str], count: int = 15) -> pd.DataFrame:
    """`top_confusions` of a baseline, the first of `counts`, and what becomes of them: for each other configuration a
    column, in percent of the label's pixels, and one of its change in points ("Δ ...").
    """
    (baseline, before), *others = counts.items()
    table = top_confusions(before, names, count=count).set_index(["label", "taken for"])
    table = table.rename(columns={"percent": baseline})
    for name, matrix in others:
        of_name = top_confusions(matrix, names, baseline=before, count=count)
        table[name], table[f"Δ {name}"] = of_name["percent"].to_numpy(), of_name["change"].to_numpy()
    return table


def taken_for(
    method: Sequence[Run], baseline: Sequence[Run], labels: Mapping[str, Sequence[str]], others: Sequence[str]
) -> pd.DataFrame:
    """Percent of the pixels of each set of classes in `labels` that are predicted as one of the classes `others`.

    One row a set: baseline, method and change (points), means over the seeds that both have; low and high, the change's
    95 % t-interval (nan with one seed); mostly, the one of the others that the baseline takes most pixels for.
    Raises InputError if a class is not one of the data set, or if they share no seed.
    """
    names = baseline[0].record.class_names
    if unknown := sorted({*others}.union(*labels.values()) - set(names)):
        raise InputError(f"no class {', '.join(unknown)}; the data set has {', '.join(names)}")
    pairs = paired(baseline, method)
    if not pairs:
        raise InputError("the method and the baseline have no seed in common: record one, or choose other seeds")
    columns, rows = [names.index(name) for name in others], {}
    for title, classes in labels.items():
        chosen = [names.index(name) for name in classes]
        of = [np.array([run.counts()[chosen].sum(0) for run in found]) for found in zip(*pairs, strict=True)]
        before, after = (100 * metrics.ratio(taken[:, columns].sum(1), taken.sum(1)) for taken in of)
        mostly = others[int(of[0].sum(0)[columns].argmax())]
        rows[title] = (before.mean(), after.mean(), *mean_interval(after - before), mostly)
    titles = ["baseline", "method", "change", "low", "high", "mostly"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=titles)
