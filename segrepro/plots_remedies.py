"""Figures of one's own data and of what helps its rare classes; as in `segrepro.plots`."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from segrepro.plots import OTHER_COLOUR, WIDTH, colour_of, label_of


def rare_classes(crops: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """What rare classes look like: a column a class, outlined; crops: by its name, from `analysis.imbalance.crops`."""
    rows, size = max(map(len, crops.values())), WIDTH / max(len(crops), 6)
    figure, axes = plt.subplots(rows, len(crops), figsize=(len(crops) * size, rows * size + 0.4), squeeze=False)
    for panel in axes.flat:
        panel.set_axis_off()
    for panels, (name, pictures) in zip(axes.T, crops.items(), strict=True):
        panels[0].set_title(textwrap.fill(name, 12), fontsize="small")
        for panel, (image, mask) in zip(panels, pictures, strict=False):
            panel.imshow(image, interpolation="nearest")
            around = np.arange(-1, len(mask) + 1)  # a pixel more on each side: also what fills the crop has an outline
            outline = panel.contour(around, around, np.pad(mask, 1), [0.5], colors=OTHER_COLOUR, linewidths=1.5)
            outline.set_path_effects([withStroke(linewidth=3, foreground="white")])
            panel.set(xlim=(-0.5, len(mask) - 0.5), ylim=(len(mask) - 0.5, -0.5))
    return figure


def class_gains(table: pd.DataFrame, rare: Sequence[str]) -> Figure:
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
    axes.set_xticklabels([textwrap.fill(label_of(name), 18) for name in values], rotation=0)
    axes.set_yticklabels([name + (" †" if name in rare else "") for name in values.index], rotation=0)
    axes.tick_params(length=0)
    axes.set(xlabel="", ylabel="")
    axes.xaxis.tick_top()
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
        axes.axvline(0, color="#333333", linewidth=1)
        axes.axvspan(0, margin, color="#dddddd", zorder=0)
        axes.set(title=f"{classes} classes", xlabel=f"Δ mean IoU over {label_of(baseline)} (points)")
    names = [f"{label_of(name)}\n{verdict} (n = {seeds})" for name, verdict, seeds in
             zip(table.index, table["verdict"], table["seeds"], strict=True)]  # fmt: skip
    panels[0].set_yticks(range(len(table)), names)
    panels[0].set_ylim(len(table) - 0.5, -0.5)
    return figure
