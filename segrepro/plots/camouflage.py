"""FBNet: what block-wise and point-wise losses pull at, and how strong foreground features are."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from segrepro.datasets.base import Classes
from segrepro.plots.parts import class_legend
from segrepro.plots.style import COLOURS, DARK, WIDTH


def block_pulls(table: pd.DataFrame, probability: float) -> Figure:
    """Pull of both losses on a class's logit against its pixels in a block (FBNet Figure 4).

    table: from `analysis.dilution.pulls` at this probability; one panel a stride.
    """
    strides = table["stride"].unique()
    figure, axes = plt.subplots(1, len(strides), figsize=(WIDTH, 3.2), sharey=True, squeeze=False)
    for panel, stride in zip(axes[0], strides, strict=True):
        rows = table[table["stride"] == stride]
        for loss, colour in (("point-wise", COLOURS["plain"]), ("block-wise", COLOURS["fbnet"])):
            panel.plot(rows["pixels"], rows[loss], color=colour, linewidth=2, label=loss)
        panel.axhline(0, color=DARK, linewidth=1)
        panel.set(xscale="log", title=f"block of {stride} × {stride}", xlabel="pixels of the class in the block")
        panel.set_xticks([1, stride, stride**2])
        panel.xaxis.set_major_formatter("{x:g}")
        panel.minorticks_off()
    axes[0, 0].set_ylabel(f"pull on its logit\nat probability {probability:g}")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    return figure


def foreground_strength(table: pd.DataFrame) -> Figure:
    """Strength of X_l and X_o on each class against their mean on the background, over seeds, band from least to most.

    table: from `analysis.camouflage.strength` (FBNet Figure 7 in numbers). The background classes are shaded.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 4))
    colours = {"X_l": COLOURS["plain"], "X_o": COLOURS["fbnet"]}
    labels = {"X_l": "$X_\\ell$, what the module is given", "X_o": "$X_o$, what it adds"}
    shown = table.assign(map=table["map"].map(labels))
    sns.barplot(shown, x="class", y="percent", hue="map", palette={labels[k]: v for k, v in colours.items()},
                errorbar=("pi", 100), err_kws={"linewidth": 1, "color": DARK}, ax=axes)  # fmt: skip
    background = table.loc[~table["foreground"], "class"].nunique()
    axes.axvspan(-0.5, background - 0.5, color="#dddddd", zorder=0)
    axes.axhline(100, color=DARK, linewidth=1)
    axes.tick_params(axis="x", rotation=45)
    plt.setp(axes.get_xticklabels(), ha="right", rotation_mode="anchor")
    axes.set(
        xlabel="background (shaded), then foreground, each by pixel frequency",
        ylabel="percent of the mean\non background pixels",
        xlim=(-0.5, table["class"].nunique() - 0.5),
    )
    axes.grid(axis="x", visible=False)
    axes.get_legend().remove()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    return figure


def strength_maps(columns: Mapping[str, Sequence[np.ndarray]], maps: Sequence[np.ndarray], classes: Classes) -> Figure:
    """Image, ground truth, X_l and X_o, a row an example (FBNet Figure 7).

    columns: from `Experiment.examples`; maps (2, h, w), one an example, from `evaluation.stored_maps`. Each map is in
    multiples of its own mean, with one scale for all, which ends at twice the mean at most.
    """
    relative = [example / example.mean(axis=(1, 2), keepdims=True) for example in (m.astype(float) for m in maps)]
    largest = max(np.abs(example - 1).max() for example in relative)
    reach = min(largest, 1)
    images, truth = columns["image"], columns["ground truth"]
    colours = np.array([*classes.colours, (255, 255, 255)], dtype=np.uint8)  # the last for IGNORE = -1
    height, width = images[0].shape[:2]
    size = (WIDTH, len(images) * WIDTH / 4 * height / width + 1.6)
    figure, axes = plt.subplots(len(images), 4, figsize=size, squeeze=False)
    titles = ("image", "ground truth", "$X_\\ell$: given", "$X_o$: added")
    for panel, title in zip(axes[0], titles, strict=True):
        panel.set_title(title)
    for panels, image, labels, example in zip(axes, images, truth, relative, strict=True):
        height, width = labels.shape
        panels[0].imshow(image, interpolation="nearest")
        panels[1].imshow(colours[labels], interpolation="nearest")
        # A position stands for `stride` pixels; the last ones may lie beyond the image, which was padded.
        stride = 2 ** np.ceil(np.log2(max(height / example.shape[1], width / example.shape[2])))
        area = (-0.5, stride * example.shape[2] - 0.5, stride * example.shape[1] - 0.5, -0.5)
        for panel, strength in zip(panels[2:], example, strict=True):
            scale = {"cmap": "vlag", "vmin": 1 - reach, "vmax": 1 + reach}
            shown = panel.imshow(strength, interpolation="nearest", extent=area, **scale)
            panel.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        for panel in panels:
            panel.set(xticks=[], yticks=[])
            panel.grid(visible=False)
    ends = "max" if largest > reach else "neither"
    label = "times the map's mean"
    figure.colorbar(shown, ax=axes[:, 2:], label=label, location="bottom", shrink=0.6, aspect=40, extend=ends)
    class_legend(figure, classes, truth)
    return figure
