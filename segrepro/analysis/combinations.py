"""The papers' methods two by two: what each pair gains over plain training under the same budget."""

from collections.abc import Callable
from itertools import combinations_with_replacement

import pandas as pd

from segrepro import ledger, registry
from segrepro.analysis.effects import mean_iou
from segrepro.errors import InputError
from segrepro.runs import Run, paired
from segrepro.verdict import mean_interval

PAPERS = ("dropclass", "region_rebalance", "lff", "fbnet", "essnet")


def configuration_of(first: str, second: str) -> str:
    """Name of the configuration that combines two of PAPERS, in their order; of one with itself, the one alone."""
    return first if first == second else "+".join(sorted((first, second), key=PAPERS.index))


def obstacle(first: str, second: str) -> str:
    """Why two methods cannot be combined; empty where they can."""
    methods = [ledger.configuration(name).methods for name in dict.fromkeys((first, second))]
    try:
        registry.kinds([name for names in methods for name in names])
    except InputError as error:
        return str(error)
    return ""


def gains(runs_of: Callable[[str], list[Run]], classes: str | None = None) -> pd.DataFrame:
    """One row a pair that can be combined (with itself: alone): first, second, the gain in mean IoU over plain training
    in points, its 95 % t-interval (low, high), and the seeds that both have; nan and 0 where nothing is recorded.

    runs_of: the runs of a configuration by name. classes: "rare", "foreground" or "background", None for all.
    """
    baseline, rows = runs_of("plain"), []
    for first, second in combinations_with_replacement(PAPERS, 2):
        if not obstacle(first, second):
            pairs = paired(runs_of(configuration_of(first, second)), baseline)
            differences = [mean_iou(run, classes) - mean_iou(other, classes) for run, other in pairs]
            rows.append((first, second, *mean_interval(differences), len(pairs)))
    return pd.DataFrame(rows, columns=["first", "second", "gain", "low", "high", "seeds"])
