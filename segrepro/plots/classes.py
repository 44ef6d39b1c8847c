"""Scores class by class."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from segrepro import metrics
from segrepro.analysis import correlation, delta, recall_precision
from segrepro.plots.parts import class_axis, class_ticks, marked, marked_names, name_points, seeds_note
from segrepro.plots.style import DARK, ERROR_BARS, WIDTH, colour_of, label_of
from segrepro.runs import Run

MOST_NUMBERED = 24  # columns of a heat map that have room for numbers


def class_iou_gain(
    runs: Mapping[str, Sequence[Run]], baseline: str = "plain", *, with_accuracy: bool = False
) -> Figure:
    """IoU of each class minus the baseline's, paired by seed, with 95 % intervals; the most frequent class on the left.

    runs: by configuration, the baseline among them. Rare classes are marked with a dagger. with_accuracy: the gain in
    accuracy in a second panel (Region Rebalance Figure 3).
    """
    record = runs[baseline][0].record
    order = np.argsort(-np.array(record.pixel_counts), kind="stable")
    names = [marked(record.class_names[i], record.class_names[i] in record.rare_classes) for i in order]
    scores = ("IoU", "Acc") if with_accuracy else ("IoU",)
    size = (WIDTH, 1 + 3 * len(scores))
    figure, panels = plt.subplots(len(scores), 1, figsize=size, sharex=True, squeeze=False)
    for axes, score in zip(panels.flat, scores, strict=True):
        table = delta.class_gains(runs, baseline, score)
        others = table["configuration"].unique()
        for place, name in enumerate(others):
            rows = table[table["configuration"] == name]
            errors = np.abs(rows[["low", "high"]].to_numpy().T - rows["value"].to_numpy())
            at = np.arange(len(names)) + (place - (len(others) - 1) / 2) * 0.8 / len(others)
            axes.bar(at, rows["value"], 0.8 / len(others), yerr=errors, color=colour_of(name), label=label_of(name),
                     error_kw=ERROR_BARS)  # fmt: skip
        axes.axhline(0, color=DARK, linewidth=1)
        axes.set_ylabel(f"Δ{score} (points)")
        axes.grid(axis="x", visible=False)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(xlabel="classes by pixel frequency, the most frequent first (†: rare)", xlim=(-0.6, len(names) - 0.4))
    title = f"{' and '.join(scores)} gained over {label_of(baseline)}: {seeds_note(runs)}"
    panels[0, 0].set_title(title, loc="left")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=4, frameon=False)
    return figure


def class_iou(runs: Mapping[str, Sequence[Run]], baseline: str = "plain") -> Figure:
    """IoU of each class, mean over seeds, in the order of the baseline's (ESSNet Figure 5). Rare classes: a dagger."""
    record = runs[baseline][0].record
    means = {name: 100 * np.mean([metrics.iou(run.record.evaluations["val"]) for run in found], axis=0)
             for name, found in runs.items()}  # fmt: skip
    order = np.argsort(means[baseline], kind="stable")
    figure, axes = plt.subplots(figsize=(WIDTH, 4))
    for place, (name, iou) in enumerate(means.items()):
        at = np.arange(len(order)) + (place - (len(means) - 1) / 2) * 0.5 / len(means)  # side by side where they agree
        line = "o-" if name == baseline else "o"
        axes.plot(at, iou[order], line, color=colour_of(name), markersize=6, linewidth=1, label=label_of(name))
    class_axis(axes, record, order)
    axes.set(ylabel="IoU (%)", xlabel=f"classes by the IoU of {label_of(baseline)} (†: rare)")
    figure.legend(loc="outside upper right", ncols=4, frameon=False)
    return figure


def iou_against_accuracy(runs: Mapping[str, Sequence[Run]], baseline: str = "plain") -> Figure:
    """Where each method takes each class, over the curves of constant b = FP/TP (Region Rebalance Figure 8).

    An arrow a class, from the baseline's to the method's, of counts summed over seeds; rare classes in colour.
    """
    record, others = runs[baseline][0].record, [name for name in runs if name != baseline]
    rare, ends = np.isin(record.class_names, record.rare_classes), {}
    curves = recall_precision.iou_curves([0, 0.5, 1, 3, 10])
    figure, panels = plt.subplots(1, len(others), figsize=(WIDTH, 4.8), sharey=True, squeeze=False)
    for axes, name in zip(panels[0], others, strict=True):
        for b, curve in curves.items():
            axes.plot(curve.index, curve, color="#BBBBBB", linewidth=1, zorder=1)
            axes.text(1.01, curve.iloc[-1], f"b = {b:g}", color="#777777", fontsize="small", va="center")
        counts = map(recall_precision.pooled, recall_precision.paired_counts(runs[name], runs[baseline]))
        ends[name], starts = (np.stack([metrics.class_accuracy(of), metrics.iou(of)], axis=1) for of in counts)
        for before, after, is_rare in zip(starts, ends[name], rare, strict=True):
            line = {"color": colour_of(name) if is_rare else "#999999", "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", after, before, arrowprops=line | {"arrowstyle": "->,head_width=0.2,head_length=0.3"})
        axes.set(title=f"{label_of(baseline)} → {label_of(name)}", xlabel="Acc", xlim=(0, 1), ylim=(0, 1), aspect=1)
        axes.grid(visible=False)
    panels[0, 0].set_ylabel("IoU")
    figure.draw_without_rendering()
    for axes, name in zip(panels[0], others, strict=True):
        name_points(axes, ends[name][rare], np.array(record.class_names)[rare])
    return figure


def gain_matrix(gains: pd.DataFrame, summary: pd.DataFrame, score: str = "IoU") -> Figure:
    """Gains of every configuration [row] in every class [column], and the means over all and over the rare half.

    gains, summary: from `analysis.delta.class_gains` and `summary`. The best mean is on top. Bold: the 95 % interval
    leaves out 0. The colours end at the 95th percentile of the gains' size, so one extreme does not blanch the rest.
    """
    means = summary[summary["quantity"].isin(["all classes", "rare half"])].rename(columns={"quantity": "class"})
    both = pd.concat([gains, means])
    both["clear"] = (both["low"] > 0) | (both["high"] < 0)
    values, clear = (both.pivot(index="configuration", columns="class", values=of) for of in ("value", "clear"))
    rows = values["all classes"].sort_values(ascending=False).index
    columns = [*gains["class"].unique(), "rare half", "all classes"]
    values, clear = (table.reindex(index=rows, columns=columns) for table in (values, clear))
    reach = max(1.0, float(np.nanquantile(np.abs(values), 0.95)))
    numbered = len(columns) <= MOST_NUMBERED
    text = values.map(lambda value: "" if np.isnan(value) else f"{value:z.{int(abs(value) < 9.95)}f}")
    numbers = {"annot": text, "fmt": "", "annot_kws": {"size": 6.5}, "linewidths": 0.5} if numbered else {}
    figure, axes = plt.subplots(figsize=(WIDTH, 1.9 + 0.3 * len(rows)))
    bar = {"label": f"Δ{score} (points)", "location": "bottom", "shrink": 0.5, "aspect": 40, "extend": "both"}
    sns.heatmap(values, ax=axes, cmap="vlag", vmin=-reach, vmax=reach, cbar_kws=bar, **numbers)
    for label, bold in zip(axes.texts, clear.to_numpy().ravel()[: len(axes.texts)], strict=True):
        label.set_weight("bold" if bold else "normal")
    axes.axvline(len(columns) - 2, color="white", linewidth=6)
    seeds = gains.groupby("configuration")["seeds"].first()
    axes.set_yticks(np.arange(len(rows)) + 0.5, [f"{label_of(name)} ({seeds[name]})" for name in rows], rotation=0)
    axes.set_xticks(np.arange(len(columns)) + 0.5, [*marked_names(gains), *columns[-2:]], rotation=45, ha="right",
                    rotation_mode="anchor", fontsize=8 if numbered else 5)  # fmt: skip
    axes.set(xlabel="", ylabel="configuration (seeds)")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return figure


def row_sums(runs: Mapping[str, Sequence[Run]], baseline: str = "plain") -> Figure:
    """Row sums of each class's similarities, a panel a configuration (DropClass Table 5): small dots seeds, large their
    mean, grey line the baseline's; shaded where 95 % of random vectors of that length lie.
    """
    record = runs[baseline][0].record
    order = np.argsort(-np.array(record.pixel_counts), kind="stable")
    sums = {name: np.array([correlation.row_sums(correlation.of_run(run))[order] for run in found])
            for name, found in runs.items()}  # fmt: skip
    figure, axes = plt.subplots(len(runs), 1, figsize=(WIDTH, 1.4 + 1.5 * len(runs)), sharex=True, squeeze=False)
    for panel, (name, found) in zip(axes.flat, runs.items(), strict=True):
        numbers = found[0].arrays["classifier_weight"].shape[1]
        low, high = correlation.null(len(order), numbers).loc["row sum", ["2.5 %", "97.5 %"]]
        panel.axhspan(low, high, color="#dddddd", zorder=0)
        panel.plot(sums[baseline].mean(axis=0), color="#888888", linewidth=1)
        panel.plot(sums[name].T, ".", color=colour_of(name), alpha=0.4)
        panel.plot(sums[name].mean(axis=0), "o", color=colour_of(name))
        panel.axhline(0, color=DARK, linewidth=1)
        panel.set_title(f"{label_of(name)}: {numbers} numbers a class, {_seeds(len(found))}", loc="left", fontsize=9)
        panel.set_ylabel("row sum")
        panel.grid(axis="x", visible=False)
    class_ticks(panel, [marked(record.class_names[c], record.class_names[c] in record.rare_classes) for c in order])
    panel.set_xlabel("classes by pixels, the most frequent first (†: rare)")
    handles = [
        Line2D([], [], color="#888888", label=f"{label_of(baseline)}, mean"),
        Patch(color="#dddddd", label="95 % of random vectors"),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False)
    return figure


def taken_for(tables: Mapping[str, pd.DataFrame], baseline: str = "plain", others: str = "background") -> Figure:
    """Percent of each class's pixels that are taken for others: open dots the baseline, full ones the method with the
    95 % interval of its change.

    tables: by configuration, from `analysis.confusion.taken_for`; sorted by the first one's baseline.
    """
    order = next(iter(tables.values()))["baseline"].sort_values(ascending=False).index
    figure, axes = plt.subplots(figsize=(WIDTH, 1.4 + (0.12 + 0.16 * len(tables)) * len(order)))
    for place, (name, table) in enumerate(tables.items()):
        rows = table.loc[order]
        at = np.arange(len(order)) + (place - (len(tables) - 1) / 2) * 0.6 / len(tables)
        ends = rows["baseline"].to_numpy() + rows[["low", "high"]].to_numpy().T
        axes.hlines(at, *np.clip(ends, 0, 100), color=colour_of(name), linewidth=2, alpha=0.5)
        axes.plot(rows["baseline"], at, "o", color=colour_of(baseline), markerfacecolor="white", markersize=6)
        axes.plot(rows["method"], at, "o", color=colour_of(name), markersize=6, label=label_of(name))
    axes.set_yticks(range(len(order)), order)
    axes.set(xlabel=f"percent of the class's pixels taken for {others}", ylim=(len(order) - 0.5, -0.5))
    open_dot = Line2D([], [], color=colour_of(baseline), marker="o", markerfacecolor="white", linewidth=0,
                      label=label_of(baseline))  # fmt: skip
    figure.legend(handles=[open_dot, *axes.get_legend_handles_labels()[0]], loc="outside upper right", ncols=4,
                  frameon=False)  # fmt: skip
    return figure


def _seeds(count: int) -> str:
    return f"{count} seeds" if count > 1 else "one seed"
