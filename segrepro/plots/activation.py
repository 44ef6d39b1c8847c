"""Class-activation maps: pictures of them, and how much of them falls to classes that are not there."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from segrepro.analysis import activation
from segrepro.plots.parts import colour_bar
from segrepro.plots.style import DARK, WIDTH, colour_of, label_of

MAPS = "viridis"
OUTLINE = "#ffffff"


def activation_maps(rows: Sequence[activation.Picture]) -> Figure:
    """Image, maps of the class that is there, maps of the one that is not, a row a pair (DropClass Figure 4).

    rows: from `analysis.activation.pictures`. The class that is there is outlined everywhere. One scale for all maps:
    each network's largest activation of the class that is there is 1; more than that is shown as 1.
    """
    names = list(rows[0].maps)
    columns = 1 + 2 * len(names)
    heights = [WIDTH / columns * row.mask.shape[0] / row.mask.shape[1] + 0.3 for row in rows]
    figure, axes = plt.subplots(len(rows), columns, figsize=(WIDTH, sum(heights) + 0.8), squeeze=False,
                                height_ratios=heights)  # fmt: skip
    largest = 0.0
    for panels, row in zip(axes, rows, strict=True):
        there, absent = row.pair
        height, width = row.mask.shape
        panels[0].imshow(row.image, interpolation="nearest")
        panels[0].set_title(f"{there}, no {absent}", fontsize=8.5)
        cells = [(side, name) for side in range(2) for name in names]
        for panel, (side, name) in zip(panels[1:], cells, strict=True):
            shares = row.maps[name][side]
            largest = max(largest, shares.max())
            shown = panel.imshow(shares, cmap=MAPS, vmin=0, vmax=1, interpolation="bilinear",
                                 extent=(-0.5, width - 0.5, height - 0.5, -0.5))  # fmt: skip
            panel.set_title(f"{label_of(name)}: {row.pair[side]}", fontsize=8.5, weight="normal")
        around_y, around_x = np.arange(-1, height + 1), np.arange(-1, width + 1)
        for panel in panels:  # a pixel more on each side: also what the image cuts off has an outline
            line = panel.contour(around_x, around_y, np.pad(row.mask, 1), [0.5], colors=OUTLINE, linewidths=1)
            line.set_path_effects([withStroke(linewidth=2.2, foreground=DARK)])
            panel.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
            panel.grid(visible=False)
    figure.colorbar(shown, ax=axes, location="bottom", shrink=0.6, aspect=50, extend="max" if largest > 1 else
                    "neither", label="activation, as a share of the largest of the class that is there")  # fmt: skip
    return figure


def activation_leaks(table: pd.DataFrame) -> Figure:
    """Leak of each pair and of all together, a panel a region: small dots the seeds, large ones their mean, with its
    95 % interval, on a logarithmic scale. Dashed: as strong as the class that is there.

    table: from `analysis.activation.leaks`. Where a panel's axis ends short of an interval, seeds are few; what is
    below its beginning is drawn there.
    """
    names, pairs = list(table["configuration"].unique()), list(table["pair"].unique())
    means = activation.with_intervals(table)
    known = [*table["value"].dropna(), 200.0]
    first, last = min(10.0, max(1.0, min(known))) / 1.3, max(known) * 1.3
    height = 1.5 + len(pairs) * (0.25 + 0.17 * len(names))
    figure, axes = plt.subplots(1, len(activation.WHERE), figsize=(WIDTH, height), sharey=True)
    for panel, where in zip(axes, activation.WHERE, strict=True):
        seeds = table[table["where"] == where]
        for place, name in enumerate(names):
            shift = (place - (len(names) - 1) / 2) * 0.7 / len(names)
            of = seeds[seeds["configuration"] == name]
            at = of["pair"].map(pairs.index) + shift
            values, dots = of["value"].clip(lower=first), {"markersize": 3, "alpha": 0.45, "markeredgewidth": 0}
            panel.plot(values, at, "o", color=colour_of(name), **dots)
            mean = means[(means["configuration"] == name) & (means["where"] == where)].set_index("pair").reindex(pairs)
            at = np.arange(len(pairs)) + shift
            panel.hlines(at, mean["low"].clip(lower=first), mean["high"], color=colour_of(name), linewidth=1.5)
            panel.plot(mean["value"].clip(lower=first), at, "o", markersize=7, color=colour_of(name),
                       markeredgecolor="white")  # fmt: skip
        panel.axvline(100, color=DARK, linewidth=1, linestyle="--", zorder=1)
        panel.set(xscale="log", xlim=(first, last), xlabel=f"leak over {where} (%)", ylim=(len(pairs) - 0.5, -0.5))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.grid(axis="y", visible=False)
        panel.axhspan(len(pairs) - 1.5, len(pairs) - 0.5, color="#eeeeee", zorder=0)
    axes[0].set_yticks(range(len(pairs)), pairs)
    handles = [Line2D([], [], marker="o", linestyle="", markersize=7, color=colour_of(name), label=label_of(name))
               for name in names]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False)
    return figure


def leak_matrices(matrices: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Leaks (C, C) of every class that is there [row] into every class that is not [column], a panel a configuration.

    Classes without a value are left out. One scale for all, which ends where 98 % of the leaks lie; numbers go on.
    """
    values = np.array([*matrices.values()])
    rows, columns = (np.flatnonzero(np.isfinite(values).any(axis=(0, axis))) for axis in (2, 1))
    reach = max(1.0, float(np.nan_to_num(np.nanquantile(values, 0.98))))
    small = max(len(rows), len(columns)) <= 20
    across = min(len(matrices), 2)
    down = -(-len(matrices) // across)
    size = (WIDTH, down * (0.6 + WIDTH / across * 0.72 * len(rows) / len(columns)) + 1.7)
    figure, axes = plt.subplots(down, across, figsize=size, sharex=True, sharey=True, squeeze=False)
    for panel in axes.flat[len(matrices) :]:
        panel.set_axis_off()
    for panel, (name, matrix) in zip(axes.flat, matrices.items(), strict=False):
        shown = matrix[np.ix_(rows, columns)]
        text = np.where(np.isfinite(shown), np.char.mod("%.0f", np.nan_to_num(shown)), "")
        numbers = {"annot": text, "fmt": "", "annot_kws": {"size": 6.5}, "linewidths": 0.5} if small else {}
        sns.heatmap(shown, ax=panel, cbar=False, xticklabels=[names[c] for c in columns],
                    yticklabels=[names[c] for c in rows], cmap="cividis", vmin=0, vmax=reach, **numbers)  # fmt: skip
        panel.tick_params(labelsize=8 if small else 5, length=0)
        panel.grid(visible=False)
        panel.set_title(label_of(name))
        panel.set_xlabel("class that is not there")
    for panel in axes[:, 0]:
        panel.set_ylabel("class that is there")
    colour_bar(figure, axes, "leak within the class's pixels (%)")
    return figure
