"""Scores as pure functions of confusion counts, all in fractions 0..1.

Every function takes counts in any of the forms in which they are kept (see `tp_fp_fn`). A class that occurs in
neither labels nor predictions has no IoU, and one that is not in the labels no accuracy: both are nan and left out of
means. (Some code counts such a class as 0, which makes a mean depend on which images happened to be in the set.)
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Tallies(NamedTuple):
    """True positives, false positives and false negatives in pixels, each (..., C) with the same leading axes."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray


Counts = np.ndarray | Mapping | Tallies


def tp_fp_fn(counts: Counts) -> Tallies:
    """TP, FP and FN per class, from any of the forms in which counts are kept.

    A matrix (..., C, C), rows the label and columns the prediction; what a record stores (a mapping with "matrix", or
    with "tp", "fp", "fn"); or Tallies, returned as they are.
    """
    if isinstance(counts, Tallies):
        return counts
    if isinstance(counts, Mapping):
        if "matrix" not in counts:
            return Tallies(*(np.asarray(counts[name], dtype=np.int64) for name in ("tp", "fp", "fn")))
        counts = counts["matrix"]
    matrix = np.asarray(counts)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"a confusion matrix is square (..., C, C), not {matrix.shape}")
    tp = np.diagonal(matrix, axis1=-2, axis2=-1)
    return Tallies(tp, matrix.sum(axis=-2) - tp, matrix.sum(axis=-1) - tp)


def iou(counts: Counts) -> np.ndarray:
    """TP / (TP + FP + FN) per class (..., C); nan for a class in neither labels nor predictions."""
    tp, fp, fn = tp_fp_fn(counts)
    return ratio(tp, tp + fp + fn)


def mean_iou(counts: Counts, subset: Sequence[int] | None = None) -> np.ndarray:
    """Mean IoU (...) over all classes, or over those with the labels in `subset`; nan if none of them occurs."""
    return _mean(iou(counts), subset)


def class_accuracy(counts: Counts) -> np.ndarray:
    """TP / (TP + FN) per class (..., C); nan for a class that is not in the labels."""
    tp, _, fn = tp_fp_fn(counts)
    return ratio(tp, tp + fn)


def mean_accuracy(counts: Counts, subset: Sequence[int] | None = None) -> np.ndarray:
    """Mean accuracy (...) over the classes, or those of `subset`, that are in the labels."""
    return _mean(class_accuracy(counts), subset)


def pixel_accuracy(counts: Counts) -> np.ndarray:
    """Share (...) of the labelled pixels that are predicted right."""
    tp, _, fn = tp_fp_fn(counts)
    return ratio(tp.sum(axis=-1), (tp + fn).sum(axis=-1))


def frequency_weighted_iou(counts: Counts) -> np.ndarray:
    """IoU (...) averaged with each class's share of the labelled pixels as its weight (fIoU)."""
    tp, _, fn = tp_fp_fn(counts)
    labelled = tp + fn
    return ratio((labelled * np.nan_to_num(iou(counts))).sum(axis=-1), labelled.sum(axis=-1))


def ratio(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    """part / whole, element by element in the shape of both; nan where the whole is not above 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, dtype=float), whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _mean(scores: np.ndarray, subset: Sequence[int] | None) -> np.ndarray:
    """Mean over the last axis without nan; nan, and no warning, where nothing is left."""
    scores = scores if subset is None else scores[..., list(subset)]
    return ratio(np.nansum(scores, axis=-1), np.isfinite(scores).sum(axis=-1))
