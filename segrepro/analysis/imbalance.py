"""How skewed a data set is, by pixels and by images, and how far accuracy follows (Region Rebalance Section 3)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import scipy.ndimage

from segrepro import metrics
from segrepro.datasets.base import Classes, Split
from segrepro.datasets.statistics import Statistics, imbalance_factor
from segrepro.errors import InputError
from segrepro.runs import Record, Run

CROP = 24  # pixels: the smallest side of a crop, so that some of the surroundings show


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


def rare_labels(names: Sequence[str], rare: Sequence[str], pixel_counts: Sequence[int]) -> list[int]:
    """Labels of the rare classes, the rarest in training first: those that the data set names; if it names none (that
    occur), the rarer half by pixels of all that occur, which on Cityscapes and CamVid are the same.
    """
    occurring = [label for label in np.argsort(pixel_counts, kind="stable").tolist() if pixel_counts[label]]
    named = [label for label in occurring if names[label] in rare]
    return named or occurring[: max(len(occurring) // 2, 1)]


def rare_labels_of(record: Record) -> list[int]:
    """`rare_labels` of the data that a run was trained on."""
    return rare_labels(record.class_names, record.rare_classes, record.pixel_counts)


def crops(split: Split, statistics: Statistics, label: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """A class in up to `count` of its images, evenly spread over the split: square crops (s, s, 3) uint8 around its
    largest connected part, and where the class is in them (s, s) bool.
    """
    images, found = np.flatnonzero(statistics.presence[:, label]), []
    for index in images[np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int))]:
        image, labels = split[int(index)]
        parts, _ = scipy.ndimage.label(labels == label)
        part = scipy.ndimage.find_objects(parts)[np.bincount(parts.ravel())[1:].argmax()]
        side = min(max(CROP, *(2 * (along.stop - along.start) for along in part)), *labels.shape)
        window = tuple(slice(start, start + side) for start in (
            int(np.clip((along.start + along.stop - side) // 2, 0, size - side))
            for along, size in zip(part, labels.shape, strict=True)
        ))  # fmt: skip
        found.append((image[window], labels[window] == label))
    return found


def conditional_co_occurrence(statistics: Statistics) -> np.ndarray:
    """Percent (C, C) of the images with class [row] that also have class [column]; nan for a class in no image."""
    images = np.asarray(statistics.image_counts)[:, None]
    return 100 * metrics.ratio(statistics.co_occurrence, images)


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


def region_classifier_correlation(run: Run) -> float:
    """Pearson coefficient (percent) of the region classifier's accuracy with regions in training (Figure 4 (c)); nan
    without such a classifier.
    """
    if "regions" not in run.arrays:
        return float("nan")
    return 100 * float(region_accuracy(run).reset_index(drop=True).corr(pd.Series(run.record.image_counts)))


def correlation_table(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Table 2: one row a configuration, the coefficients of both functions above, in percent, means over seeds."""
    rows = {
        name: pd.DataFrame(
            {**accuracy_correlations(run), "regions, region classifier": region_classifier_correlation(run)}
            for run in found
        ).mean()
        for name, found in runs.items()
    }
    return pd.DataFrame(rows).T


def region_accuracy(run: Run) -> pd.Series:
    """Share of each class's validation regions that the region classifier gets right (Figure 4 (c)); nan without any.

    Raises InputError if the run had no region classifier.
    """
    if "regions" not in run.arrays:
        raise InputError(f"{run.folder}: no 'regions' in the record. Only region_rebalance classifies regions.")
    right, regions = run.arrays["regions"]
    accuracy = metrics.ratio(right, regions)
    return pd.Series(accuracy, index=pd.Index(run.record.class_names, name="class"))
