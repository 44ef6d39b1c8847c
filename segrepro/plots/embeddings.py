"""Figures of ESSNet's supplement: class trees, pixel embeddings; and what a loss costs with many classes.

As in `segrepro.plots`, every function returns its Figure, and a configuration has its one colour.
"""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scipy.cluster.hierarchy as hierarchy
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.spatial.distance import squareform

from segrepro.analysis import embeddings
from segrepro.datasets.base import IGNORE, Classes
from segrepro.evaluation import places
from segrepro.plots.parts import class_axis, heatmap, name_points
from segrepro.plots.style import DARK, WIDTH, colour_of, label_of
from segrepro.runs import Record, Run

GROUPS = (  # Paul Tol's muted colours: as names on white, and with any colour vision
    "#332288", "#CC6677", "#117733", "#999933", "#882255", "#44AA99", "#AA4499", "#88CCEE", "#DDCC77",
)  # fmt: skip
IN_ROWS = 40  # classes up to which trees stand side by side with their leaves in rows; above it each is a circle
LEAVES = 150  # of a circle; a larger tree is cut where it has so many branches
LOSSES = {  # of `analysis.scaling`: label, the configuration that has the loss, its line, wide where another lies on it
    "dense": ("all classes at once", "plain", {"linewidth": 2}),
    "random": ("k random", "essnet_random", {"linewidth": 6}),
    "exact": ("all classes, in chunks", "essnet_exact", {"linewidth": 2}),
    "nearest": ("k nearest", "essnet", {"linewidth": 2}),
    "nearest, torch": ("k nearest, searched by torch", "essnet", {"linewidth": 2, "linestyle": "--"}),
}


def class_lengths(runs: Mapping[str, Sequence[Run]]) -> Figure:
    """Length of each class vector, in multiples of the run's mean (ESSNet Figure 9): small dots seeds, large their
    mean; the most frequent class on the left.
    """
    record = next(iter(runs.values()))[0].record
    order = np.argsort(-np.array(record.pixel_counts), kind="stable")
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8))
    for name, found in runs.items():
        lengths = np.array([np.linalg.norm(run.arrays["classifier_weight"], axis=1) for run in found])
        lengths = (lengths / lengths.mean(axis=1, keepdims=True))[:, order]
        axes.plot(lengths.T, ".", color=colour_of(name), alpha=0.4)
        axes.plot(lengths.mean(axis=0), "o", color=colour_of(name), label=label_of(name))
    class_axis(axes, record, order)
    axes.set(ylabel="length / mean length", xlabel="classes by pixel frequency, the most frequent first (†: rare)")
    figure.legend(loc="outside upper right", ncols=4, frameon=False)
    return figure


def class_tree(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Classes joined by average linkage of 1 - cosine similarity (C, C), and the similarities (hundredths) in the
    order of the tree (ESSNet Figure 12).
    """
    distances = squareform(1 - np.asarray(matrix), checks=False)
    side = 0.75 * WIDTH
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, side), width_ratios=(1, 3))
    links = hierarchy.linkage(distances, "average", optimal_ordering=True)
    black = {"color_threshold": 0, "above_threshold_color": DARK}
    tree = hierarchy.dendrogram(links, orientation="left", no_labels=True, ax=left, **black)
    order = tree["leaves"]
    left.invert_yaxis()
    left.set(xlabel="1 − cosine")
    left.grid(visible=False)
    shown = np.where(np.eye(len(names), dtype=bool), np.nan, 100 * matrix)[np.ix_(order, order)]
    heatmap(right, shown, [names[c] for c in order], cmap="vlag", vmin=-100, vmax=100)
    right.set_aspect("auto")
    return figure


def class_trees(trees: Mapping[str, np.ndarray], record: Record, groups: Sequence[str] | None = None) -> Figure:
    """Agglomerative clustering of the classes, one tree a configuration (ESSNet Figures 12, 13).

    trees: links from `analysis.embeddings.tree`. groups (C,): colours names, and branches of one group. Of a tree that
    is cut, a leaf has the name of its most frequent class and how many more it holds.
    """
    names, kinds = record.class_names, sorted(set(groups or ()))
    palette = dict(zip(kinds, itertools.cycle(GROUPS), strict=False))
    rows = len(names) <= IN_ROWS
    shape = (1, len(trees)) if rows else (len(trees), 1)
    size = (WIDTH, 1.2 + 0.2 * len(names)) if rows else (WIDTH, WIDTH * len(trees))
    figure, axes = plt.subplots(*shape, figsize=size, squeeze=False, subplot_kw={} if rows else {"polar": True})
    for panel, (name, links) in zip(axes.flat, trees.items(), strict=True):
        members = [[c] for c in range(len(names))]
        for left, right in links[:, :2].astype(int):
            members.append(members[left] + members[right])
        of_branch = [{groups[c] for c in inside} if groups else () for inside in members]
        colours = [palette[next(iter(of))] if len(of) == 1 else DARK for of in of_branch]
        titles = [names[inside[0]] if len(inside) == 1 else
                  f"{names[max(inside, key=record.pixel_counts.__getitem__)]} +{len(inside) - 1}"
                  for inside in members]  # fmt: skip
        cut = {} if rows else {"truncate_mode": "lastp", "p": LEAVES}
        drawn = hierarchy.dendrogram(links, no_plot=True, link_color_func=colours.__getitem__, **cut)
        leaves = [(titles[node], colours[node]) for node in drawn["leaves"]]
        (_tree_in_rows if rows else _tree_in_circle)(panel, drawn, leaves)
        panel.set_title(label_of(name), loc="center" if rows else "left")
    if groups:
        handles = [Line2D([], [], color=colour, linewidth=3, label=kind) for kind, colour in palette.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=7 if rows else 5, frameon=False)
    return figure


def pixel_embeddings(
    image: np.ndarray, labels: np.ndarray, prediction: np.ndarray, pixels: np.ndarray, mu: np.ndarray, classes: Classes
) -> Figure:
    """One image with its pixel embeddings as colours and as points (ESSNet Figures 11 and 10).

    image (H, W, 3), labels and prediction (H, W); pixels (h, w, d) from `evaluation.stored_embeddings`; mu (C, d).
    Both are drawn on the principal axes of the pixels: three as red, green and blue, two as a plane, in which stars are
    the image's classes.
    """
    projected, stars, shares = embeddings.project(pixels, mu)
    palette = np.array([*classes.colours, (255, 255, 255)], dtype=np.uint8)  # the last for IGNORE = -1
    height = WIDTH / 4 * labels.shape[0] / labels.shape[1]
    figure, axes = plt.subplot_mosaic([["image", "ground truth", "prediction", "pixel embeddings"], ["plane"] * 4],
                                      figsize=(WIDTH, height + 6.5), height_ratios=[height + 0.3, 6])  # fmt: skip
    pictures = [image, palette[labels], palette[prediction], embeddings.as_colours(projected)]
    for (title, panel), picture in zip(axes.items(), pictures, strict=False):
        panel.imshow(picture, interpolation="nearest")
        panel.set(title=title, xticks=[], yticks=[])
        panel.grid(visible=False)
    plane, own = axes["plane"], labels[places(labels.shape, pixels.shape[:2])]
    known = own != IGNORE
    plane.scatter(*projected[known][:, :2].T, s=9, c=palette[own[known]] / 255, linewidths=0)
    plane.set(xlabel=f"first axis ({shares[0]:.0%} of the variance)", ylabel=f"second axis ({shares[1]:.0%})")
    plane.margins(0.06)
    shown = np.unique(own[known])
    plane.scatter(*stars[shown, :2].T, marker="*", s=150, c=palette[shown] / 255, edgecolors="black", zorder=3)
    figure.draw_without_rendering()
    name_points(plane, stars[shown, :2], np.array(classes.names)[shown])
    return figure


def truncation_errors(errors: pd.DataFrame, worst: pd.DataFrame) -> Figure:
    """p_bar - p over t, how near the omitted classes are (ESSNet Section 3.2), by number of classes.

    errors, worst: from `analysis.truncation`; lines are the closed form with the star at its maximum, dots measured.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4))
    for (count, rows), colour in zip(errors.groupby("classes"), sns.color_palette("colorblind"), strict=False):
        axes.plot(rows["t"], rows["closed form"], color=colour, label=f"C = {count}")
        axes.plot(rows["t"], rows["measured"], "o", color=colour, markersize=4)
        axes.plot(worst["at t"][count], worst["worst"][count], "*", color=colour, markersize=15)
        axes.axhline(worst["1/k - 1/C"][count], color=colour, linestyle="--", linewidth=1)
    axes.set(xscale="log", ylim=(0, 1), ylabel=r"$\bar p - p$", xlabel="t (1: all classes equally far)")
    grey = {"color": DARK, "linewidth": 0}
    marks = [
        Line2D([], [], marker="o", markersize=4, label="measured", **grey),
        Line2D([], [], marker="*", markersize=13, label="largest", **grey),
        Line2D([], [], **(grey | {"linewidth": 1}), linestyle="--", label="1/k − 1/C"),
    ]
    figure.legend(handles=[*axes.lines[::4], *marks], loc="outside upper right", ncols=6, frameon=False)
    return figure


def scaling_curves(rows: pd.DataFrame, batches: pd.DataFrame, printed: pd.DataFrame, memory_gib: float) -> Figure:
    """Memory and time of losses, time of predictions, and the largest batch, against the number of classes (ESSNet
    Figure 1).

    rows: of one device, from `scaling.of_device`; batches: from `footprint.largest_batches` in that memory; printed:
    the paper's Table 4 from `footprint.printed`.
    """
    training, prediction = (rows[rows["pass"] == kind] for kind in ("training", "prediction"))
    pixels = f"{rows['pixels'].iloc[0]:,} pixels"
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 7), sharex=True)
    panels = [
        (
            training.assign(GiB=training["extra MiB"] / 1024),
            "GiB",
            "Memory of the loss",
            "GiB, ten images of 512 × 512",
        ),
        (batches, "images", f"Largest batch in {memory_gib:g} GiB", "images of 512 × 512"),
        (training, "milliseconds", "Time of the loss", f"ms for {pixels}"),
        (prediction, "milliseconds", "Time of the prediction", f"ms for {pixels}"),
    ]
    for panel, (table, column, title, unit) in zip(axes.flat, panels, strict=True):
        for name, (label, configuration, line) in LOSSES.items():
            of = table[table["loss"] == name]
            panel.plot(of["classes"], of[column], marker="o", color=colour_of(configuration), label=label, **line)
        panel.set(title=title, xscale="log", yscale="log", ylabel=unit)
        panel.yaxis.set_major_formatter("{x:g}")
    for method, configuration in (("Baseline", "plain"), ("ESSNet", "essnet")):
        batch = printed["train_batch_size", method]
        axes[0, 1].plot(batch.index, batch, "D", color=colour_of(configuration), markerfacecolor="white", zorder=3)
    axes[0, 1].set(yscale="linear", ylim=(0, None))
    for panel in axes[1]:
        panel.set_xticks(sorted(rows["classes"].unique()), labels=None)
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.minorticks_off()
        panel.set_xlabel("classes")
    paper = [
        Line2D(
            [], [], color=colour_of(name), marker="D", markerfacecolor="white", linewidth=0, label=f"the paper's, {of}"
        )
        for name, of in (("plain", "all classes at once"), ("essnet", "k nearest"))
    ]
    handles = [*axes[0, 0].lines, *paper]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, handlelength=3.5, frameon=False)
    return figure


def _tree_in_rows(axes: Axes, drawn: dict, leaves: Sequence[tuple[str, str]]) -> None:
    """A dendrogram with its root on the left and the leaves' names on the right."""
    lines = [np.stack([height, place], axis=1) for place, height in zip(drawn["icoord"], drawn["dcoord"], strict=True)]
    axes.add_collection(LineCollection(lines, colors=drawn["color_list"], linewidths=1.5))
    at = 5 + 10 * np.arange(len(leaves))
    axes.set(xlim=(1.02 * np.max(drawn["dcoord"]), 0), ylim=(10 * len(leaves), 0), xlabel="1 − cosine")
    axes.set_yticks(at, [title for title, _ in leaves])
    axes.yaxis.tick_right()
    axes.grid(visible=False)
    for text, (_, colour) in zip(axes.get_yticklabels(), leaves, strict=True):
        text.set_color(colour)


def _tree_in_circle(axes: Axes, drawn: dict, leaves: Sequence[tuple[str, str]]) -> None:
    """A dendrogram with its root in the middle and the leaves' names around it."""
    turn, top = 2 * np.pi / (10 * len(leaves)), np.max(drawn["dcoord"])
    lines = []
    for place, height in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        arc = np.linspace(place[1], place[2], 50)  # a polar line is straight between its points
        angles = np.concatenate([place[:1], arc, place[3:]])
        radii = np.concatenate([height[:1], np.full(50, height[1]), height[3:]])
        lines.append(np.stack([turn * angles, 1 - radii / top], axis=1))
    axes.add_collection(LineCollection(lines, colors=drawn["color_list"], linewidths=1.2))
    axes.set(ylim=(0, 1))
    axes.set_axis_off()
    size = min(8, 950 / len(leaves))
    for i, (title, colour) in enumerate(leaves):
        angle = turn * (5 + 10 * i)
        outwards = np.cos(angle) >= 0
        turned, side = np.degrees(angle) + (0 if outwards else 180), "left" if outwards else "right"
        axes.text(angle, 1.02, title, color=colour, fontsize=size, rotation_mode="anchor", va="center",
                  rotation=turned, ha=side)  # fmt: skip
