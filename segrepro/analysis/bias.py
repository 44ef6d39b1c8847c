"""Accuracies by cell of class and bias value, as Learning from Failure reports them, and how they develop.

A cell's accuracy is the share of its images that are classified right. "unbiased" is the mean over all cells that
occur, "aligned" and "conflicting" over those where the bias is right or wrong; all in percent.

Tables are text for reading, "50.3 ± 0.2" for mean and standard deviation over seeds, one row a configuration; runs on
data without a bias attribute are left out of them, except of `by_class`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import scipy.stats
import torch

from segrepro import datasets, metrics
from segrepro.datasets.biased import bias_values
from segrepro.datasets.statistics import Statistics
from segrepro.errors import InputError
from segrepro.files import PAPERS
from segrepro.following import named
from segrepro.papers.lff import relative_difficulty
from segrepro.runs import Run

KINDS = ("unbiased", "aligned", "conflicting")
SHARES = (0.95, 0.98, 0.99, 0.995)  # of aligned training images in Tables 2 and 3
AS_IT_IS = "as it is"  # in place of such a share, where a data set has one bias only
# Configurations by the names that the paper's tables give them.
PRINTED = {"Vanilla": "plain", "LfF": "lff", "GroupDRO": "group_dro", "REPAIR": "repair",
           "HEX": "HEX (not implemented)", "ReBias": "ReBias (not implemented)"}  # fmt: skip


def cell_accuracies(counts: np.ndarray) -> np.ndarray:
    """Counts (G, C, C) -> percent right (C, G) of each cell of class and bias value; nan where there is no image."""
    counts = np.asarray(counts)
    return 100 * metrics.ratio(np.diagonal(counts, axis1=1, axis2=2).T, counts.sum(axis=2).T)


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
        cells = 100 * metrics.ratio(np.array(point[named("hits", head)]).T, sizes)
        losses = {f"loss {kind}": point.get(named(kind, head), np.nan) for kind in KINDS[1:]}
        rows.append({"iteration": point["iteration"], **accuracies(cells, aligned), **losses})
    last = {f"loss {kind}": float(np.mean(run.arrays.get(f"watched/{named(kind, head)}", [np.nan])))
            for kind in KINDS[1:]}  # fmt: skip
    rows.append({"iteration": record.parameters["iterations"], **of_run(run, head), **last})
    return pd.DataFrame(rows)


def difficulty(run: Run) -> dict[str, np.ndarray]:
    """W = CE_B / (CE_B + CE_D) at the end, of the watched training samples: "aligned" (n,), "conflicting" (m,).

    Raises InputError for a run of a method other than LfF, or on data without conflicting samples.
    """
    return {
        kind: np.asarray(relative_difficulty(*(_watched(run, kind, head) for head in ("biased", None))))
        for kind in KINDS[1:]
    }


def detection(run: Run) -> float:
    """How well W tells conflicting from aligned samples: the area under its ROC curve, 0.5 by chance, 1 at best."""
    weights = difficulty(run)
    u = scipy.stats.mannwhitneyu(weights["conflicting"], weights["aligned"]).statistic
    return float(u / (len(weights["conflicting"]) * len(weights["aligned"])))


def places(dataset: str) -> dict[str, str]:
    """What stands behind a configuration's name for each share of aligned training images, by that share in percent as
    the paper prints it; nothing, `AS_IT_IS`, where a data set has no such option.
    """
    if "aligned_ratio" in datasets.options(dataset).model_fields:
        return {f"{100 * share:.1f}": f"@aligned_ratio={share}" for share in SHARES}
    return {AS_IT_IS: ""}


def composition(statistics: Statistics, shares: Sequence[str]) -> pd.DataFrame:
    """Training images, those in conflict with the bias, the pairs of class and bias value that conflict, and how many
    of these pairs no image has: one row for each of the `places`.

    Raises InputError if the data set has no bias attribute.
    """
    groups, labels = statistics.groups, statistics.presence.argmax(axis=1)
    if groups is None:
        raise InputError("this data set has no bias attribute, so none of its images is known to conflict with it")
    pairs, rows = ~groups.aligned, {}
    for share in shares:
        index = groups.index if share == AS_IT_IS else bias_values(labels, len(groups.names), float(share) / 100)
        counts = np.zeros(pairs.shape, dtype=np.int64)
        np.add.at(counts, (labels, index), 1)
        rows[share] = len(labels), counts[pairs].sum(), pairs.sum(), (counts[pairs] == 0).sum()
    columns = ["images", "conflicting", "conflicting pairs", "pairs without an image"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("aligned %")


def summary(runs: Mapping[str, Sequence[Run]], head: str | None = None) -> pd.DataFrame:
    """Accuracies by kind at the end, the highest unbiased one on the way ("peak"), and the seeds."""
    rows = {}
    for name, found in runs.items():
        if known := [run for run in found if run.record.aligned]:
            table = pd.DataFrame([of_run(run, head) | {"peak": curve(run, head)["unbiased"].max()} for run in known])
            rows[name] = {kind: spread(table[kind]) for kind in table} | {"seeds": len(known)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*KINDS, "peak", "seeds"])


def settings_tried(runs: Mapping[tuple[int, float], Sequence[Run]], printed: float, seed: int = 0) -> pd.DataFrame:
    """What plain training of one seed gives in each setting that was tried, the nearest to the paper's number first.

    runs: by severity and by what inputs in 0..1 are divided by once more; printed: the paper's unbiased accuracy in
    percent. Columns: severity, inputs, unbiased (percent), off by (points), and the lowest and highest of the last five
    evaluations. Settings without a run are left out.
    """
    scale = {1.0: "0 ... 1", 255.0: "0 ... 1/255"}
    rows = []
    for (severity, divisor), found in runs.items():
        for run in (run for run in found if run.record.seed == seed):
            inputs, five = scale.get(float(divisor), f"0 ... 1/{divisor:g}"), curve(run)["unbiased"].tail(5)
            rows.append((severity, inputs, five.iloc[-1], five.iloc[-1] - printed, five.min(), five.max()))
    columns = ["severity", "inputs", "unbiased", "off by", "lowest of five", "highest of five"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("off by", key=abs, kind="stable").set_index(["severity", "inputs"])


def by_class(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Accuracy of each class, their mean, "average" (Table 6), and the seeds."""
    rows = {}
    for name, found in runs.items():
        scores = [100 * metrics.class_accuracy(run.record.evaluations["val"]) for run in found]
        if found:
            table = pd.DataFrame(scores, columns=found[0].record.class_names)
            rows[name] = {**table.assign(average=table.mean(axis=1)).apply(spread), "seeds": len(found)}
    return pd.DataFrame.from_dict(rows, orient="index")


def relative_drops(pairs: Mapping[str, tuple[Sequence[Run], Sequence[Run]]]) -> pd.DataFrame:
    """Unbiased accuracy after training on biased and on unbiased images, and how many percent the first lies above the
    second (Table 1).

    pairs: both runs by what is to be told; compared are the seeds that both have. One row each that has such seeds.
    """
    rows = {}
    for target, found in pairs.items():
        of = [pd.Series({run.record.seed: of_run(run)["unbiased"] for run in those}, dtype=float) for those in found]
        table = pd.concat(of, axis=1, keys=["biased", "unbiased"]).dropna()
        if len(table):
            table["relative drop"] = 100 * (table["biased"] / table["unbiased"] - 1)
            rows[target] = table.apply(spread)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["biased", "unbiased", "relative drop"])


def printed(table: pd.DataFrame, *columns: str, rows: str = "method") -> pd.DataFrame:
    """A table of the paper, from `claims.table`, in the form of those here: one row a configuration.

    columns, rows: "method", "class", or a part of its settings ("ratio", "eval", "target" ...). Empty of an empty one.
    """
    if table.empty:
        return pd.DataFrame()
    parts = pd.DataFrame([dict(part.split("=") for part in text.split(";")) for text in table["setting"]], table.index)
    if "train" in parts:  # Table 1
        parts["train"] = parts["train"].fillna("relative drop")
    parts["method"] = table["method"].map(PRINTED)
    if "biased_model_loss" in parts:  # Table 4
        parts.loc[parts["biased_model_loss"] == "CE", "method"] = "lff_cross_entropy"
    parts = parts.replace("bias_conflicting", "conflicting")
    parts["class"] = table["class"].replace("", "average")
    parts["text"] = [_text(*numbers, digits=2) for numbers in zip(table["value"], table["std"], strict=True)]
    wide = parts.pivot_table(index=rows, columns=list(columns), values="text", aggfunc="first", sort=False)
    return wide.rename_axis(index=None, columns=None if len(columns) == 1 else [None] * len(columns))


def reported(metric: str) -> pd.DataFrame:
    """What others got with the authors' code on Colored MNIST at severity 4, by configuration and aligned share: all
    their values of a metric of `data/papers/reported_by_others.csv`.
    """
    table = pd.read_csv(PAPERS / "reported_by_others.csv", dtype=str, keep_default_na=False)
    table = table.query("paper == 'lff' and dataset == 'Colored MNIST' and metric == @metric")
    table = table[table["setting"].str.fullmatch(r"ratio=[\d.]+;severity=4")]
    share = table["setting"].str.extract(r"ratio=([\d.]+)", expand=False)
    way = table["method"].map({"Vanilla": "plain", "LfF": "lff_authors"})
    wide = table.groupby([way, share], sort=False)["reported"].agg("; ".join).unstack()
    return wide.rename_axis(index=None, columns=None)


def implied_aligned(unbiased: pd.DataFrame, conflicting: pd.DataFrame) -> pd.DataFrame:
    """Accuracy on aligned images by aligned share, which the paper does not print but its Tables 2 and 3 on one data
    set imply: with 10 x 10 equal cells, unbiased = aligned / 10 + 9 conflicting / 10 (lff-C15).
    """
    tables = []
    for table in (unbiased, conflicting):
        share = table["setting"].str.extract(r"ratio=([\d.]+)", expand=False)
        tables.append(table.assign(share=share).pivot(index="method", columns="share", values="value"))
    return (10 * tables[0] - 9 * tables[1]).rename(PRINTED).rename_axis(index=None, columns=None)


def curves(runs: Sequence[Run], head: str | None = None) -> pd.DataFrame:
    """`curve` of several runs, one below the other."""
    return pd.concat([curve(run, head).assign(seed=run.record.seed) for run in runs], ignore_index=True)


def spread(values: Sequence[float]) -> str:
    """ "50.3 ± 0.2" from percentages; one value stands alone."""
    return _text(np.mean(values), np.std(values, ddof=1) if len(values) > 1 else np.nan)


def _text(mean: float, deviation: float, digits: int = 1) -> str:
    return f"{mean:z.{digits}f}" + ("" if np.isnan(deviation) else f" ± {deviation:.{digits}f}")


def _watched(run: Run, kind: str, head: str | None) -> torch.Tensor:
    name = f"watched/{named(kind, head)}"
    if name not in run.arrays:
        raise InputError(f"{run.folder} holds no '{name}': no such network was trained, or no training image is {kind}")
    return torch.from_numpy(run.arrays[name])
