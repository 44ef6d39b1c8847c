"""How often classes occur, and what that has to do with how well they are segmented."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from segrepro import metrics
from segrepro.analysis import imbalance
from segrepro.plots.parts import class_ticks, colour_bar, heatmap, marked, marked_names, name_points
from segrepro.plots.style import DARK, ERROR_BARS, WIDTH, colour_of, label_of
from segrepro.runs import Run


def class_frequencies(table: pd.DataFrame, *, pif: float, rif: float) -> Figure:
    """Share of the pixels and of the images of each class, on a log scale (Region Rebalance Figure 5).

    table: from `analysis.imbalance.frequency_table`; pif, rif: the largest over the smallest, of pixels and of images.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8))
    at = np.arange(len(table))
    axes.bar(at - 0.2, table["pixels %"], 0.4, color="#0072B2", label=f"pixels (largest / smallest: {pif:,.0f})")
    axes.bar(at + 0.2, table["images %"], 0.4, color="#E69F00", label=f"images with the class ({rif:,.1f})")
    names = [marked(name, rare) for name, rare in table["rare"].items()]
    axes.set_xticks(at, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(
        yscale="log", ylabel="percent", xlabel="classes by pixel frequency (†: rare)", xlim=(-0.6, len(table) - 0.4)
    )
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside upper right", ncols=4, frameon=False)
    return figure


def co_occurrence(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Percent (C, C) of the images with class [row] that also have class [column]."""
    figure, axes = plt.subplots(figsize=(0.8 * WIDTH, 0.75 * WIDTH))
    heatmap(axes, matrix, names, cmap="Blues", vmin=0, vmax=100)
    axes.set(xlabel="... also have", ylabel="of the images with ...")
    colour_bar(figure, axes, "percent of the row's images", location="right")
    return figure


def accuracy_by_frequency(plain: Sequence[Run], branch: Sequence[Run] = ()) -> Figure:
    """Accuracy of each class against how often it occurs in training, mean over seeds (Region Rebalance Figure 4).

    plain: their pixel classifier, against pixels and against regions (images with the class). branch: runs with a
    region classifier, against regions. Above each panel Pearson's coefficient, as in `imbalance.correlation_table`.
    """
    record = plain[0].record
    rho = imbalance.correlation_table({"plain": plain, "branch": branch})
    pixel = np.mean([metrics.class_accuracy(run.record.evaluations["val"]) for run in plain], axis=0)
    panels = [
        ("Pixel classifier", "plain", "pixels", record.pixel_counts, pixel, rho.loc["plain", "pixels"]),
        ("Pixel classifier", "plain", "regions", record.image_counts, pixel, rho.loc["plain", "regions"]),
    ]
    if branch:
        region, of = np.mean([imbalance.region_accuracy(run) for run in branch], axis=0), rho.loc["branch"].iloc[-1]
        panels.append(("Region classifier", "region_rebalance", "regions", record.image_counts, region, of))
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 4.2), sharey=True)
    for panel, (classifier, name, unit, counts, accuracy, coefficient) in zip(axes, panels, strict=True):
        panel.scatter(counts, 100 * accuracy, s=18, color=colour_of(name))
        panel.set(title=f"{classifier}: ρ = {coefficient:.0f} %", xlabel=f"{unit} in training", ylim=(-6, 114))
    axes[0].set(ylabel="accuracy (%)", xscale="log")
    figure.draw_without_rendering()
    for panel, (*_, counts, accuracy, _) in zip(axes, panels, strict=True):
        name_points(panel, np.stack([counts, 100 * accuracy], axis=1), record.class_names)
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
        class_ticks(column[-1], marked_names(rows))
        column[0].annotate(f"Δ{score} (points)", (0.5, 1), (0, 16), "axes fraction", "offset points", ha="center")
    figure.supxlabel(
        f"classes by {by}, the most frequent first (†: rare); gain over {label_of(baseline)}, 95 % interval (seeds)",
        fontsize=9,
    )
    return figure


def frequency_halves(summary: pd.DataFrame, baseline: str = "plain", score: str = "IoU") -> Figure:
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


def _room(means: np.ndarray) -> tuple[float, float]:
    """Limits of an axis for means and 0: an interval of two seeds may be so wide that it would hide everything."""
    low, high = min(np.nanmin(means), 0), max(np.nanmax(means), 0)
    return low - 0.3 * (high - low) - 0.5, high + 0.3 * (high - low) + 0.5
