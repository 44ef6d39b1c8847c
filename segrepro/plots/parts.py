"""What several figures share: class names along an axis, heat maps, legends, names beside points."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from segrepro.datasets.base import IGNORE, Classes
from segrepro.runs import Record, Run


def seeds_note(runs: Mapping[str, Sequence[Run]]) -> str:
    count = min(len(found) for found in runs.values())
    return f"mean of {count} seeds, 95 % interval" if count > 1 else "one seed"


def class_axis(axes: Axes, record: Record, order: Sequence[int]) -> None:
    """Classes along x in this order, named if there are few, rare ones with a dagger."""
    names = [marked(record.class_names[c], record.class_names[c] in record.rare_classes) for c in order]
    if len(names) <= 60:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(axis="x", visible=False)


def class_legend(figure: Figure, classes: Classes, maps: Sequence[np.ndarray]) -> None:
    """The colours of the classes that occur in the label maps, below the figure: of many the 42 with most pixels."""
    found, pixels = np.unique(np.concatenate([labels.ravel() for labels in maps]), return_counts=True)
    shown = np.sort(found[np.argsort(-pixels, kind="stable")[:42]])
    handles = [
        Patch(facecolor=np.array(classes.colours[c]) / 255, label=classes.names[c]) for c in shown if c != IGNORE
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=7, fontsize="small", frameon=False)


def name_points(axes: Axes, points: np.ndarray, names: Sequence[str]) -> None:
    """Write up to 20 names beside points (n, 2), moved up or down to keep them apart; the layout must be done."""
    scale, right, pixels = 72 / axes.figure.dpi, axes.get_window_extent().x1, axes.transData.transform(points)
    taken = [(x - 4, x + 4, y) for x, y in pixels]  # left, right and height of what must not be written over, in pixels
    for (x, y), point, name in zip(pixels, points, names, strict=True):
        if len(names) > 20 or not np.isfinite(point).all():
            continue
        width = 5.2 * len(name)
        side, start = (1, x + 6) if x + 6 + width < right else (-1, x - 6 - width)
        shift = next(
            shift for shift in sorted(range(-300, 301, 5), key=abs)
            if not any(start < b and a < start + width and abs(y + shift - c) < 10 for a, b, c in taken)
        )  # fmt: skip
        taken.append((start, start + width, y + shift))
        axes.annotate(
            name, point, (side * 6 * scale, shift * scale), textcoords="offset points", fontsize=7, va="center",
            ha="left" if side > 0 else "right", path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip


def heatmap(axes: Axes, matrix: np.ndarray, names: Sequence[str], **scale) -> None:
    """A matrix (C, C) with class names on both sides; up to 20 classes, whole numbers in the cells that are not 0."""
    text = np.where(np.isfinite(matrix) & (np.abs(matrix) >= 0.5), np.char.mod("%.0f", np.nan_to_num(matrix)), "")
    small = len(names) <= 20
    numbers = {"annot": text, "fmt": "", "annot_kws": {"size": 6.5}, "linewidths": 0.5} if small else {}
    sns.heatmap(matrix, ax=axes, cbar=False, square=True, xticklabels=names, yticklabels=names, **numbers, **scale)
    axes.tick_params(labelsize=8 if small else 5, length=0)
    axes.grid(visible=False)
    axes.set_xticklabels(axes.get_xticklabels(), rotation=90)


def colour_bar(figure: Figure, axes: Axes | np.ndarray, label: str, location: str = "bottom") -> None:
    mesh = np.ravel(axes)[0].collections[0]
    figure.colorbar(mesh, ax=axes, label=label, location=location, shrink=0.5, aspect=40)


def marked(name: str, rare: bool) -> str:
    return name + " †" if rare else name


def marked_names(gains: pd.DataFrame) -> list[str]:
    """Class names in the order of a table of gains, rare ones with a dagger."""
    classes = gains.drop_duplicates("class")
    return [marked(name, rare) for name, rare in zip(classes["class"], classes["rare"], strict=True)]


def class_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Classes along x, named if there are few."""
    if len(names) <= 60:
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_xlim(-0.6, len(names) - 0.4)
