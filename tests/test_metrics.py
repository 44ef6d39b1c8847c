"""Scores worked by hand."""

import numpy as np
import pytest

from segrepro import metrics

# label 0: 6 pixels, 4 right, 2 taken for 1; label 1: 4 pixels, 3 right, 1 taken for 0; class 2 occurs nowhere
MATRIX = np.array([[4, 2, 0], [1, 3, 0], [0, 0, 0]])


def test_tallies_of_a_matrix():
    tp, fp, fn = metrics.tp_fp_fn(MATRIX)
    assert tp.tolist() == [4, 3, 0]
    assert fp.tolist() == [1, 2, 0]
    assert fn.tolist() == [2, 1, 0]


def test_scores_by_hand():
    np.testing.assert_allclose(metrics.iou(MATRIX), [4 / 7, 3 / 6, np.nan])
    np.testing.assert_allclose(metrics.class_accuracy(MATRIX), [4 / 6, 3 / 4, np.nan])
    assert metrics.mean_iou(MATRIX) == pytest.approx((4 / 7 + 1 / 2) / 2)
    assert metrics.mean_iou(MATRIX, [1, 2]) == pytest.approx(1 / 2)
    assert metrics.mean_accuracy(MATRIX) == pytest.approx((4 / 6 + 3 / 4) / 2)
    assert metrics.mean_accuracy(MATRIX, [0]) == pytest.approx(4 / 6)
    assert metrics.pixel_accuracy(MATRIX) == pytest.approx(7 / 10)
    assert metrics.frequency_weighted_iou(MATRIX) == pytest.approx(0.6 * 4 / 7 + 0.4 * 1 / 2)


def test_a_class_only_predicted_has_iou_zero_and_no_accuracy():
    matrix = np.array([[4, 1], [0, 0]])
    np.testing.assert_array_equal(metrics.iou(matrix), [0.8, 0.0])
    np.testing.assert_array_equal(metrics.class_accuracy(matrix), [0.8, np.nan])
    assert metrics.mean_iou(matrix) == pytest.approx(0.4)
    assert metrics.mean_accuracy(matrix) == pytest.approx(0.8)


@pytest.mark.filterwarnings("error")  # an empty mean must not warn either
def test_nothing_counted_gives_nan():
    empty = np.zeros((2, 2), dtype=np.int64)
    for score in (metrics.mean_iou, metrics.mean_accuracy, metrics.pixel_accuracy, metrics.frequency_weighted_iou):
        assert np.isnan(score(empty))
    assert np.isnan(metrics.mean_iou(MATRIX, [2]))


def test_every_stored_form_gives_the_same_scores():
    tallies = metrics.tp_fp_fn(MATRIX)
    stored = {"tp": [4, 3, 0], "fp": [1, 2, 0], "fn": [2, 1, 0]}
    for form in (tallies, stored, {"matrix": MATRIX.tolist()}):
        np.testing.assert_array_equal(metrics.iou(form), metrics.iou(MATRIX))
        assert metrics.frequency_weighted_iou(form) == metrics.frequency_weighted_iou(MATRIX)


def test_leading_axes_are_kept():
    stack = np.stack([MATRIX, MATRIX.T])
    assert metrics.iou(stack).shape == (2, 3)
    np.testing.assert_allclose(metrics.mean_iou(stack)[0], metrics.mean_iou(MATRIX))
    assert metrics.pixel_accuracy(stack).shape == (2,)


def test_a_matrix_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match="square"):
        metrics.iou(np.zeros((2, 3)))
