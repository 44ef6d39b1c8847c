"""What a method does to each class: gains in IoU and accuracy, paired by seed (Region Rebalance Figures 3, 6, 9).

Gains are in points. `by` says how frequent a class is: by its "pixels" in training, or by the "images" that have it,
which Region Rebalance calls its regions. With C classes the rare half is the C // 2 least frequent ones.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter

from segrepro import metrics
from segrepro.datasets.base import IGNORE
from segrepro.errors import InputError
from segrepro.runs import Record, Run, paired
from segrepro.verdict import mean_interval

SCORES = {"IoU": metrics.iou, "Acc": metrics.class_accuracy}
BOX = (3, 4)  # a box is a third of an image high and a quarter wide
SHARE, RHO = "rare half that gain (%)", "ρ with frequency"
BOUNDS = {SHARE: (0, 100), RHO: (-1, 1)}  # an interval of what lies between bounds ends there

Runs = Mapping[str, Sequence[Run]]  # by configuration


def frequencies(record: Record, by: str = "pixels") -> np.ndarray:
    """Training counts (C,) of the classes. Raises InputError if `by` is neither "pixels" nor "images"."""
    counts = {"pixels": record.pixel_counts, "images": record.image_counts}
    if by not in counts:
        raise InputError(f"by: '{by}' is not known; classes are ordered by {' or '.join(counts)}")
    return np.array(counts[by])


def paired_gains(method: Sequence[Run], baseline: Sequence[Run], score: str = "IoU") -> pd.DataFrame:
    """Gains of a method in a score: one row a seed that both have, one column a class; nan where it has no score."""
    pairs, names = paired(method, baseline), baseline[0].record.class_names
    seeds = [run.record.seed for run, _ in pairs]
    of = ([SCORES[score](run.record.evaluations["val"]) for run in pair] for pair in pairs)
    gains = np.array([100 * (after - before) for after, before in of])
    return pd.DataFrame(gains.reshape(len(seeds), len(names)), index=pd.Index(seeds, name="seed"), columns=names)


def class_gains(runs: Runs, baseline: str = "plain", score: str = "IoU", by: str = "pixels") -> pd.DataFrame:
    """One row a configuration and class, the most frequent class first: configuration, class, rare, value (mean gain
    over the seeds it shares with the baseline), low, high (95 % t-interval; nan with one seed), seeds.

    Raises InputError if no configuration shares a seed with the baseline.
    """
    record = runs[baseline][0].record
    order = np.argsort(-frequencies(record, by), kind="stable")
    rows = []
    for name, gains in _all_gains(runs, baseline, score).items():
        for class_name in (record.class_names[c] for c in order):
            row = name, class_name, class_name in record.rare_classes, *mean_interval(gains[class_name]), len(gains)
            rows.append(row)
    return pd.DataFrame(rows, columns=["configuration", "class", "rare", "value", "low", "high", "seeds"])


def summary(runs: Runs, baseline: str = "plain", score: str = "IoU", by: str = "pixels") -> pd.DataFrame:
    """How a method's gains depend on frequency: configuration, quantity, value, low, high, seeds, as in `class_gains`.

    Quantities: mean gain of "all classes", the "frequent half", the "rare half" and, where the data set's is another
    one, the "rare set"; the percent of the rare half whose score rises (SHARE); and Spearman's rho of gain and
    frequency (RHO), negative if it is the rare classes that gain. Each is computed for every seed.
    """
    record = runs[baseline][0].record
    counts = pd.Series(frequencies(record, by), index=record.class_names)
    order = list(counts.sort_values(ascending=False, kind="stable").index)
    first = len(order) - len(order) // 2
    frequent, half = order[:first], order[first:]
    sets = {"all classes": order, "frequent half": frequent, "rare half": half}
    if record.rare_classes and set(record.rare_classes) != set(half):
        sets["rare set"] = record.rare_classes
    rows = []
    for name, gains in _all_gains(runs, baseline, score).items():
        values = {quantity: gains[of].mean(axis=1) for quantity, of in sets.items() if of}
        values[SHARE] = 100 * (gains[half] > 0).astype(float).where(gains[half].notna()).mean(axis=1)
        values[RHO] = gains.corrwith(counts, axis=1, method="spearman")
        for quantity, of in values.items():
            mean, *ends = mean_interval(of)
            ends = np.clip(ends, *BOUNDS.get(quantity, (-np.inf, np.inf)))
            rows.append((name, quantity, mean, *ends, len(gains)))
    return pd.DataFrame(rows, columns=["configuration", "quantity", "value", "low", "high", "seeds"])


def with_intervals(table: pd.DataFrame, digits: int = 1) -> pd.DataFrame:
    """A table of `summary` for reading: one row a configuration, cells as "+1.2 [-0.3, +2.7]"."""
    formats = {SHARE: "{:.0f}", RHO: "{:+z.2f}"}
    text = []
    for row in table.itertuples():
        form = formats.get(row.quantity, f"{{:+z.{digits}f}}")
        value, low, high = map(form.format, (row.value, row.low, row.high))
        text.append(value if np.isnan(row.low) else f"{value} [{low}, {high}]")
    wide = table.assign(text=text).pivot(index="configuration", columns="quantity", values="text")
    wide = wide.reindex(index=table["configuration"].unique(), columns=table["quantity"].unique())
    return wide.assign(seeds=table.groupby("configuration")["seeds"].first())


def telling_boxes(columns: Mapping[str, Sequence[np.ndarray]], first: str, second: str) -> pd.DataFrame:
    """Where one prediction errs and another does not, one row an example (Region Rebalance Figure 9).

    columns: from `Experiment.examples`. Columns: percent of the labelled pixels that only the first, and only the
    second gets wrong; and the box (top, left, height, width) in which the first's errors outnumber the second's most.
    """
    rows = []
    for labels, one, other in zip(columns["ground truth"], columns[first], columns[second], strict=True):
        known = labels != IGNORE
        wrong = [(prediction != labels) & known for prediction in (one, other)]
        only = [100 * (a & ~b).sum() / known.sum() for a, b in (wrong, wrong[::-1])]
        size = [max(1, side // part) for side, part in zip(labels.shape, BOX, strict=True)]
        density = uniform_filter(wrong[0].astype(float) - wrong[1], size, mode="constant")
        # A filter of size s at i covers the pixels from i - s // 2 on: of these windows, those inside the image.
        inside = tuple(slice(s // 2, s // 2 + side - s + 1) for s, side in zip(size, labels.shape, strict=True))
        top, left = np.unravel_index(density[inside].argmax(), density[inside].shape)
        rows.append((*only, int(top), int(left), *size))
    return pd.DataFrame(rows, columns=[first, second, "top", "left", "height", "width"])


def _all_gains(runs: Runs, baseline: str, score: str) -> dict[str, pd.DataFrame]:
    """`paired_gains` of every configuration that shares a seed with the baseline. Raises InputError if none does."""
    gains = {name: paired_gains(found, runs[baseline], score) for name, found in runs.items() if name != baseline}
    gains = {name: table for name, table in gains.items() if len(table)}
    if not gains:
        raise InputError(
            f"no configuration but '{baseline}' has a run with one of its seeds: record one, or choose other methods"
        )
    return gains
