"""How skewed a data set is, by pixels and by images, and how far accuracy follows (Region Rebalance Section 3)."""

import numpy as np
import pandas as pd

from segrepro import metrics
from segrepro.datasets.base import Classes
from segrepro.datasets.statistics import Statistics, imbalance_factor
from segrepro.errors import InputError
from segrepro.runs import Run


def frequency_table(statistics: Statistics, classes: Classes) -> pd.DataFrame:
    """One row a class, the most frequent first: percent of the labelled pixels, of the images with it, rare or not."""
    table = pd.DataFrame(
        {
            "pixels %": 100 * statistics.pixel_frequency,
            "images %": 100 * statistics.image_counts / statistics.images,
            "rare": [name in classes.rare for name in classes.names],
        },
        index=pd.Index(classes.names, name="class"),
    )
    return table.sort_values("pixels %", ascending=False, kind="stable")


def conditional_co_occurrence(statistics: Statistics) -> np.ndarray:
    """Percent (C, C) of the images with class [row] that also have class [column]; nan for a class in no image."""
    images = np.asarray(statistics.image_counts)[:, None]
    return np.divide(
        100.0 * statistics.co_occurrence, images, out=np.full((len(images),) * 2, np.nan), where=images > 0
    )


def imbalance_removed(run: Run) -> float:
    """100 (1 - RIF / PIF): by how many percent a run's training images are less imbalanced than its pixels (Fig. 5)."""
    pixels, regions = (imbalance_factor(np.asarray(n)) for n in (run.record.pixel_counts, run.record.image_counts))
    return 100 * (1 - regions / pixels)


def accuracy_correlations(run: Run) -> pd.Series:
    """Pearson coefficients (percent) of the classes' accuracy with their "pixels" and "regions" in training (Table 2).

    Accuracy is the pixel classifier's for both; frequencies are counts, not their logarithms. The paper leaves both
    open. Classes that are not in the validation labels are left out.
    """
    accuracy = metrics.class_accuracy(run.record.evaluations["val"])
    table = pd.DataFrame({"pixels": run.record.pixel_counts, "regions": run.record.image_counts, "accuracy": accuracy})
    return 100 * table.corr()["accuracy"].drop("accuracy")


def region_accuracy(run: Run) -> pd.Series:
    """Share of each class's validation regions that the region classifier gets right (Figure 4 (c)); nan without any.

    Raises InputError if the run had no region classifier.
    """
    if "regions" not in run.arrays:
        raise InputError(f"{run.folder}: no 'regions' in the record. Only region_rebalance classifies regions.")
    right, regions = run.arrays["regions"]
    accuracy = np.divide(right, regions, out=np.full(len(regions), np.nan), where=regions > 0)
    return pd.Series(accuracy, index=pd.Index(run.record.class_names, name="class"))
