"""Figures from records and statistics. Every function returns its Figure and leaves it open for the notebook to show.

Configurations are named as in the ledger: the name gives the label and, everywhere, the same colour
(colour-blind-safe). IoU and confusions are in percent; differences of IoU in points.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scipy.cluster.hierarchy as hierarchy
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from scipy.spatial.distance import squareform

from segrepro import ledger, metrics
from segrepro.analysis import confusion, delta, imbalance, recall_precision
from segrepro.datasets.base import IGNORE, Classes, Split
from segrepro.runs import Record, Run

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
    "region_rebalance_moderate": "#A65F88",
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
    "lff": "#0F4C9C",
    "lff_authors": "#5B9BE6",
    "lff_cross_entropy": "#A5ABCB",
    "group_dro": "#C1440E",
    "repair": "#F2A65A",
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
ERROR_BARS = {"elinewidth": 1, "capsize": 2, "ecolor": "#333333"}
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


def class_iou_gain(
    runs: Mapping[str, Sequence[Run]], baseline: str = "plain", *, with_accuracy: bool = False
) -> Figure:
    """IoU of each class minus the baseline's, paired by seed, with 95 % intervals; the most frequent class on the left.

    runs: by configuration, the baseline among them. Rare classes are marked with a dagger. with_accuracy: the gain in
    accuracy in a second panel (Region Rebalance Figure 3).
    """
    record = runs[baseline][0].record
    order = np.argsort(-np.array(record.pixel_counts), kind="stable")
    names = [record.class_names[i] + (" †" if record.class_names[i] in record.rare_classes else "") for i in order]
    scores = ("IoU", "Acc") if with_accuracy else ("IoU",)
    size = (WIDTH, 1 + 3 * len(scores))
    figure, panels = plt.subplots(len(scores), 1, figsize=size, sharex=True, squeeze=False)
    for axes, score in zip(panels.flat, scores, strict=True):
        table = delta.class_gains(runs, baseline, score)
        others = table["configuration"].unique()
        for place, name in enumerate(others):
            rows = table[table["configuration"] == name]
            errors = np.abs(rows[["low", "high"]].to_numpy().T - rows["value"].to_numpy())
            at = np.arange(len(names)) + (place - (len(others) - 1) / 2) * 0.8 / len(others)
            axes.bar(at, rows["value"], 0.8 / len(others), yerr=errors, color=colour_of(name), label=label_of(name),
                     error_kw=ERROR_BARS)  # fmt: skip
        axes.axhline(0, color="#333333", linewidth=1)
        axes.set_ylabel(f"Δ{score} (points)")
        axes.grid(axis="x", visible=False)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(xlabel="classes by pixel frequency, the most frequent first (†: rare)", xlim=(-0.6, len(names) - 0.4))
    title = f"{' and '.join(scores)} gained over {label_of(baseline)}: {_seeds_note(runs)}"
    panels[0, 0].set_title(title, loc="left")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=4, frameon=False)
    return figure


def _seeds_note(runs: Mapping[str, Sequence[Run]]) -> str:
    count = min(len(found) for found in runs.values())
    return f"mean of {count} seeds, 95 % interval" if count > 1 else "one seed"


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


def iou_against_accuracy(runs: Mapping[str, Sequence[Run]], baseline: str = "plain") -> Figure:
    """Where each method takes each class, over the curves of constant b = FP/TP (Region Rebalance Figure 8).

    An arrow a class, from the baseline's to the method's, of counts summed over seeds; rare classes in colour.
    """
    record, others = runs[baseline][0].record, [name for name in runs if name != baseline]
    rare, ends = np.isin(record.class_names, record.rare_classes), {}
    curves = recall_precision.iou_curves([0, 0.5, 1, 3, 10])
    figure, panels = plt.subplots(1, len(others), figsize=(WIDTH, 4.8), sharey=True, squeeze=False)
    for axes, name in zip(panels[0], others, strict=True):
        for b, curve in curves.items():
            axes.plot(curve.index, curve, color="#BBBBBB", linewidth=1, zorder=1)
            axes.text(1.01, curve.iloc[-1], f"b = {b:g}", color="#777777", fontsize="small", va="center")
        counts = map(recall_precision.pooled, recall_precision.paired_counts(runs[name], runs[baseline]))
        ends[name], starts = (np.stack([metrics.class_accuracy(of), metrics.iou(of)], axis=1) for of in counts)
        for before, after, is_rare in zip(starts, ends[name], rare, strict=True):
            line = {"color": colour_of(name) if is_rare else "#999999", "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", after, before, arrowprops=line | {"arrowstyle": "->,head_width=0.2,head_length=0.3"})
        axes.set(title=f"{label_of(baseline)} → {label_of(name)}", xlabel="Acc", xlim=(0, 1), ylim=(0, 1), aspect=1)
        axes.grid(visible=False)
    panels[0, 0].set_ylabel("IoU")
    figure.draw_without_rendering()
    for axes, name in zip(panels[0], others, strict=True):
        _name_points(axes, ends[name][rare], np.array(record.class_names)[rare])
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
        _name_points(panel, np.stack([counts, 100 * accuracy], axis=1), record.class_names)
    return figure


def gains(table: pd.DataFrame, paper: Mapping[str, float], baseline: str = "plain") -> Figure:
    """Points of mean IoU that configurations gain over the baseline, with 95 % intervals, beside the paper's gains.

    table: from `analysis.scores.gains`; paper: by configuration's name, in points. A row for each name of either.
    """
    names = list(dict.fromkeys([*paper, *table.index]))
    figure, axes = plt.subplots(figsize=(WIDTH, 1.3 + 0.32 * len(names)))
    for row, name in enumerate(names):
        if name in table.index:
            axes.plot(table.loc[name, ["low", "high"]], [row, row], color=colour_of(name), linewidth=3)
            axes.plot(table.loc[name, "ΔmIoU"], row, "o", color=colour_of(name), markersize=8, zorder=3)
        if name in paper:
            axes.plot(paper[name], row, "D", color="#333333", markerfacecolor="white", markersize=7, zorder=4)
    axes.axvline(0, color="#333333", linewidth=1)
    axes.set_yticks(range(len(names)), [label_of(name) for name in names])
    axes.set(xlabel=f"ΔmIoU over {label_of(baseline)} (points)", ylim=(len(names) - 0.5, -0.5))
    marks = [
        Line2D([], [], color="#333333", marker="o", markersize=8, linewidth=3, label="here, 95 % interval"),
        Line2D([], [], color="#333333", marker="D", markerfacecolor="white", linewidth=0, label="the paper's"),
    ]
    figure.legend(handles=marks, loc="outside upper right", ncols=2, frameon=False)
    return figure


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
        panel.axhline(0, color="#333333", linewidth=1)
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
                errorbar=("pi", 100), err_kws={"linewidth": 1, "color": "#333333"}, ax=axes)  # fmt: skip
    background = table.loc[~table["foreground"], "class"].nunique()
    axes.axvspan(-0.5, background - 0.5, color="#dddddd", zorder=0)
    axes.axhline(100, color="#333333", linewidth=1)
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
    _class_legend(figure, classes, truth)
    return figure


def validation_curves(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """Validation mIoU over the training, mean over seeds, band from least to most (ESSNet Figure 4).

    panels: by title, tables from `analysis.scores.curves`; an empty one is left out.
    """
    panels = {title: table for title, table in panels.items() if len(table)}
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.4), sharey=True, squeeze=False)
    names = list(dict.fromkeys(name for table in panels.values() for name in table["configuration"]))
    palette = {name: colour_of(name) for name in names}
    for panel, (title, table) in zip(axes[0], panels.items(), strict=True):
        sns.lineplot(table, x="iteration", y="mIoU", hue="configuration", palette=palette, marker="o", legend=False,
                     errorbar=("pi", 100), ax=panel)  # fmt: skip
        panel.set(title=title, ylabel="validation mIoU (%)")
    handles = [Line2D([], [], color=colour, marker="o", label=label_of(name)) for name, colour in palette.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def class_iou(runs: Mapping[str, Sequence[Run]], baseline: str = "plain") -> Figure:
    """IoU of each class, mean over seeds, in the order of the baseline's (ESSNet Figure 5). Rare classes: a dagger."""
    record = runs[baseline][0].record
    means = {name: 100 * np.mean([metrics.iou(run.record.evaluations["val"]) for run in found], axis=0)
             for name, found in runs.items()}  # fmt: skip
    order = np.argsort(means[baseline], kind="stable")
    figure, axes = plt.subplots(figsize=(WIDTH, 4))
    for place, (name, iou) in enumerate(means.items()):
        at = np.arange(len(order)) + (place - (len(means) - 1) / 2) * 0.5 / len(means)  # side by side where they agree
        line = "o-" if name == baseline else "o"
        axes.plot(at, iou[order], line, color=colour_of(name), markersize=6, linewidth=1, label=label_of(name))
    _class_axis(axes, record, order)
    axes.set(ylabel="IoU (%)", xlabel=f"classes by the IoU of {label_of(baseline)} (†: rare)")
    figure.legend(loc="outside upper right", ncols=4, frameon=False)
    return figure


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
    _class_axis(axes, record, order)
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
    black = {"color_threshold": 0, "above_threshold_color": "#333333"}
    tree = hierarchy.dendrogram(links, orientation="left", no_labels=True, ax=left, **black)
    order = tree["leaves"]
    left.invert_yaxis()
    left.set(xlabel="1 − cosine")
    left.grid(visible=False)
    shown = np.where(np.eye(len(names), dtype=bool), np.nan, 100 * matrix)[np.ix_(order, order)]
    _heatmap(right, shown, [names[c] for c in order], cmap="vlag", vmin=-100, vmax=100)
    right.set_aspect("auto")
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
    grey = {"color": "#333333", "linewidth": 0}
    marks = [
        Line2D([], [], marker="o", markersize=4, label="measured", **grey),
        Line2D([], [], marker="*", markersize=13, label="largest", **grey),
        Line2D([], [], **(grey | {"linewidth": 1}), linestyle="--", label="1/k − 1/C"),
    ]
    figure.legend(handles=[*axes.lines[::4], *marks], loc="outside upper right", ncols=6, frameon=False)
    return figure


def combinations(table: pd.DataFrame) -> Figure:
    """Gains of pairs of methods over plain training (`analysis.combinations.gains`) as a triangle, each method alone on
    its diagonal; ± is half the 95 % interval, and a cross a pair that cannot be combined.
    """
    names = list(dict.fromkeys(table["first"]))
    matrix = np.full((len(names),) * 2, np.nan)
    figure, axes = plt.subplots(figsize=(0.7 * WIDTH, 0.5 * WIDTH), layout="constrained")
    possible = set()
    for row in table.itertuples():
        place = names.index(row.second), names.index(row.first)
        possible.add(place)
        matrix[place] = row.gain
        reach = f"\n± {(row.high - row.low) / 2:.1f}" if row.seeds > 1 else ""
        text = f"{row.gain:+.1f}{reach}" if row.seeds else "not\nrecorded"
        axes.text(place[1], place[0], text, ha="center", va="center", fontsize=9)
    limit = np.nanmax(np.abs(matrix), initial=1.0)
    image = axes.imshow(matrix, cmap="PuOr", vmin=-1.6 * limit, vmax=1.6 * limit)  # pale enough for the numbers
    for second, first in zip(*np.tril_indices(len(names)), strict=True):
        if (second, first) not in possible:
            axes.text(first, second, "×", ha="center", va="center", fontsize=14, color="#888888")
    labels = [label_of(name) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), labels)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="ΔmIoU against plain training, points")
    return figure


def _class_axis(axes: Axes, record: Record, order: Sequence[int]) -> None:
    """Classes along x in this order, named if there are few, rare ones with a dagger."""
    names = [record.class_names[c] + (" †" if record.class_names[c] in record.rare_classes else "") for c in order]
    if len(names) <= 60:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(axis="x", visible=False)


def _class_legend(figure: Figure, classes: Classes, maps: Sequence[np.ndarray]) -> None:
    """The colours of the classes that occur in the label maps, below the figure: of many the 42 with most pixels."""
    found, pixels = np.unique(np.concatenate([labels.ravel() for labels in maps]), return_counts=True)
    shown = np.sort(found[np.argsort(-pixels, kind="stable")[:42]])
    handles = [
        Patch(facecolor=np.array(classes.colours[c]) / 255, label=classes.names[c]) for c in shown if c != IGNORE
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=7, fontsize="small", frameon=False)


def _name_points(axes: Axes, points: np.ndarray, names: Sequence[str]) -> None:
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
