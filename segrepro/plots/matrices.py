"""Classes against classes."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from segrepro.analysis import confusion
from segrepro.plots.parts import colour_bar, heatmap
from segrepro.plots.style import WIDTH, colour_of, label_of


def correlation_matrices(matrices: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Cosine similarities (C, C) of class vectors, in hundredths, a panel a configuration (DropClass Figure 3).

    One scale for all, which ends at the median panel's largest: that of short vectors may be far beyond the others.
    """
    own = np.eye(len(names), dtype=bool)
    shown = {name: np.where(own, np.nan, 100 * matrix) for name, matrix in matrices.items()}
    reach = np.median([np.nanmax(np.abs(matrix)) for matrix in shown.values()])
    rows, columns = -(-len(shown) // 2), min(len(shown), 2)
    size = (WIDTH, rows * (WIDTH / columns + 0.3) + 0.9)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False)
    for panel in axes.flat[len(shown) :]:
        panel.set_axis_off()
    for panel, (name, matrix) in zip(axes.flat, shown.items(), strict=False):
        heatmap(panel, matrix, names, cmap="vlag", vmin=-reach, vmax=reach)
        panel.set_title(label_of(name))
    colour_bar(figure, axes, "cosine similarity of class vectors (hundredths)")
    return figure


def confusion_matrices(counts: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Row-normalised confusions of a baseline and a method, their difference, and the largest ones (FBNet Figure 2).

    counts: {configuration: (C, C) [label, prediction]}, the baseline first. Numbers are percent of the label's pixels.
    """
    (baseline, before), (method, after) = counts.items()
    shares = confusion.row_shares(before), confusion.row_shares(after)
    difference = shares[1] - shares[0]
    reach = np.nanmax(np.abs(difference), initial=1.0)
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, WIDTH + 0.8))
    for panel, matrix in zip(axes[0], shares, strict=True):
        heatmap(panel, matrix, names, cmap="Blues", vmin=0, vmax=100)
    heatmap(axes[1, 0], difference, names, cmap="vlag", vmin=-reach, vmax=reach)
    titles = (
        f"{label_of(baseline)} (%)",
        f"{label_of(method)} (%)",
        f"{label_of(method)} − {label_of(baseline)} (points)",
    )
    for panel, title in zip(axes.flat, titles, strict=False):
        panel.set(title=title, xlabel="prediction", ylabel="label")
    table = confusion.top_confusions(after, names, baseline=before)
    pairs = [f"{label} → {prediction}" for label, prediction in zip(table["label"], table["taken for"], strict=True)]
    for offset, column, name in ((-0.2, "baseline", baseline), (0.2, "percent", method)):
        axes[1, 1].barh(np.arange(len(pairs)) + offset, table[column], 0.4, color=colour_of(name), label=label_of(name))
    axes[1, 1].set_yticks(range(len(pairs)), pairs)
    axes[1, 1].invert_yaxis()
    axes[1, 1].grid(axis="y", visible=False)
    axes[1, 1].set(xlabel="percent of the label's pixels")
    axes[1, 1].legend(title="Largest confusions", loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return figure


def erasure_matrices(losses: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Points of IoU (C, C) that each class [row] loses when another [column] is gone, a panel each, by its name.

    One scale for all, which ends where 98 % of the losses lie: few classes lose far more than all others.
    """
    reach = max(1.0, float(np.nanquantile(np.abs([*losses.values()]), 0.98)))
    figure, axes = plt.subplots(1, len(losses), figsize=(WIDTH, WIDTH / len(losses) + 1.5), sharey=True, squeeze=False)
    for panel, (name, matrix) in zip(axes[0], losses.items(), strict=True):
        heatmap(panel, matrix, names, cmap="vlag", vmin=-reach, vmax=reach)
        panel.set(title=label_of(name), xlabel="class that is gone")
    axes[0, 0].set_ylabel("class that is scored")
    colour_bar(figure, axes, "IoU lost (points)")
    return figure
