"""How alike a classifier's class vectors are (DropClass Section 3.4, Figure 3, Table 5)."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import scipy.stats
from sklearn.metrics.pairwise import cosine_similarity

from segrepro.errors import InputError
from segrepro.runs import Run


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
            f"{run.folder}: the record has no 'classifier_weight'. Train this run again with the network kept."
        )
    return similarity(run.arrays["classifier_weight"])


def over_seeds(runs: Iterable[Run]) -> np.ndarray:
    """Similarity (C, C), averaged over runs that differ in the seed; weights themselves cannot be averaged."""
    return np.mean([of_run(run) for run in runs], axis=0)


def row_sum_table(matrices: Mapping[str, np.ndarray], names: Sequence[str]) -> pd.DataFrame:
    """Row sums per class, one column a matrix, and the last minus the first (the layout of Table 5)."""
    table = pd.DataFrame(
        {label: row_sums(matrix) for label, matrix in matrices.items()}, index=pd.Index(names, name="class")
    )
    return table.assign(difference=table.iloc[:, -1] - table.iloc[:, 0])
