"""What a gain in accuracy does to IoU (Region Rebalance Section 3.1, Supplements B and C).

Accuracy here is a class's recall, Acc = TP / (TP + FN); b = FP / TP is what false positives cost. All scores are
fractions 0..1, counts in any of the forms of `metrics.tp_fp_fn`, with C classes.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from segrepro import metrics
from segrepro.metrics import Counts, Tallies
from segrepro.runs import Run, paired


def false_positive_ratio(counts: Counts) -> np.ndarray:
    """b = FP / TP per class (..., C); nan where TP = 0."""
    tp, fp, _ = metrics.tp_fp_fn(counts)
    return metrics.ratio(fp, tp)


def iou_of(accuracy: np.ndarray | float, b: np.ndarray | float) -> np.ndarray | float:
    """Eq. (3), 1/IoU = 1/Acc + b, solved for IoU = Acc / (1 + b Acc), which is 0 at Acc = 0 (Figure 8)."""
    return accuracy / (1 + b * accuracy)


def iou_slope(accuracy: np.ndarray | float, b: np.ndarray | float) -> np.ndarray | float:
    """dIoU/dAcc = 1 / (1 + b Acc)^2 with b held fixed: how much of a gain in accuracy arrives in IoU."""
    return 1 / (1 + b * accuracy) ** 2


def iou_curves(ratios: Sequence[float], points: int = 101) -> pd.DataFrame:
    """Figure 8: IoU (points, len(ratios)) over accuracies from 0 to 1 [rows], one column a ratio b."""
    accuracy = np.linspace(0, 1, points)
    curves = {b: iou_of(accuracy, b) for b in ratios}
    return pd.DataFrame(curves, index=pd.Index(accuracy, name="Acc")).rename_axis("b = FP/TP", axis="columns")


def remark_1_margin(method: Counts, baseline: Counts) -> np.ndarray:
    """K n_y - (FP^r - (1 + K) FP) per class (..., C) in pixels: above 0 exactly where IoU rises (Remark 1).

    The method has FP^r and accuracy (1 + K) A, the baseline FP and A; n_y = TP + FN, the same for both. nan where the
    baseline has TP = 0. The paper asks for K >= 0; the equivalence holds for any K.
    """
    tp, fp, fn = metrics.tp_fp_fn(baseline)
    tp_after, fp_after, _ = metrics.tp_fp_fn(method)
    growth = metrics.ratio(tp_after, tp)  # 1 + K
    return (growth - 1) * (tp + fn) - (fp_after - growth * fp)


def changes(method: Counts, baseline: Counts, names: Sequence[str], pixel_counts: Sequence[int]) -> pd.DataFrame:
    """Per class, the most frequent first, what a method changes: in points ΔAcc and ΔIoU (Eqs. (4), (5), Figure 3) and
    ΔFP in percent of the class's pixels; and Remark 1's margin in the same unit.
    """
    before, after = metrics.tp_fp_fn(baseline), metrics.tp_fp_fn(method)
    pixels = before.tp + before.fn
    share = 100 * metrics.ratio(1, pixels)
    table = pd.DataFrame(
        {
            "ΔAcc": 100 * (metrics.class_accuracy(after) - metrics.class_accuracy(before)),
            "ΔIoU": 100 * (metrics.iou(after) - metrics.iou(before)),
            "ΔFP": share * (after.fp - before.fp),
            "margin": share * remark_1_margin(after, before),
        },
        index=pd.Index(names, name="class"),
    )
    return table.iloc[np.argsort(-np.asarray(pixel_counts), kind="stable")]


def paired_counts(method: Sequence[Run], baseline: Sequence[Run]) -> tuple[Tallies, Tallies]:
    """TP, FP and FN (seeds, C) of both, for the seeds that both have."""
    pairs = ([metrics.tp_fp_fn(run.record.evaluations["val"]) for run in pair] for pair in paired(method, baseline))
    after, before = (Tallies(*np.stack(counts, axis=1)) for counts in zip(*pairs, strict=True))
    return after, before


def pooled(counts: Tallies) -> Tallies:
    """Counts (C,) summed over seeds; what holds for counts holds for their sums too."""
    return Tallies(*np.sum(counts, axis=1))


def changes_over_seeds(method: Sequence[Run], baseline: Sequence[Run]) -> pd.DataFrame:
    """`changes` of the counts summed over the seeds that both have."""
    record = baseline[0].record
    return changes(*map(pooled, paired_counts(method, baseline)), record.class_names, record.pixel_counts)


def remark_1_cases(method: Sequence[Run], baseline: Sequence[Run]) -> pd.Series:
    """Remark 1 on recorded runs, paired by seed; a case is a class in one seed, if the baseline finds a pixel of it.

    Counts of cases: all; with higher accuracy; of these, with the remark's condition met, and with higher IoU; and, of
    all, those in which the margin and the gain in IoU agree in sign.
    """
    after, before = paired_counts(method, baseline)
    margin = remark_1_margin(after, before)
    gain = metrics.iou(after) - metrics.iou(before)
    cases = np.isfinite(margin)
    higher = cases & (metrics.class_accuracy(after) > metrics.class_accuracy(before))
    return pd.Series(
        {
            "cases": cases.sum(),
            "accuracy rises": higher.sum(),
            "and the condition holds": (margin[higher] > 0).sum(),
            "and IoU rises": (gain[higher] > 0).sum(),
            "margin and ΔIoU agree in sign": (np.sign(margin) == np.sign(gain))[cases].sum(),
        }
    )
