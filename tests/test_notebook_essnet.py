"""What the ESSNet notebook shows: the truncation error as built and measured, curves, class vectors, their figures."""

import numpy as np
import pytest
import torch
from factories import NAMES, make_run, texts
from matplotlib.colors import to_hex

from segrepro import plots
from segrepro.analysis import correlation, scores, truncation
from segrepro.datasets.base import Classes


def curve(*ious):
    """Evaluations every 100 iterations; each class has the same IoU."""
    points = [[round(1e6 * share)] * 3 for iou in ious for share in (iou, 0, 1 - iou)]
    return [
        {"iteration": 100 * (i + 1), **dict(zip(("tp", "fp", "fn"), points[3 * i : 3 * i + 3], strict=True))}
        for i in range(len(ious))
    ]


@pytest.mark.parametrize("t", [1.0, 0.3, 1e-4])
@pytest.mark.parametrize("classes", [1, 2, 19, 1284])
def test_the_others_lie_on_a_circle_around_the_pixel(classes, t):
    x, mu, y = truncation.target_nearest(classes, t)
    assert mu.shape == (classes, 3)
    torch.testing.assert_close(torch.linalg.vector_norm(mu, dim=1), torch.ones(classes, dtype=torch.float64))
    squared = (x - mu).square().sum(1)
    assert squared[y] == 0
    torch.testing.assert_close(torch.exp(-squared[1:] / truncation.TAU), torch.full((classes - 1,), t).double())
    if t < 1:
        assert len(mu.unique(dim=0)) == classes


def test_the_losses_measure_the_closed_form_and_its_maximum():
    """k = 2 of C = 5: r = 1/2, so the largest error is 1/3, at t = 1/2, with p_bar = 2/3 and p = 1/3."""
    (row,) = truncation.worst_cases(2, [5]).itertuples(index=False)
    assert tuple(row) == pytest.approx((1 / 2 - 1 / 5, 1 / 3, 1 / 2, 2 / 3, 1 / 3, 1 / 3), abs=1e-12)
    errors = truncation.errors(7, [19, 150])
    assert sorted(set(errors["classes"])) == [19, 150]
    np.testing.assert_allclose(errors["measured"], errors["closed form"], atol=1e-12)
    largest, worst = errors.groupby("classes")["measured"].max(), truncation.worst_cases(7, [19, 150])
    assert (largest <= worst["worst"]).all()
    assert (largest > 0.99 * worst["worst"]).all()
    assert (largest > 2 * worst["1/k - 1/C"]).all()  # what the paper calls the worst case
    at_one = errors[errors["t"] == 1].set_index("classes")["measured"]
    np.testing.assert_allclose(at_one, worst["1/k - 1/C"], atol=1e-12)


def test_one_neighbour_is_worst_where_all_are_equally_far():
    (row,) = truncation.worst_cases(1, [4]).itertuples(index=False)
    assert tuple(row) == pytest.approx((3 / 4, 3 / 4, 1, 1, 1 / 4, 3 / 4))


def test_the_error_as_a_figure():
    worst = truncation.worst_cases(7, [19, 1284])
    figure = plots.truncation_errors(truncation.errors(7, [19, 1284]), worst)
    assert {"C = 19", "C = 1284", "measured", "largest", "1/k − 1/C"} <= texts(figure)
    stars = [line.get_xydata()[0] for line in figure.axes[0].lines if line.get_marker() == "*"]
    np.testing.assert_allclose(stars, [(108**-0.5, 0.2679), (7698**-0.5, 0.8719)], atol=1e-4)


def test_agreement_of_the_seeds(tmp_path):
    """Class vectors at 0, 60 and 90 degrees; turned, they keep their relations, and permuted they do not."""
    vectors = np.array([[1, 0], [0.5, 3**0.5 / 2], [0, 1]], dtype=np.float32)
    turned = vectors @ np.array([[0, 2], [-2, 0]], dtype=np.float32)
    runs = [make_run(tmp_path, seed=s, arrays={"classifier_weight": w}) for s, w in enumerate([vectors, turned])]
    assert correlation.agreement(runs) == pytest.approx(1)
    cosines = [1 / 2, 0, 3**0.5 / 2]  # of the pairs 01, 02, 12; with 0 and 1 exchanged 01, 12, 02
    other = make_run(tmp_path, seed=2, arrays={"classifier_weight": vectors[[1, 0, 2]]})
    expected = np.corrcoef(cosines, [cosines[0], cosines[2], cosines[1]])[0, 1]
    assert correlation.agreement([*runs, other]) == pytest.approx((1 + 2 * expected) / 3)
    assert np.isnan(correlation.agreement(runs[:1]))


def test_curves_end_with_the_last_evaluation(tmp_path):
    runs = {"plain": [make_run(tmp_path, curve=curve(0.1, 0.2, 0.4), ious=[0.5] * 3)], "essnet": []}
    table = scores.curves(runs)
    assert list(table["iteration"]) == [100, 200, 300, 400]
    np.testing.assert_allclose(table["mIoU"], [10, 20, 40, 50])
    assert set(table["configuration"]) == {"plain"}


def test_convergence_in_iterations(tmp_path):
    """95 % of 0.5 is 0.475: half-way between 0.45 at 300 and 0.5 at 400 of 500 iterations."""
    options = {"ious": [0.5] * 3, "iterations": 500}
    runs = {
        "plain": [make_run(tmp_path, curve=curve(0.1, 0.2, 0.45, 0.5), **options)],
        "essnet": [make_run(tmp_path, methods=["essnet"], curve=curve(0.1), **options)],
        "essnet_k4": [],
    }
    table = scores.convergence(runs)
    assert table.to_dict() == {"iterations to 95 %": {"Plain": "350"}}
    runs["plain"].append(make_run(tmp_path, seed=1, curve=curve(0.45, 0.5, 0.5, 0.5), **options))
    assert scores.convergence(runs).loc["Plain"].item() == "250 ± 141"
    assert scores.convergence({}).empty


def test_validation_curves(tmp_path):
    runs = [make_run(tmp_path, seed=s, curve=curve(0.1 + 0.1 * s, 0.4)) for s in range(2)]
    tables = {"first": scores.curves({"plain": runs, "essnet": []}), "second": scores.curves({"essnet_k4": []})}
    figure = plots.validation_curves(tables)
    (axes,) = figure.axes
    assert axes.get_title() == "first"
    assert {"Plain", "validation mIoU (%)"} <= texts(figure)
    assert "ESSNet" not in texts(figure)
    (line,) = axes.lines
    assert to_hex(line.get_color()) == plots.COLOURS["plain"]
    np.testing.assert_allclose(line.get_xydata(), [(100, 15), (200, 40), (400, 50)])


def test_class_iou_is_in_the_baselines_order(tmp_path):
    runs = {
        "plain": [make_run(tmp_path, ious=[0.9, 0.1, 0.5])],
        "essnet": [make_run(tmp_path, seed=s, methods=["essnet"], ious=[0.8, 0.2 + 0.2 * s, 0]) for s in range(2)],
    }
    axes = plots.class_iou(runs).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["car †", "train †", "road"]
    np.testing.assert_allclose([line.get_ydata() for line in axes.lines], [[10, 50, 90], [30, 0, 80]])


def test_many_classes_have_no_names_on_the_axis(tmp_path):
    names = [f"class {c}" for c in range(100)]
    runs = {"plain": [make_run(tmp_path, names=names, rare=[])]}
    assert not texts(plots.class_iou(runs)) & set(names)


def test_class_lengths_are_relative_to_the_runs_mean(tmp_path):
    """Lengths 1, 2, 3 and 10, 20, 30: both 0.5, 1, 1.5; "train" is the most frequent class."""
    runs = [
        make_run(tmp_path, seed=s, pixel_counts=[1, 2, 3], arrays={"classifier_weight": 10**s * np.diag([1.0, 2, 3])})
        for s in range(2)
    ]
    axes = plots.class_lengths({"plain": runs}).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["train †", "car †", "road"]
    for line in axes.lines:
        np.testing.assert_allclose(line.get_ydata(), [1.5, 1, 0.5])


def test_class_tree_puts_the_alike_side_by_side():
    matrix = np.array([[1, -0.5, 0.25], [-0.5, 1, 0], [0.25, 0, 1]])
    figure = plots.class_tree(matrix, NAMES)
    tree, heatmap = figure.axes
    rows = [label.get_text() for label in heatmap.get_yticklabels()]
    assert rows in (
        ["road", "train", "car"],
        ["train", "road", "car"],
        ["car", "road", "train"],
        ["car", "train", "road"],
    )
    assert {"25", "-50"} <= texts(figure)
    assert max(x for path in tree.collections[0].get_paths() for x in path.vertices[:, 0]) == pytest.approx(1.25)


def test_class_tree_draws_no_numbers_for_many_classes():
    figure = plots.class_tree(np.full((40, 40), 0.37) + 0.63 * np.eye(40), [f"class {c}" for c in range(40)])
    assert "37" not in texts(figure)


def test_a_legend_of_many_classes_names_those_with_most_pixels():
    classes = Classes(tuple(f"class {c}" for c in range(60)), ((0, 0, 0),) * 60)
    labels = np.repeat(np.arange(60), np.arange(1, 61)).reshape(61, 30)  # class c has c + 1 pixels
    columns = {"image": [np.zeros((61, 30, 3), np.uint8)], "ground truth": [labels]}
    shown = texts(plots.segmentation_examples(columns, classes))
    assert {f"class {c}" for c in range(18, 60)} <= shown
    assert "class 17" not in shown
