"""Who needs whom: classes erased from images, and scenes drawn without them (DropClass Table 4)."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from segrepro.datasets.base import Classes
from segrepro.plots.parts import class_legend, name_points
from segrepro.plots.style import DARK, OTHER_COLOUR, WIDTH, colour_of, label_of

Version = tuple[np.ndarray, np.ndarray]  # image (H, W, 3) uint8 and labels (H, W)


def erased_or_absent(pairs: pd.DataFrame, named: int = 14) -> Figure:
    """Points of IoU that a class loses when another is erased, against what it loses when that is not in the scene.

    pairs: from `analysis.erasure.class_pairs`, a dot a pair. The `named` ones, "class | removed class", are half those
    with the largest loss either way, half those furthest from the diagonal, on which erasing would be right.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 0.7 * WIDTH))
    points = pairs[["erasure", "erasure/counterfactual"]].to_numpy()
    size, apart = np.nan_to_num(np.abs(points).max(axis=1)), np.nan_to_num(np.abs(points[:, 0] - points[:, 1]))
    chosen = list(dict.fromkeys([*np.argsort(-size)[: named // 2], *np.argsort(-apart)]))[:named]
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    room = 0.06 * (high - low) + 0.1
    (left, bottom), (right, top) = low - room, high + room
    for line in (axes.axhline, axes.axvline):
        line(0, color=DARK, linewidth=1)
    axes.axline((0, 0), slope=1, linestyle="--", color="#999999", linewidth=1, zorder=1)
    axes.plot(*points.T, "o", color="#888888", markersize=4, alpha=0.6)
    axes.plot(*points[chosen].T, "o", color=OTHER_COLOUR, markersize=5)
    axes.set(xlim=(left, right), ylim=(bottom, top), xlabel="IoU lost when the other class is erased (points)",
             ylabel="IoU lost when it is not in the scene (points)")  # fmt: skip
    figure.draw_without_rendering()
    names = [f"{one} | {gone}" for one, gone in pairs.iloc[chosen][["class", "without"]].itertuples(index=False)]
    name_points(axes, points[chosen], names)
    return figure


def erasure_table(table: pd.DataFrame, method: str, baseline: str = "plain") -> Figure:
    """DropClass Table 4: on the left each class's IoU on whole images (open) and without its three influencers (full),
    on the right the drop from one to the other with its 95 % interval over seeds.

    table: from `analysis.erasure.table_4`, a class a row; method, baseline: names of the configurations.
    """
    figure, (levels, drops) = plt.subplots(1, 2, figsize=(WIDTH, 1.4 + 0.32 * len(table)), sharey=True)
    for label, name, offset in (("baseline", baseline, -0.17), ("method", method, 0.17)):
        of, at, colour = table[label], np.arange(len(table)) + offset, colour_of(name)
        levels.hlines(at, of["I"], of["I*"], color=colour, linewidth=1.5)
        levels.plot(of["I"], at, "o", color=colour, markerfacecolor="white", markersize=5)
        levels.plot(of["I*"], at, "o", color=colour, markersize=5)
        drops.barh(at, of["I*-I"], 0.34, color=colour)
        drops.hlines(at, of["low"], of["high"], color=DARK, linewidth=1)
    means = np.concatenate([table[label, "I*-I"] for label in ("baseline", "method")])
    low, high = np.nanmin([*means, 0]), np.nanmax([*means, 0])
    room = 0.3 * (high - low) + 0.5  # an interval of two seeds may be so wide that it would hide everything
    drops.axvline(0, color=DARK, linewidth=1)
    drops.set(xlabel="drop I* − I (points), 95 % interval", xlim=(low - room, high + room))
    levels.set(xlabel="IoU (%)", ylim=(len(table) - 0.4, -0.6))
    levels.set_yticks(range(len(table)), table.index)
    for panel in (levels, drops):
        panel.grid(axis="y", visible=False)
    handles = [Line2D([], [], color=colour_of(name), linewidth=5, label=label_of(name)) for name in (baseline, method)]
    for label, face in (("whole images, I", "white"), ("without its influencers, I*", DARK)):
        handles.append(Line2D([], [], color=DARK, marker="o", markerfacecolor=face, linewidth=0, label=label))
    figure.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False)
    return figure


def scene_versions(rows: Mapping[str, Mapping[str, Version]], classes: Classes,
                   predictions: Mapping[str, Sequence[np.ndarray]] | None = None) -> Figure:  # fmt: skip
    """A scene as it is, with a class erased, and drawn without it, side by side.

    rows: by title, from `analysis.erasure.versions`. predictions: by the same titles, what a network makes of the
    versions (H, W), shown below them; pixels that do not count are white there.
    """
    predictions, below = predictions or {}, 2 if predictions else 1
    columns = list(dict.fromkeys(kind for of in rows.values() for kind in of))
    colours = np.array([*classes.colours, (255, 255, 255)], dtype=np.uint8)  # the last for IGNORE = -1
    height = max(image.shape[0] / image.shape[1] for of in rows.values() for image, _ in of.values())
    size = (WIDTH, below * len(rows) * ((WIDTH - 0.6) / len(columns) * height + 0.05) + 0.4 + 0.6 * (below - 1))
    figure, axes = plt.subplots(below * len(rows), len(columns), figsize=size, squeeze=False)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
        panel.grid(visible=False)
    shown = []
    for place, (title, of) in enumerate(rows.items()):
        axes[below * place, 0].set_ylabel(title)
        for column, (image, labels) in enumerate(of.values()):
            axes[below * place, column].imshow(image, interpolation="nearest")
            if title in predictions:
                shown.append(np.where(labels < 0, labels, predictions[title][column]))
                axes[below * place + 1, column].imshow(colours[shown[-1]], interpolation="nearest")
        if title in predictions:
            axes[below * place + 1, 0].set_ylabel("prediction")
    for panel, title in zip(axes[0], columns, strict=True):
        panel.set_title(title)
    if shown:
        class_legend(figure, classes, shown)
    return figure
