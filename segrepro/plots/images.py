"""Pictures: examples of data sets, label maps, predictions."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from segrepro.datasets.base import Classes, Split
from segrepro.plots.parts import class_legend
from segrepro.plots.style import KIND_COLOURS, OTHER_COLOUR, WIDTH, label_of


def dataset_examples(split: Split, indices: Sequence[int]) -> Figure:
    """Images of a split with their labels below, three side by side; the legend has the classes shown."""
    samples = [split[i] for i in indices]
    colours = np.array([*split.classes.colours, (255, 255, 255)], dtype=np.uint8)  # the last for IGNORE = -1
    rows = -(-len(samples) // 3)
    height = WIDTH / 3 * samples[0][1].shape[0] / samples[0][1].shape[1]
    figure, axes = plt.subplots(2 * rows, 3, figsize=(WIDTH, 2 * rows * height + 1), squeeze=False)
    for panel in axes.flat:
        panel.set_axis_off()
    for place, (image, labels) in enumerate(samples):
        row, column = divmod(place, 3)
        axes[2 * row, column].imshow(image, interpolation="nearest")
        axes[2 * row + 1, column].imshow(colours[labels], interpolation="nearest")
    class_legend(figure, split.classes, [labels for _, labels in samples])
    return figure


def biased_examples(split: Split) -> Figure:
    """An aligned image of each class and, below it, a conflicting one with its value of the bias (Figure 1). Without a
    known bias attribute, an image of each class.
    """
    labels = np.array([int(split.labels(i)[0, 0]) for i in range(len(split))])
    groups, count = split.groups, len(split.classes)
    rows = {"images": np.ones(len(labels), dtype=bool)}
    if groups is not None:
        aligned = groups.aligned[labels, groups.index]
        rows = {"aligned": aligned, "conflicting": ~aligned}
    side = min(WIDTH / count, 2)
    figure, axes = plt.subplots(len(rows), count, figsize=(side * count, (side + 0.3) * len(rows)), squeeze=False)
    for panels, (kind, chosen) in zip(axes, rows.items(), strict=True):
        for c, panel in enumerate(panels):
            panel.set(xticks=[], yticks=[], frame_on=False)
            members = np.flatnonzero(chosen & (labels == c))
            if len(members):
                chosen_one = members[c * len(members) // count]  # images lie in the order of their values of the bias
                panel.imshow(split[chosen_one][0], interpolation="nearest")
                value = f", {groups.names[groups.index[chosen_one]]}" if kind == "conflicting" else ""
                panel.set_title(f"{split.classes.names[c]}{value}", fontsize=7.5, weight="normal")
        panels[0].set_ylabel(kind, color=KIND_COLOURS.get(kind, "black"))
    return figure


def rare_class_crops(crops: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]) -> Figure:
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


def segmentation_examples(columns: Mapping[str, Sequence[np.ndarray]], classes: Classes) -> Figure:
    """Image, ground truth and each configuration's prediction, a row an example (DropClass Figure 2).

    columns: from `Experiment.examples`: "image", n arrays (H, W, 3) uint8, then n label maps (H, W) under "ground
    truth" and the names of configurations. Unlabelled pixels are white. The legend has the classes shown.
    """
    images, maps = columns["image"], {name: labels for name, labels in columns.items() if name != "image"}
    colours = np.array([*classes.colours, (255, 255, 255)], dtype=np.uint8)  # the last for IGNORE = -1
    height = WIDTH / len(columns) * images[0].shape[0] / images[0].shape[1]
    size = (WIDTH, len(images) * height + 1.2)
    figure, axes = plt.subplots(len(images), len(columns), figsize=size, squeeze=False)
    pictures = [images, *([colours[labels] for labels in column] for column in maps.values())]
    for panels, name, column in zip(axes.T, columns, pictures, strict=True):
        panels[0].set_title(label_of(name))
        for panel, picture in zip(panels, column, strict=True):
            panel.imshow(picture, interpolation="nearest")
            panel.set(xticks=[], yticks=[])
            panel.grid(visible=False)
    class_legend(figure, classes, [labels for column in maps.values() for labels in column])
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
