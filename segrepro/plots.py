"""Figures from records and statistics. Every function returns its Figure and leaves it open for the notebook to show.

Configurations are named as in the ledger: the name gives the label and, everywhere, the same colour
(colour-blind-safe). IoU and confusions are in percent; differences of IoU in points.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segrepro import ledger, metrics
from segrepro.analysis import confusion
from segrepro.datasets.base import IGNORE, Classes, Split
from segrepro.runs import Run
from segrepro.verdict import Evidence

WIDTH = 9.5  # inches: a notebook's page at 100 dots an inch

# Okabe and Ito's palette, then Paul Tol's with tints, told apart with any colour vision; a configuration keeps its
# colour in all figures.
COLOURS = {
    "plain": "#6e6e6e",
    "dropclass": "#0072B2",
    "dropclass_without_suppression": "#56B4E9",
    "ignore_label": "#E69F00",
    "oversample": "#CC79A7",
    "plain_weighted": "#000000",
    "dropclass_weighted": "#009E73",
    "region_rebalance": "#882255",
    "region_branch": "#CC6677",
    "region_rebalance_weak": "#C49BB0",
    "region_rebalance_strong": "#4A0D2B",
    "balanced_softmax": "#B8860B",
    "balanced_softmax_regions": "#F0E442",
    "dice": "#332288",
    "dice_cross_entropy": "#8A7FC9",
    "essnet": "#117733",
    "essnet_exact": "#66C266",
    "essnet_without_margin": "#999933",
    "essnet_unnormalised": "#AA4499",
    "essnet_random": "#DDAADD",
    "essnet_k4": "#5E5E1E",
    "essnet_d4": "#88CCEE",
    "essnet_d12": "#004488",
    "cosine_classifier": "#44AA99",
    "fbnet": "#228833",
    "fbnet_loss_alone": "#66C2A5",
    "fbnet_modulator_alone": "#66CCEE",
    "fbnet_pointwise": "#DDCC77",
    "fbnet_convolution": "#A6761D",
    "fbnet_res2": "#C7E9C0",
    "fbnet_res3": "#8FCB8F",
    "fbnet_res4": "#4DA15F",
    "fbnet_everywhere": "#0B3D1E",
    "balanced": "#D9A6D2",
    "fbnet_balanced": "#AA3377",
}
VERDICT_COLOURS = {
    "reproduced": "#009E73",
    "not reproduced": "#D55E00",
    "inconclusive": "#0072B2",
    "not judged": "#999999",
}
OTHER_COLOUR = "#D55E00"  # a configuration without a colour of its own; also what is to be noticed


def style() -> None:
    """The look of all figures: call once, at the top of a notebook."""
    sns.set_theme(context="notebook", style="whitegrid", font_scale=0.85)
    plt.rcParams.update(
        {"figure.dpi": 100, "savefig.dpi": 100, "figure.constrained_layout.use": True, "axes.titleweight": "bold"}
    )


def label_of(name: str) -> str:
    """The ledger's label of a configuration; a name that it does not have is its own label."""
    known = ledger.load().configurations
    return known[name].label if name in known else name


def colour_of(name: str) -> str:
    """The colour of a configuration."""
    return COLOURS.get(name, OTHER_COLOUR)


def class_iou_gain(runs: Mapping[str, Sequence[Run]], baseline: str = "plain") -> Figure:
    """IoU of each class minus the baseline's, paired by seed, with 95 % intervals; the most frequent class on the left.

    runs: by configuration, the baseline among them. Rare classes are marked with a dagger.
    """
    record = runs[baseline][0].record
    order = np.argsort(-np.array(record.pixel_counts), kind="stable")
    names = [record.class_names[i] + (" †" if record.class_names[i] in record.rare_classes else "") for i in order]
    others = [name for name in runs if name != baseline]
    figure, axes = plt.subplots(figsize=(WIDTH, 4))
    for place, name in enumerate(others):
        evidence = [
            Evidence("", gains, "greater", 1) for gains in _paired_gains(runs[name], runs[baseline])[:, order].T
        ]
        means, intervals = np.array([e.effect for e in evidence]), np.array([e.interval for e in evidence])
        errors = None if np.isnan(intervals).all() else np.abs(intervals - means[:, None]).T
        at = np.arange(len(names)) + (place - (len(others) - 1) / 2) * 0.8 / len(others)
        axes.bar(at, means, 0.8 / len(others), yerr=errors, color=colour_of(name), label=label_of(name),
                 error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#333333"})  # fmt: skip
    axes.axhline(0, color="#333333", linewidth=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(
        ylabel="ΔIoU (points)",
        xlabel="classes by pixel frequency, the most frequent first (†: rare)",
        xlim=(-0.6, len(names) - 0.4),
    )
    axes.set_title(f"IoU gained over {label_of(baseline)}: {_seeds_note(runs)}", loc="left")
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside upper right", ncols=4, frameon=False)
    return figure


def _paired_gains(method: Sequence[Run], baseline: Sequence[Run]) -> np.ndarray:
    """ΔIoU in points (seeds, C) of the seeds that both have."""
    ious = [
        {run.record.seed: metrics.iou(run.record.evaluations["val"]) for run in runs} for runs in (method, baseline)
    ]
    return np.array([100 * (ious[0][seed] - ious[1][seed]) for seed in sorted(set(ious[0]) & set(ious[1]))])


def _seeds_note(runs: Mapping[str, Sequence[Run]]) -> str:
    count = min(len(found) for found in runs.values())
    return f"mean of {count} seeds, 95 % interval" if count > 1 else "one seed"


def correlation_matrices(matrices: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Cosine similarities (C, C) of class vectors, in hundredths, one panel a configuration (DropClass Figure 3)."""
    own = np.eye(len(names), dtype=bool)
    shown = {name: np.where(own, np.nan, 100 * matrix) for name, matrix in matrices.items()}
    reach = max(np.nanmax(np.abs(matrix)) for matrix in shown.values())
    figure, axes = plt.subplots(1, len(shown), figsize=(WIDTH, WIDTH / len(shown) + 1.5), sharey=True, squeeze=False)
    for panel, (name, matrix) in zip(axes[0], shown.items(), strict=True):
        _heatmap(panel, matrix, names, cmap="vlag", vmin=-reach, vmax=reach)
        panel.set_title(label_of(name))
    _colour_bar(figure, axes, "cosine similarity of class vectors (hundredths)")
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
        _heatmap(panel, matrix, names, cmap="Blues", vmin=0, vmax=100)
    _heatmap(axes[1, 0], difference, names, cmap="vlag", vmin=-reach, vmax=reach)
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
    """Points of IoU (C, C) that each class [row] loses when another [column] is erased, by configuration."""
    reach = max(np.nanmax(np.abs(matrix), initial=1.0) for matrix in losses.values())
    figure, axes = plt.subplots(1, len(losses), figsize=(WIDTH, WIDTH / len(losses) + 1.5), sharey=True, squeeze=False)
    for panel, (name, matrix) in zip(axes[0], losses.items(), strict=True):
        _heatmap(panel, matrix, names, cmap="vlag", vmin=-reach, vmax=reach)
        panel.set(title=label_of(name), xlabel="erased class")
    axes[0, 0].set_ylabel("class that is scored")
    _colour_bar(figure, axes, "IoU lost (points)")
    return figure


def co_occurrence(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Percent (C, C) of the images with class [row] that also have class [column]."""
    figure, axes = plt.subplots(figsize=(0.8 * WIDTH, 0.75 * WIDTH))
    _heatmap(axes, matrix, names, cmap="Blues", vmin=0, vmax=100)
    axes.set(xlabel="... also have", ylabel="of the images with ...")
    _colour_bar(figure, axes, "percent of the row's images", location="right")
    return figure


def class_frequencies(table: pd.DataFrame, *, pif: float, rif: float) -> Figure:
    """Share of the pixels and of the images of each class, on a log scale (Region Rebalance Figure 5).

    table: from `analysis.imbalance.frequency_table`; pif, rif: the largest over the smallest, of pixels and of images.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8))
    at = np.arange(len(table))
    axes.bar(at - 0.2, table["pixels %"], 0.4, color="#0072B2", label=f"pixels (largest / smallest: {pif:,.0f})")
    axes.bar(at + 0.2, table["images %"], 0.4, color="#E69F00", label=f"images with the class ({rif:,.1f})")
    names = [name + (" †" if rare else "") for name, rare in table["rare"].items()]
    axes.set_xticks(at, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(
        yscale="log", ylabel="percent", xlabel="classes by pixel frequency (†: rare)", xlim=(-0.6, len(table) - 0.4)
    )
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside upper right", ncols=4, frameon=False)
    return figure


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
    _class_legend(figure, split.classes, [labels for _, labels in samples])
    return figure


def verdict_counts(board: pd.DataFrame) -> Figure:
    """How many claims got which verdict on which data set; board: from `claims.verdicts`."""
    verdicts = board["verdict"].str.replace(r" \(n = \d+\)", "", regex=True)
    table = pd.crosstab(board["data"], verdicts).reindex(columns=list(VERDICT_COLOURS), fill_value=0)
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.5 * len(table)))
    left = np.zeros(len(table))
    for verdict, counts in table.items():
        bars = axes.barh(table.index, counts, left=left, color=VERDICT_COLOURS[verdict], label=verdict)
        axes.bar_label(bars, [str(n) if n else "" for n in counts], label_type="center", color="white", weight="bold")
        left += counts
    axes.set(xlabel="claims", ylabel="data")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=len(VERDICT_COLOURS), frameon=False)
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
    _class_legend(figure, classes, [labels for column in maps.values() for labels in column])
    return figure


def _class_legend(figure: Figure, classes: Classes, maps: Sequence[np.ndarray]) -> None:
    """The colours of the classes that occur in the label maps, below the figure."""
    shown = np.unique(np.concatenate([labels.ravel() for labels in maps]))
    handles = [
        Patch(facecolor=np.array(classes.colours[c]) / 255, label=classes.names[c]) for c in shown if c != IGNORE
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=7, fontsize="small", frameon=False)


def _heatmap(axes: Axes, matrix: np.ndarray, names: Sequence[str], **scale) -> None:
    """A matrix (C, C) with class names on both sides; up to 20 classes, whole numbers in the cells that are not 0."""
    text = np.where(np.isfinite(matrix) & (np.abs(matrix) >= 0.5), np.char.mod("%.0f", np.nan_to_num(matrix)), "")
    small = len(names) <= 20
    numbers = {"annot": text, "fmt": "", "annot_kws": {"size": 6.5}, "linewidths": 0.5} if small else {}
    sns.heatmap(matrix, ax=axes, cbar=False, square=True, xticklabels=names, yticklabels=names, **numbers, **scale)
    axes.tick_params(labelsize=8 if small else 5, length=0)
    axes.grid(visible=False)
    axes.set_xticklabels(axes.get_xticklabels(), rotation=90)


def _colour_bar(figure: Figure, axes: Axes | np.ndarray, label: str, location: str = "bottom") -> None:
    mesh = np.ravel(axes)[0].collections[0]
    figure.colorbar(mesh, ax=axes, label=label, location=location, shrink=0.5, aspect=40)
