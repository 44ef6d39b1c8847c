"""Configurations side by side: their curves, their gains, the verdicts."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from segrepro import datasets
from segrepro.claims import count, dataset_of
from segrepro.plots.parts import marked
from segrepro.plots.style import DARK, VERDICT_COLOURS, WIDTH, colour_of, label_of
from segrepro.runs import Run


def loss_curves(runs: Mapping[str, Sequence[Run]]) -> Figure:
    """The terms of the loss over training, one panel a configuration; mean over seeds, band from least to most."""
    figure, axes = plt.subplots(1, len(runs), figsize=(WIDTH, 3.2), sharey=True, squeeze=False)
    curves = {
        name: pd.concat(
            (pd.DataFrame(run.record.history).drop(columns="learning_rate") for run in found), ignore_index=True
        )
        for name, found in runs.items()
    }
    terms = list(dict.fromkeys(term for curve in curves.values() for term in curve.columns.drop("iteration")))
    for panel, (name, curve) in zip(axes[0], curves.items(), strict=True):
        for term, colour in zip(terms, sns.color_palette("colorblind"), strict=False):
            if term in curve:
                sns.lineplot(curve, x="iteration", y=term, color=colour, errorbar=("pi", 100), ax=panel)
        panel.set(title=label_of(name), ylabel="loss")
    handles = [
        Patch(color=colour, label=term.replace("_", " "))
        for term, colour in zip(terms, sns.color_palette("colorblind"), strict=False)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(terms), frameon=False)
    return figure


def validation_curves(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Validation mIoU over the training, mean over seeds, band from least to most (ESSNet Figure 4).

    panels: by title, tables from `analysis.scores.curves`; an empty one is left out.
    """
    panels = {title: table for title, table in panels.items() if len(table)}
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.4), sharey=True, squeeze=False)
    names = list(dict.fromkeys(name for table in panels.values() for name in table["configuration"]))
    palette = {name: colour_of(name) for name in names}
    for panel, (title, table) in zip(axes[0], panels.items(), strict=True):
        sns.lineplot(table, x="iteration", y="mIoU", hue="configuration", palette=palette, marker="o", legend=False,
                     errorbar=("pi", 100), ax=panel)  # fmt: skip
        panel.set(title=title, ylabel="validation mIoU (%)")
    handles = [Line2D([], [], color=colour, marker="o", label=label_of(name)) for name, colour in palette.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def gains(table: pd.DataFrame, paper: Mapping[str, float], baseline: str = "plain") -> Figure:
    """Points of mean IoU that configurations gain over the baseline, with 95 % intervals, beside the paper's gains.

    table: from `analysis.scores.gains`; paper: by configuration's name, in points. A row for each name of either.
    """
    names = list(dict.fromkeys([*paper, *table.index]))
    figure, axes = plt.subplots(figsize=(WIDTH, 1.3 + 0.32 * len(names)))
    for row, name in enumerate(names):
        if name in table.index:
            axes.plot(table.loc[name, ["low", "high"]], [row, row], color=colour_of(name), linewidth=3)
            axes.plot(table.loc[name, "ΔmIoU"], row, "o", color=colour_of(name), markersize=8, zorder=3)
        if name in paper:
            axes.plot(paper[name], row, "D", color=DARK, markerfacecolor="white", markersize=7, zorder=4)
    axes.axvline(0, color=DARK, linewidth=1)
    axes.set_yticks(range(len(names)), [label_of(name) for name in names])
    axes.set(xlabel=f"ΔmIoU over {label_of(baseline)} (points)", ylim=(len(names) - 0.5, -0.5))
    marks = [
        Line2D([], [], color=DARK, marker="o", markersize=8, linewidth=3, label="here, 95 % interval"),
        Line2D([], [], color=DARK, marker="D", markerfacecolor="white", linewidth=0, label="the paper's"),
    ]
    figure.legend(handles=marks, loc="outside upper right", ncols=2, frameon=False)
    return figure


def combinations(table: pd.DataFrame) -> Figure:
    """Gains of pairs of methods over plain training (`analysis.combinations.gains`) as a triangle, each method alone on
    its diagonal; ± is half the 95 % interval, and a cross a pair that cannot be combined.
    """
    names = list(dict.fromkeys(table["first"]))
    matrix = np.full((len(names),) * 2, np.nan)
    figure, axes = plt.subplots(figsize=(0.7 * WIDTH, 0.5 * WIDTH), layout="constrained")
    possible = set()
    for row in table.itertuples():
        place = names.index(row.second), names.index(row.first)
        possible.add(place)
        matrix[place] = row.gain
        reach = f"\n± {(row.high - row.low) / 2:.1f}" if row.seeds > 1 else ""
        text = f"{row.gain:+.1f}{reach}" if row.seeds else "not\nrecorded"
        axes.text(place[1], place[0], text, ha="center", va="center", fontsize=9)
    limit = np.nanmax(np.abs(matrix), initial=1.0)
    image = axes.imshow(matrix, cmap="PuOr", vmin=-1.6 * limit, vmax=1.6 * limit)  # pale enough for the numbers
    for second, first in zip(*np.tril_indices(len(names)), strict=True):
        if (second, first) not in possible:
            axes.text(first, second, "×", ha="center", va="center", fontsize=14, color="#888888")
    labels = [label_of(name) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), labels)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="ΔmIoU against plain training, points")
    return figure


def verdict_counts(board: pd.DataFrame) -> Figure:
    """How many claims got which verdict on which data set; board: from `claims.verdicts`."""
    table = count(board, board["data"].replace({"any": "any data", "-": "no data yet"}))
    order = ["any data", *datasets.NAMES, "no data yet"]  # and after a data set its other settings
    table = table.loc[sorted(table.index, key=lambda name: (order.index(dataset_of(name)), name))]
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.5 * len(table)))
    left = np.zeros(len(table))
    for verdict, counts in table.items():
        bars = axes.barh(table.index, counts, left=left, color=VERDICT_COLOURS[verdict], label=verdict)
        axes.bar_label(bars, [str(n) if n else "" for n in counts], label_type="center", color="white", weight="bold")
        left += counts
    axes.set(xlabel="number of claims", ylim=(len(table) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=len(VERDICT_COLOURS), frameon=False)
    return figure


def remedies(table: pd.DataFrame, margin: float, baseline: str = "plain") -> Figure:
    """Points that remedies gain over the baseline, in all and in the rare classes, with 95 % intervals and verdicts.

    table: from `analysis.recommendation.recommend`; the shade goes up to margin, the smallest gain that matters.
    """
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 1.4 + 0.45 * len(table)), sharey=True)
    columns = ("ΔmIoU", "low", "high"), ("Δ rare mIoU", "rare low", "rare high")
    for axes, (gain, low, high), classes in zip(panels, columns, ("all", "rare"), strict=True):
        for row, (name, of_one) in enumerate(table.iterrows()):
            axes.plot(of_one[[low, high]], [row, row], color=colour_of(name), linewidth=3)
            axes.plot(of_one[gain], row, "o", color=colour_of(name), markersize=8)
        axes.axvline(0, color=DARK, linewidth=1)
        axes.axvspan(0, margin, color="#dddddd", zorder=0)
        axes.set(title=f"{classes} classes", xlabel=f"Δ mean IoU over {label_of(baseline)} (points)")
    names = [f"{label_of(name)}\n{verdict} (n = {seeds})" for name, verdict, seeds in
             zip(table.index, table["verdict"], table["seeds"], strict=True)]  # fmt: skip
    panels[0].set_yticks(range(len(table)), names)
    panels[0].set_ylim(len(table) - 0.5, -0.5)
    return figure


def remedy_gains(table: pd.DataFrame, rare: Sequence[str]) -> Figure:
    """Points of IoU that each class [row, the rarest first] gains with each configuration [column], and how far the
    95 % interval reaches up and down; bold where it leaves out 0.

    table: from `analysis.delta.class_gains`; rare: the classes with a dagger.
    """
    order = {"index": table["class"].unique()[::-1], "columns": table["configuration"].unique()}
    values, reaches = (
        table.assign(reach=table["high"] - table["value"])
        .pivot(index="class", columns="configuration", values=of)
        .reindex(**order)
        for of in ("value", "reach")
    )
    text = values.map("{:+z.1f}".format) + reaches.map(" ± {:.1f}".format).mask(reaches.isna(), "")
    limit = np.nanmax(np.abs(values.to_numpy()), initial=1.0)
    figure, axes = plt.subplots(figsize=(WIDTH, 1.2 + 0.27 * len(values)))
    sns.heatmap(values, ax=axes, cmap="vlag", vmin=-limit, vmax=limit, annot=text, fmt="", annot_kws={"size": 8.5},
                linewidths=0.5, cbar_kws={"label": "ΔIoU (points)"})  # fmt: skip
    for cell, sure in zip(axes.texts, (values.abs() > reaches).to_numpy()[values.notna()], strict=True):
        cell.set_weight("bold" if sure else "normal")
    letters = min(18, 90 // len(values.columns))  # what fits over a column
    axes.set_xticklabels([textwrap.fill(label_of(name), letters) for name in values], rotation=0)
    axes.set_yticklabels([marked(name, name in rare) for name in values.index], rotation=0)
    axes.tick_params(length=0)
    axes.set(xlabel="", ylabel="")
    axes.xaxis.tick_top()
    return figure
