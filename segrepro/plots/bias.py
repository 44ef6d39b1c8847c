"""Figures of Learning from Failure: what a bias is, how it is learned, and what the methods make of it.

As in `segrepro.plots`, configurations are named as in the ledger and keep their colours; accuracies are in percent.
Lines are means over seeds, bands reach from the least to the most.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from segrepro.analysis import bias
from segrepro.plots.style import DARK, ERROR_BARS, KIND_COLOURS, WIDTH, colour_of, label_of
from segrepro.runs import Run

BIASED_COLOUR = "#CC79A7"  # of LfF's f_B
BAND = {"errorbar": ("pi", 100), "marker": "o", "markersize": 4}


def accuracy_by_share(
    runs: Mapping[str, Mapping[str, Sequence[Run]]], paper: pd.DataFrame, kind: str = "unbiased"
) -> Figure:
    """An accuracy by kind against the share of conflicting training images, here and in the paper (Tables 2 and 3).

    runs: by aligned share in percent, then by configuration; paper: rows of `claims.table("lff", 2)` or of 3, on one
    data set. Error bars: standard deviation over seeds.
    """
    names = list(dict.fromkeys(name for of in runs.values() for name, found in of.items() if found))
    points = {"here": {}, "the paper": {}}
    for share, of in runs.items():
        for name in (name for name in names if of.get(name)):
            values = [bias.of_run(run)[kind] for run in of[name]]
            deviation = np.std(values, ddof=1) if len(values) > 1 else np.nan
            points["here"].setdefault(name, []).append((100 - float(share), np.mean(values), deviation))
    for row in paper.itertuples():
        name, share = bias.PRINTED[row.method], float(row.setting.split(";")[0].removeprefix("ratio="))
        points["the paper"].setdefault(name, []).append((100 - share, row.value, row.std))
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.8), sharey=True)
    for panel, (title, of) in zip(axes, points.items(), strict=True):
        for name in (name for name in of if name in names or title == "here"):
            x, y, deviation = np.transpose(of[name])
            panel.errorbar(x, y, deviation, marker="o", color=colour_of(name), **ERROR_BARS | {"ecolor": None})
        ticks = sorted({100 - float(share) for share in runs})
        ends = ticks[0] / 1.2, ticks[-1] * 1.2  # also where some shares are not recorded yet
        panel.set(title=title, xlabel="conflicting training images (%)", xscale="log", xlim=ends, ylim=(0, 100))
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.minorticks_off()
    axes[0].set_ylabel(f"accuracy on {kind} images (%)" if kind != "unbiased" else "unbiased accuracy (%)")
    handles = [Line2D([], [], color=colour_of(name), marker="o", label=label_of(name)) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    return figure


def losses_by_alignment(panels: Mapping[str, Sequence[Run]]) -> Figure:
    """Mean loss of aligned and of conflicting training samples over the training, runs by title (Figure 2)."""
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.4), sharey=True, squeeze=False)
    for panel, (title, runs) in zip(axes[0], panels.items(), strict=True):
        table = bias.curves(runs)
        for kind, colour in KIND_COLOURS.items():
            sns.lineplot(table, x="iteration", y=f"loss {kind}", color=colour, ax=panel, **BAND)
        panel.set(title=title, ylabel="loss of training images (nats)")
        panel.set_ylim(bottom=0)
    _kinds_legend(figure)
    return figure


def accuracy_curves(lines: Mapping[str, tuple[Sequence[Run], str | None]]) -> Figure:
    """Accuracy on aligned and on conflicting images over the training (Figure 4).

    lines: runs and one of their heads (None: their own prediction), by the name of a configuration, or any other for
    LfF's f_B. Dotted: guessing.
    """
    tables = {name: bias.curves(runs, head) for name, (runs, head) in lines.items()}
    colours = {name: BIASED_COLOUR if head else colour_of(name) for name, (_, head) in lines.items()}
    classes = len(next(iter(lines.values()))[0][0].record.class_names)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.6), sharey=True)
    for panel, kind in zip(axes, bias.KINDS[1:], strict=True):
        for name, table in tables.items():
            sns.lineplot(table, x="iteration", y=kind, color=colours[name], ax=panel, **BAND)
        panel.axhline(100 / classes, color=DARK, linewidth=1, linestyle=":")
        panel.set(title=f"{kind} images", ylabel="accuracy (%)", ylim=(-3, 103))
    handles = [Line2D([], [], color=colours[name], marker="o", label=label_of(name)) for name in lines]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(lines), frameon=False)
    return figure


def unbiased_curves(panels: Mapping[str, Mapping[str, Sequence[Run]]], printed: Mapping[str, float]) -> Figure:
    """Unbiased accuracy over the training, one panel a setting: runs by title, then by configuration.

    printed: the paper's accuracy after training by configuration, dashed. A ring marks the highest mean on the way.
    """
    names = list(dict.fromkeys(name for of in panels.values() for name, runs in of.items() if runs))
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.7), sharey=True, squeeze=False)
    for panel, (title, of) in zip(axes[0], panels.items(), strict=True):
        for name in (name for name in names if of.get(name)):
            table = bias.curves(of[name])
            sns.lineplot(
                table, x="iteration", y="unbiased", color=colour_of(name), ax=panel, **BAND | {"markersize": 0}
            )
            means = table.groupby("iteration")["unbiased"].mean()
            panel.plot(means.idxmax(), means.max(), "o", color=colour_of(name), markerfacecolor="white", zorder=4)
        for name in (name for name in names if name in printed):
            panel.axhline(printed[name], color=colour_of(name), linewidth=1, linestyle="--")
        panel.set(title=title, ylabel="unbiased accuracy (%)", ylim=(0, 100))
    handles = [Line2D([], [], color=colour_of(name), label=label_of(name)) for name in names]
    handles.append(Line2D([], [], color=DARK, linewidth=1, linestyle="--", label="the paper"))
    handles.append(Line2D([], [], color=DARK, marker="o", markerfacecolor="white", linewidth=0, label="highest"))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    return figure


def relative_difficulty(runs: Mapping[str, Sequence[Run]]) -> Figure:
    """How the relative difficulty W of training samples is distributed at the end, all seeds together, one panel a
    configuration; its title has the mean area under the ROC curve of W as a detector of conflicting samples.
    """
    figure, axes = plt.subplots(1, len(runs), figsize=(WIDTH, 3.2), sharey=True, squeeze=False)
    for panel, (name, found) in zip(axes[0], runs.items(), strict=True):
        of = [bias.difficulty(run) for run in found]
        for kind, colour in KIND_COLOURS.items():
            values = np.concatenate([weights[kind] for weights in of])
            shares = np.full(len(values), 100 / len(values))
            panel.hist(values, np.linspace(0, 1, 21), weights=shares, color=colour, alpha=0.6)
        detected = np.mean([bias.detection(run) for run in found])
        panel.set(title=f"{label_of(name)}: area {detected:.2f}", xlabel="relative difficulty W")
    axes[0, 0].set_ylabel("training images\nof their kind (%)")
    _kinds_legend(figure)
    return figure


def _kinds_legend(figure: Figure) -> None:
    handles = [Line2D([], [], color=colour, linewidth=4, label=kind) for kind, colour in KIND_COLOURS.items()]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False)
