"""How alike a classifier's class vectors are (DropClass Section 3.4, Figure 3, Table 5)."""

import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import scipy.stats
from sklearn.metrics.pairwise import cosine_similarity

from segrepro.errors import InputError
from segrepro.runs import Run
from segrepro.verdict import mean_interval


def similarity(weight: np.ndarray) -> np.ndarray:
    """Cosine similarity (C, C) of the rows of a 1x1 classifier's weight (C, K)."""
    return cosine_similarity(np.asarray(weight, dtype=np.float64))


def row_sums(matrix: np.ndarray) -> np.ndarray:
    """Sum of each row (C,) without the diagonal: how much a class shares with all others (Table 5)."""
    return matrix.sum(axis=1) - np.diagonal(matrix)


def frequency_correlation(matrix: np.ndarray, pixel_counts: Sequence[int]) -> float:
    """Spearman correlation of pixel frequency and row sum; negative if rarer classes are the more correlated ones."""
    return float(scipy.stats.spearmanr(pixel_counts, row_sums(matrix)).statistic)


def of_run(run: Run) -> np.ndarray:
    """Similarity (C, C) of a run's classifier. Raises InputError if its record keeps no classifier (above 100 kB)."""
    if "classifier_weight" not in run.arrays:
        raise InputError(
            f"{run.folder}: the record has no 'classifier_weight': a matrix above 100 kB is not kept. Choose a data "
            "set with fewer classes, or a network with fewer channels."
        )
    return similarity(run.arrays["classifier_weight"])


def over_seeds(runs: Iterable[Run]) -> np.ndarray:
    """Similarity (C, C), averaged over runs that differ in the seed; weights themselves cannot be averaged."""
    return np.mean([of_run(run) for run in runs], axis=0)


def agreement(runs: Iterable[Run]) -> float:
    """Mean Pearson correlation between the seeds' similarities of two different classes: 1 if all seeds find the same
    relations, 0 if each has its own. nan for one run.
    """
    matrices = [of_run(run) for run in runs]
    if len(matrices) < 2:
        return np.nan
    return float(_off_diagonal(np.corrcoef([_off_diagonal(matrix) for matrix in matrices])).mean())


@functools.cache
def null(classes: int, numbers: int, draws: int = 1000) -> pd.DataFrame:
    """What one network would show by chance: quantiles over `draws` sets of random vectors of so many numbers.

    A classifier starts as about such a set. Rows: the quantities of `summary`, and "row sum", that of one class.
    Columns: 2.5 %, 50 %, 97.5 %. One pair's cosine has standard deviation 1 / sqrt(K), a row sum sqrt((C - 1) / K).
    """
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(draws):
        matrix = similarity(generator.standard_normal((classes, numbers)))
        rows.append(_facts(matrix, np.arange(classes)) | {"row sum": row_sums(matrix)[0]})
    return pd.DataFrame(rows).quantile([0.025, 0.5, 0.975]).T.set_axis(["2.5 %", "50 %", "97.5 %"], axis=1)


def summary(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """One row a configuration and quantity: configuration, quantity, value (mean over seeds), low, high (95 %
    t-interval; nan with one seed), seeds. Last come "random vectors" of each length: median, and where 95 % lie.

    Quantities: "ρ with frequency", Spearman's of row sum and pixels, negative if the rarer classes are the more
    correlated; the "mean row sum"; the mean cosine of two classes of the "frequent half", and of the "rare half" (the
    C // 2 with the fewest pixels); and that of the "closest pair" of all.
    """
    rows, shapes = [], {}
    for name, found in runs.items():
        shapes[found[0].arrays["classifier_weight"].shape] = None
        facts = pd.DataFrame([_facts(of_run(run), run.record.pixel_counts) for run in found])
        for quantity, values in facts.items():
            mean, *ends = mean_interval(values)
            bounds = (-np.inf, np.inf) if quantity == "mean row sum" else (-1, 1)  # of cosines and ρ
            rows.append((name, quantity, mean, *np.clip(ends, *bounds), len(found)))
    for classes, numbers in shapes:
        for quantity, (low, median, high) in null(classes, numbers).drop(index="row sum").iterrows():
            rows.append((f"random vectors of {numbers} numbers", quantity, median, low, high, ""))
    return pd.DataFrame(rows, columns=["configuration", "quantity", "value", "low", "high", "seeds"])


def of_pairs(runs: Mapping[str, Sequence[Run]], pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Cosine of each pair of classes, mean over seeds, one column a configuration; nan if the data set lacks one."""
    table = pd.DataFrame(index=pd.MultiIndex.from_tuples(pairs, names=["class", "with"]))
    for name, found in runs.items():
        names = found[0].record.class_names
        matrix = pd.DataFrame(over_seeds(found), names, names)
        table[name] = [matrix.get(b, {}).get(a, np.nan) for a, b in pairs]
    return table


def closest_pairs(runs: Mapping[str, Sequence[Run]], baseline: str = "plain", count: int = 10) -> pd.DataFrame:
    """`of_pairs` of the pairs of classes that are most alike in the baseline, the most alike first."""
    names, matrix = runs[baseline][0].record.class_names, over_seeds(runs[baseline])
    one, other = np.triu_indices(len(names), 1)
    order = np.argsort(-matrix[one, other], kind="stable")[:count]
    return of_pairs(runs, [(names[one[i]], names[other[i]]) for i in order])


def row_sum_table(matrices: Mapping[str, np.ndarray], names: Sequence[str]) -> pd.DataFrame:
    """Row sums per class, one column a matrix, and the last minus the first (the layout of Table 5)."""
    table = pd.DataFrame(
        {label: row_sums(matrix) for label, matrix in matrices.items()}, index=pd.Index(names, name="class")
    )
    return table.assign(difference=table.iloc[:, -1] - table.iloc[:, 0])


def _facts(matrix: np.ndarray, pixel_counts: Sequence[int]) -> dict[str, float]:
    order = np.argsort(-np.asarray(pixel_counts), kind="stable")
    first = len(order) - len(order) // 2
    halves = {"frequent half": order[:first], "rare half": order[first:]}
    within = {f"mean cosine, {half}": _off_diagonal(matrix[np.ix_(of, of)]).mean() for half, of in halves.items()}
    return {
        "ρ with frequency": frequency_correlation(matrix, pixel_counts),
        "mean row sum": row_sums(matrix).mean(),
        **within,
        "closest pair": _off_diagonal(matrix).max(),
    }


def _off_diagonal(matrix: np.ndarray) -> np.ndarray:
    """The similarities (C (C - 1) / 2,) of two different classes, each once."""
    return matrix[np.triu_indices(len(matrix), 1)]
