"""Correlation, erasure, confusion and imbalance, worked by hand."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from factories import make_run

from segrepro.analysis import confusion, correlation, cost, erasure, imbalance
from segrepro.datasets import colored_mnist
from segrepro.datasets.base import IGNORE, Classes
from segrepro.datasets.statistics import Statistics
from segrepro.errors import InputError
from segrepro.parameters import Training
from segrepro.runs import paired

# correlation


def test_similarity_of_vectors_at_known_angles():
    angles = np.radians([0, 60, 120])
    matrix = correlation.similarity(np.stack([2 * np.cos(angles), 2 * np.sin(angles)], axis=1))
    np.testing.assert_allclose(matrix, [[1, 0.5, -0.5], [0.5, 1, 0.5], [-0.5, 0.5, 1]], atol=1e-12)
    np.testing.assert_allclose(correlation.row_sums(matrix), [0, 1, 0], atol=1e-12)


def test_frequency_correlation_is_of_ranks():
    matrix = np.array([[1, 0.1, 0.2], [0.1, 1, 0.3], [0.2, 0.3, 1]])  # row sums 0.3, 0.4, 0.5
    assert correlation.frequency_correlation(matrix, [1000, 10, 1]) == pytest.approx(-1)
    assert correlation.frequency_correlation(matrix, [1, 10, 1000]) == pytest.approx(1)
    assert correlation.frequency_correlation(matrix, [10, 1000, 1]) == pytest.approx(
        -0.5
    )  # ranks 2, 3, 1 against 1, 2, 3


def test_row_sums_side_by_side():
    table = correlation.row_sum_table(
        {"Plain": np.full((2, 2), 0.4), "DropClass": np.full((2, 2), 0.1)}, ["road", "car"]
    )
    np.testing.assert_allclose(table.loc["car"], [0.4, 0.1, -0.3])
    assert list(table.columns) == ["Plain", "DropClass", "difference"]


def test_similarity_is_averaged_over_seeds(tmp_path):
    weights = ([[1, 0], [0, 1]], [[1, 0], [1, 0]])
    found = [
        make_run(tmp_path, seed=s, arrays={"classifier_weight": np.array(w, np.float32)}) for s, w in enumerate(weights)
    ]
    np.testing.assert_allclose(correlation.over_seeds(found), [[1, 0.5], [0.5, 1]])
    with pytest.raises(InputError, match="classifier_weight"):
        correlation.of_run(make_run(tmp_path, seed=2))


# erasure


def test_erased_pixels_change_colour_and_do_not_count():
    images = torch.arange(2 * 3 * 1 * 2, dtype=torch.uint8).view(2, 3, 1, 2)
    labels = torch.tensor([[[0, 1]], [[1, IGNORE]]])
    erased_images, erased_labels = erasure.erase(images, labels, 1, torch.tensor([200, 201, 202]))
    assert erased_labels.tolist() == [[[0, IGNORE]], [[IGNORE, IGNORE]]]
    assert erased_images[0, :, 0, 1].tolist() == [200, 201, 202]
    assert erased_images[1, :, 0, 0].tolist() == [200, 201, 202]
    assert erased_images[0, :, 0, 0].tolist() == images[0, :, 0, 0].tolist()
    assert erased_images[1, :, 0, 1].tolist() == images[1, :, 0, 1].tolist()
    assert erased_images.dtype == torch.uint8
    assert labels[0, 0, 1] == 1  # the given tensors stay as they were


NAMES = ("road", "car", "train", "sky", "pole")


def erasure_run(folder, losses, seed=0, methods=("plain",)):
    """IoU 0.8 for every class; erasing class [column] lowers that of class [row] by `losses` (C, C)."""
    ious = 0.8 - np.array(losses)
    tp = np.rint(1000 * ious).astype(np.int64)
    counts = np.stack([tp, np.zeros_like(tp), 1000 - tp], axis=1)  # (class, 3, erased class)
    counts = counts.transpose(2, 1, 0)  # (erased class, 3, class)
    return make_run(folder, names=NAMES, seed=seed, methods=methods, ious=[0.8] * 5, arrays={"erasure": counts})


BASELINE_LOSSES = [
    [0.0, 0.1, 0.2, 0.3, 0.4],
    [0.6, 0.0, 0.5, 0.4, 0.1],
    [0.0, 0.0, 0.0, 0.1, -0.1],
    [0.1, 0.1, 0.1, 0.0, 0.1],
    [0.2, 0.2, 0.0, 0.1, 0.0],
]


def test_erased_iou_has_the_class_in_the_row(tmp_path):
    matrix = erasure.erased_iou(erasure_run(tmp_path, BASELINE_LOSSES))
    assert matrix[1, 0] == pytest.approx(0.2)  # car without road
    assert matrix[0, 1] == pytest.approx(0.7)  # road without car
    assert np.isnan(np.diagonal(matrix)).all()
    with pytest.raises(InputError, match="erasure/counterfactual"):
        erasure.erased_iou(erasure_run(tmp_path, BASELINE_LOSSES), "erasure/counterfactual")


def test_influencers_are_the_three_largest_losses(tmp_path):
    run = erasure_run(tmp_path, BASELINE_LOSSES)
    triples = erasure.influencers(np.full(5, 0.8), erasure.erased_iou(run))
    assert triples.tolist() == [[4, 3, 2], [0, 2, 3], [3, 0, 1], [0, 1, 2], [0, 1, 3]]
    star = erasure.star_iou(erasure.erased_iou(run), triples)
    np.testing.assert_allclose(star, [0.5, 0.3, 0.8 - 0.1 / 3, 0.7, 0.8 - 0.5 / 3], atol=1e-9)


def test_both_runs_use_the_baselines_triples(tmp_path):
    baseline = erasure_run(tmp_path, BASELINE_LOSSES)
    losses = np.array(BASELINE_LOSSES)
    losses[0] = [
        0.0,
        0.7,
        0.0,
        0.0,
        0.0,
    ]  # the method needs another class: not among the baseline's influencers of road
    table = erasure.compare(erasure_run(tmp_path, losses, methods=["dropclass"]), baseline)
    assert table.loc["road", ("baseline", "influencers")] == "pole, sky, train"
    assert table.loc["road", ("baseline", "I*-I")] == pytest.approx(-30)
    assert table.loc["road", ("method", "I*-I")] == pytest.approx(0)
    assert table.loc["car", ("method", "I*")] == pytest.approx(30)
    assert erasure.vulnerable(table) == ["car", "road"]  # 5 x 9 / 19, rounded down


# confusion


def test_row_shares_and_top_confusions():
    matrix = np.array([[90, 10, 0], [30, 60, 10], [0, 0, 0]])
    shares = confusion.row_shares(matrix)
    np.testing.assert_allclose(shares, [[90, 10, 0], [30, 60, 10], [np.nan] * 3])
    table = confusion.top_confusions(matrix, ["road", "car", "train"], count=2)
    assert table.values.tolist() == [["car", "road", 30.0], ["road", "car", 10.0]]
    assert (
        len(confusion.top_confusions(matrix, ["road", "car", "train"])) == 3
    )  # confusions that never happen are left out


def test_top_confusions_of_the_baseline_and_what_became_of_them():
    baseline, method = np.array([[50, 50], [10, 90]]), np.array([[80, 20], [15, 85]])
    table = confusion.top_confusions(method, ["road", "car"], baseline=baseline)
    assert list(table.columns) == ["label", "taken for", "baseline", "percent", "change"]
    assert table.values.tolist() == [["road", "car", 50.0, 20.0, -30.0], ["car", "road", 10.0, 15.0, 5.0]]


def test_counts_are_summed_over_seeds(tmp_path):
    found = [make_run(tmp_path, seed=s, names=("a", "b"), rare=("b",), matrix=np.full((2, 2), s + 1)) for s in range(2)]
    assert confusion.of_runs(found).tolist() == [[3, 3], [3, 3]]


# imbalance


def test_frequencies_by_pixels_and_images():
    classes = Classes(("sky", "road", "train"), ((0, 0, 0),) * 3, rare=("train",))
    presence = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 1, 0]], dtype=bool)
    statistics = Statistics(np.array([20, 75, 5]), presence)
    table = imbalance.frequency_table(statistics, classes)
    assert list(table.index) == ["road", "sky", "train"]
    np.testing.assert_allclose(table["pixels %"], [75, 20, 5])
    np.testing.assert_allclose(table["images %"], [100, 50, 25])
    assert table["rare"].tolist() == [False, False, True]
    np.testing.assert_allclose(
        imbalance.conditional_co_occurrence(statistics), [[100, 100, 0], [50, 100, 25], [0, 100, 100]]
    )


def test_a_class_in_no_image_has_no_company():
    statistics = Statistics(np.array([1, 0]), np.array([[1, 0]], dtype=bool))
    np.testing.assert_array_equal(imbalance.conditional_co_occurrence(statistics), [[100, 0], [np.nan, np.nan]])


def test_costs_are_of_one_step_of_each(monkeypatch):
    """In turns, without the round that warms up; a data set of scenes, and one of digits for what reads a bias.

    By a clock that shows 0, 1, 4, 9, ...: one step after another takes 1, 5, 9, 13, 17 and 21.
    """
    scenes = Training(architecture="fpn", encoder="resnet10t", pretrained=False, batch_size=2)
    digits = Training(**colored_mnist.DEFAULTS | {"batch_size": 4})
    for data, parameters, name in (
        (cost.scenes((32, 64), 2), scenes, "essnet"),
        (cost.digits(40), digits, "group_dro"),
    ):
        squares = (i**2 for i in itertools.count())
        monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=squares.__next__))
        seconds = cost.step_seconds(data, parameters, ["plain", name], rounds=2)
        assert {key: of.tolist() for key, of in seconds.items()} == {"plain": [9, 17], name: [13, 21]}


def test_runs_are_paired_by_seed(tmp_path):
    first, second = ([make_run(tmp_path, seed=s, methods=[m]) for s in seeds]
                     for m, seeds in (("plain", (3, 0, 2)), ("dropclass", (2, 5, 3))))  # fmt: skip
    assert paired(first, second) == [(first[2], second[0]), (first[0], second[2])]
    assert paired(first, []) == []
