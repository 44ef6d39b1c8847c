"""Figures of what methods do to each class: gains, who pays for them, class vectors, confusions with the background.

As in `plots`: every function returns its Figure, and a configuration has its name, label and colour from the ledger.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from segrepro.analysis import correlation
from segrepro.datasets.base import Classes
from segrepro.plots import ERROR_BARS, WIDTH, colour_of, label_of, segmentation_examples
from segrepro.runs import Run

DARK = "#333333"
MOST_NUMBERED = 24  # columns of a heat map that have room for numbers


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
    axes.set_xticks(np.arange(len(columns)) + 0.5, [*_names(gains), *columns[-2:]], rotation=45, ha="right",
                    rotation_mode="anchor", fontsize=8 if numbered else 5)  # fmt: skip
    axes.set(xlabel="", ylabel="configuration (seeds)")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return figure


def class_gains(panels: Mapping[str, pd.DataFrame], baseline: str = "plain", by: str = "pixels") -> Figure:
    """Gain of every class with its 95 % interval: a row a configuration, a column a score (Region Rebalance Figures 3
    and 6).

    panels: by score, from `analysis.delta.class_gains`, ordered `by`. Rare classes: a dagger.
    """
    names = list(dict.fromkeys(next(iter(panels.values()))["configuration"]))
    size = (WIDTH, 1.5 + 0.85 * len(names))
    figure, axes = plt.subplots(len(names), len(panels), figsize=size, sharex=True, sharey="col", squeeze=False)
    for column, (score, table) in zip(axes.T, panels.items(), strict=True):
        for panel, name in zip(column, names, strict=True):
            rows = table[table["configuration"] == name]
            errors = np.abs(rows[["low", "high"]].to_numpy().T - rows["value"].to_numpy())
            panel.bar(np.arange(len(rows)), rows["value"], color=colour_of(name), yerr=errors, error_kw=ERROR_BARS)
            panel.axhline(0, color=DARK, linewidth=1)
            panel.set_title(f"{label_of(name)} ({rows['seeds'].iloc[0]})", loc="left", fontsize=9, pad=2)
            panel.grid(axis="x", visible=False)
        column[-1].set_ylim(_room(table["value"]))
        _class_ticks(column[-1], _names(rows))
        column[0].annotate(f"Δ{score} (points)", (0.5, 1), (0, 16), "axes fraction", "offset points", ha="center")
    figure.supxlabel(
        f"classes by {by}, the most frequent first (†: rare); gain over {label_of(baseline)}, 95 % interval (seeds)",
        fontsize=9,
    )
    return figure


def halves(summary: pd.DataFrame, baseline: str = "plain", score: str = "IoU") -> Figure:
    """Mean gain of the rare and of the frequent half of the classes, with 95 % intervals, a row a configuration.

    summary: from `analysis.delta.summary`. The best in the rare half is on top.
    """
    of = {
        half: summary[summary["quantity"] == half].set_index("configuration") for half in ("rare half", "frequent half")
    }
    names = list(of["rare half"]["value"].sort_values(ascending=False).index)
    figure, axes = plt.subplots(figsize=(WIDTH, 1.4 + 0.36 * len(names)))
    for half, offset, face in (("rare half", -0.15, None), ("frequent half", 0.15, "white")):
        for row, name in enumerate(names):
            value, low, high = of[half].loc[name, ["value", "low", "high"]]
            axes.plot([low, high], [row + offset] * 2, color=colour_of(name), linewidth=2)
            axes.plot(value, row + offset, "o", color=colour_of(name), markerfacecolor=face, markersize=7)
    axes.axvline(0, color=DARK, linewidth=1)
    axes.set_yticks(range(len(names)), [f"{label_of(name)} ({of['rare half'].loc[name, 'seeds']})" for name in names])
    axes.set(
        xlabel=f"mean Δ{score} over {label_of(baseline)} (points), 95 % interval",
        xlim=_room(np.concatenate([table["value"] for table in of.values()])),
        ylim=(len(names) - 0.5, -0.5),
        ylabel="configuration (seeds)",
    )
    marks = [
        Line2D([], [], color=DARK, marker="o", label="rare half of the classes"),
        Line2D([], [], color=DARK, marker="o", markerfacecolor="white", label="frequent half"),
    ]
    figure.legend(handles=marks, loc="outside upper right", ncols=2, frameon=False)
    return figure


def boxed_examples(columns: Mapping[str, Sequence[np.ndarray]], classes: Classes, boxes: pd.DataFrame) -> Figure:
    """`plots.segmentation_examples` with a box in every picture of a row (Region Rebalance Figure 9).

    boxes: from `analysis.delta.telling_boxes`, a row an example.
    """
    figure = segmentation_examples(columns, classes)
    panels = np.reshape(figure.axes, (len(boxes), -1))
    for row, box in zip(panels, boxes.itertuples(), strict=True):
        for panel in row:
            corner, size = (box.left - 0.5, box.top - 0.5), (box.width, box.height)
            for colour, width in (("white", 4), ("black", 1.5)):  # seen on any ground
                panel.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=width))
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
    _class_ticks(panel, [_marked(record.class_names[c], record.class_names[c] in record.rare_classes) for c in order])
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


def _room(means: np.ndarray) -> tuple[float, float]:
    """Limits of an axis for means and 0: an interval of two seeds may be so wide that it would hide everything."""
    low, high = min(np.nanmin(means), 0), max(np.nanmax(means), 0)
    return low - 0.3 * (high - low) - 0.5, high + 0.3 * (high - low) + 0.5


def _seeds(count: int) -> str:
    return f"{count} seeds" if count > 1 else "one seed"


def _marked(name: str, rare: bool) -> str:
    return name + " †" if rare else name


def _names(gains: pd.DataFrame) -> list[str]:
    """Class names in the order of a table of gains, rare ones with a dagger."""
    classes = gains.drop_duplicates("class")
    return [_marked(name, rare) for name, rare in zip(classes["class"], classes["rare"], strict=True)]


def _class_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Classes along x, named if there are few."""
    if len(names) <= 60:
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_xlim(-0.6, len(names) - 0.4)
