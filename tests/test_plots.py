"""Figures show what they are given: names, labels, colours, values."""

import numpy as np
from factories import NAMES, make_run, texts
from matplotlib.colors import to_hex

from segrepro import ledger, plots
from segrepro.analysis import imbalance
from segrepro.datasets.base import Classes
from segrepro.datasets.statistics import Statistics


def test_every_configuration_has_a_colour_of_its_own():
    names = [name for name in ledger.load().configurations if "+" not in name]  # pairs are shown in their own figure
    assert len({plots.colour_of(name) for name in names} - {plots.OTHER_COLOUR}) == len(names)


def test_class_iou_gain(tmp_path):
    """ΔIoU +10, -5 and 0 points in both seeds; the most frequent class comes first, rare ones have a dagger."""
    options = {"pixel_counts": [10, 1000, 100], "rare": ["road"]}
    runs = {
        "plain": [make_run(tmp_path, seed=s, **options) for s in range(2)],
        "dropclass": [
            make_run(tmp_path, seed=s, methods=["dropclass"], ious=[0.5, 0.6, 0.45], **options) for s in range(2)
        ],
    }
    figure = plots.class_iou_gain(runs)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["car", "train", "road †"]
    bars = [patch for patch in axes.patches if to_hex(patch.get_facecolor()) == plots.COLOURS["dropclass"].lower()]
    np.testing.assert_allclose([bar.get_height() for bar in bars], [10, -5, 0], atol=1e-9)
    assert {"DropClass", "ΔIoU (points)", "IoU gained over Plain: mean of 2 seeds, 95 % interval"} <= texts(figure)
    one_seed = plots.class_iou_gain({name: found[:1] for name, found in runs.items()})
    assert "IoU gained over Plain: one seed" in texts(one_seed)


def test_matrices_are_labelled_and_numbered():
    matrix = np.array([[1, 0.25, 0], [0.25, 1, -0.5], [0, -0.5, 1]])
    shown = texts(plots.correlation_matrices({"plain": matrix, "dropclass": matrix / 2}, NAMES))
    assert {*NAMES, "Plain", "DropClass", "25", "-50", "-25"} <= shown
    assert "100" not in shown  # the diagonal says nothing
    losses = np.array([[np.nan, 12.0, 0], [3.0, np.nan, 0], [0, -4.0, np.nan]])
    assert {"12", "3", "-4", "class that is gone", "Plain"} <= texts(plots.erasure_matrices({"plain": losses}, NAMES))
    assert {"25", "... also have"} <= texts(plots.co_occurrence(np.array([[100, 25], [50, 100]]), ["a", "b"]))


def test_confusions_and_their_difference():
    baseline, method = np.array([[50, 50], [10, 90]]), np.array([[80, 20], [10, 90]])
    figure = plots.confusion_matrices({"plain": baseline, "dropclass": method}, ["road", "car"])
    shown = texts(figure)
    assert {"Plain (%)", "DropClass (%)", "DropClass − Plain (points)", "road → car", "80", "30", "-30"} <= shown
    widths = [bar.get_width() for bar in figure.axes[3].patches]
    assert widths == [50, 10, 20, 10]


def test_many_classes_are_drawn_without_numbers():
    count = 40
    figure = plots.co_occurrence(np.full((count, count), 37.0), [f"class {i}" for i in range(count)])
    assert "37" not in texts(figure)
    assert "class 39" in texts(figure)


def test_class_frequencies():
    classes = Classes(NAMES, ((0, 0, 0),) * 3, rare=("train",))
    statistics = Statistics(np.array([900, 90, 10]), np.array([[1, 1, 0], [1, 0, 1]], dtype=bool))
    figure = plots.class_frequencies(
        imbalance.frequency_table(statistics, classes), pif=statistics.pif, rif=statistics.rif
    )
    assert {"train †", "pixels (largest / smallest: 90)", "images with the class (2.0)"} <= texts(figure)
    assert figure.axes[0].get_yscale() == "log"


def test_loss_curves_have_every_term(tmp_path):
    history = [{"iteration": i, "learning_rate": 0.1, "loss": 3.0 - i, "cross_entropy": 1.0} for i in (1, 2)]
    drop = [history[0], {**history[1], "suppression": 0.5}]  # a term may be missing at first
    runs = {
        "plain": [make_run(tmp_path, seed=s, history=history) for s in range(2)],
        "dropclass": [make_run(tmp_path, methods=["dropclass"], seed=s, history=drop) for s in range(2)],
    }
    figure = plots.loss_curves(runs)
    assert {"Plain", "DropClass", "loss", "cross entropy", "suppression"} <= texts(figure)
    assert [len(axes.lines) for axes in figure.axes] == [2, 3]


def test_segmentation_examples():
    classes = Classes(NAMES, ((0, 90, 120), (40, 90, 120), (80, 90, 120)))
    labels = np.array([[[0, 0, -1, 1]]] * 2, dtype=np.int16)
    columns = {"image": np.full((2, 1, 4, 3), 7, np.uint8), "ground truth": labels, "dropclass": np.zeros_like(labels)}
    figure = plots.segmentation_examples(columns, classes)
    assert {"image", "ground truth", "DropClass", "road", "car"} <= texts(figure)
    assert "train" not in texts(figure)  # the legend has the classes that are shown
    truth = figure.axes[1].images[0].get_array()
    assert truth[0].tolist() == [[0, 90, 120], [0, 90, 120], [255, 255, 255], [40, 90, 120]]
    assert len(figure.axes) == 6
