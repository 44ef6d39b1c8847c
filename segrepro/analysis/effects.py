"""The quantities that decide claims, by name: functions of runs that differ in the method alone.

A score is a function of one run; the ledger may ask it of one configuration (its value), of two (the difference,
first minus second) or of four (the difference of two differences: an interaction). An effect that is no difference of
scores takes the runs themselves. IoU and accuracy are in points, 0..100. A quantity per class is a Series by class
name; the claim is then about every class.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.stats

from segrepro import metrics
from segrepro.analysis import activation, bias, correlation, erasure, imbalance
from segrepro.runs import Record, Run

Value = float | pd.Series


class NotJudged(Exception):
    """These runs cannot decide a claim; the message is the reason."""


@dataclass(frozen=True)
class Effect:
    """A function of runs, and the arrays that each run's record must hold for it."""

    function: Callable[..., Value]
    arrays: tuple[str, ...]

    def __call__(self, *runs: Run, **options) -> Value:
        """The value for one seed. Raises NotJudged if a record lacks an array."""
        for name in self.arrays:
            if any(name not in run.arrays for run in runs):
                raise NotJudged(f"needs records that hold '{name}'")
        return self.function(*runs, **options)


EFFECTS: dict[str, Effect] = {}


def effect(*arrays: str) -> Callable:
    """Register a function of as many runs as the claim compares, which reads these arrays."""

    def register(function: Callable[..., Value]) -> Callable[..., Value]:
        EFFECTS[function.__name__] = Effect(function, arrays)
        return function

    return register


def score(*arrays: str) -> Callable:
    """Register a function of one run, to be compared over one, two or four runs."""

    def register(function: Callable[..., Value]) -> Callable[..., Value]:
        def compared(*runs: Run, **options) -> Value:
            values = [function(run, **options) for run in runs]
            while len(values) > 1:
                values = [first - second for first, second in zip(values[::2], values[1::2], strict=True)]
            return values[0]

        EFFECTS[function.__name__] = Effect(compared, arrays)
        return function

    return register


def class_indices(record: Record, classes: str | Sequence[str] | None) -> list[int]:
    """Labels of a class set: "rare", "background" or "foreground" of the data set, a list of names, None for all.

    Raises NotJudged if the data set has no such class.
    """
    names = record.class_names
    if classes is None:
        return list(range(len(names)))
    if isinstance(classes, str):
        foreground = [name for name in names if name not in record.background_classes]
        kind, classes = (
            classes,
            {"rare": record.rare_classes, "background": record.background_classes, "foreground": foreground}[classes],
        )
        if not classes:
            raise NotJudged(f"needs a data set that names its {kind} classes")
    if absent := [name for name in classes if name not in names]:
        raise NotJudged(f"needs a data set with the class {' and '.join(absent)}")
    return [names.index(name) for name in classes]


@score()
def mean_iou(run: Run, classes: str | Sequence[str] | None = None) -> float:
    """Mean IoU over the validation set, in points, over all classes or a class set."""
    return 100 * float(metrics.mean_iou(run.record.evaluations["val"], class_indices(run.record, classes)))


@score()
def class_iou(run: Run, classes: str | Sequence[str] | None = None) -> pd.Series:
    """IoU of every class of the validation set, or of a class set, in points."""
    names, chosen = run.record.class_names, class_indices(run.record, classes)
    iou = 100 * metrics.iou(run.record.evaluations["val"])
    return pd.Series(iou[chosen], index=[names[c] for c in chosen])


@score()
def mean_iou_above_all(run: Run, classes: str | Sequence[str]) -> float:
    """Mean IoU of a class set minus that of all classes; it rises if the set gains more than the rest."""
    return mean_iou(run, classes) - mean_iou(run)


@score()
def mean_accuracy(run: Run, classes: str | Sequence[str] | None = None) -> float:
    """Mean class accuracy over the validation set, in points, over all classes or a class set."""
    return 100 * float(metrics.mean_accuracy(run.record.evaluations["val"], class_indices(run.record, classes)))


@score()
def class_accuracy(run: Run, classes: str | Sequence[str] | None = None) -> pd.Series:
    """Accuracy of every class of the validation set, or of a class set, in points."""
    names, chosen = run.record.class_names, class_indices(run.record, classes)
    accuracy = 100 * metrics.class_accuracy(run.record.evaluations["val"])
    return pd.Series(accuracy[chosen], index=[names[c] for c in chosen])


@score()
def false_positives(run: Run, classes: str | Sequence[str] | None = None) -> float:
    """False positives of a class in percent of its pixels, the mean over all classes or a class set."""
    tp, fp, fn = metrics.tp_fp_fn(run.record.evaluations["val"])
    chosen = [c for c in class_indices(run.record, classes) if tp[c] + fn[c] > 0]
    return 100 * float(np.mean(fp[chosen] / (tp + fn)[chosen]))


@effect()
def classes_improved(method: Run, baseline: Run) -> float:
    """Number of classes whose IoU is higher, minus half the number of classes that have one."""
    gain = class_iou(method) - class_iou(baseline)
    return float((gain > 0).sum() - np.isfinite(gain).sum() / 2)


@effect()
def share_improved(method: Run, baseline: Run, classes: str | Sequence[str]) -> float:
    """Percent of a class set whose IoU is higher, in points above a half; classes without an IoU do not count."""
    gain = class_iou(method, classes) - class_iou(baseline, classes)
    return float(100 * (gain > 0).sum() / np.isfinite(gain).sum() - 50)


@effect("erasure")
def erasure_drop(method: Run, baseline: Run) -> float:
    """How much less mean IoU is lost when each class's influencers are erased (DropClass Table 4), in points."""
    mean = erasure.compare(method, baseline).mean(numeric_only=True)
    return float(mean["method", "I*-I"] - mean["baseline", "I*-I"])


@effect("erasure")
def erasure_drop_vulnerable(method: Run, baseline: Run) -> float:
    """The same over the classes whose IoU falls most in the baseline."""
    table = erasure.compare(method, baseline)
    mean = table.loc[erasure.vulnerable(table)].mean(numeric_only=True)
    return float(mean["method", "I*-I"] - mean["baseline", "I*-I"])


@effect("erasure")
def erasure_mean_iou(method: Run, baseline: Run) -> float:
    """Difference of the mean IoU with the influencers erased, mIoU(I*), in points."""
    mean = erasure.compare(method, baseline).mean(numeric_only=True)
    return float(mean["method", "I*"] - mean["baseline", "I*"])


@score("classifier_weight")
def row_correlation(run: Run) -> pd.Series:
    """Off-diagonal row sums of the classifier's cosine similarity, one a class (DropClass Table 5)."""
    return pd.Series(correlation.row_sums(correlation.of_run(run)), index=run.record.class_names)


@score("classifier_weight")
def frequency_correlation(run: Run) -> float:
    """Spearman correlation of pixel frequency and row sum of the classifier's similarity (DropClass Section 3.4)."""
    return correlation.frequency_correlation(correlation.of_run(run), run.record.pixel_counts)


def _confusable(run: Run) -> list[activation.Pair]:
    pairs = activation.known_pairs(run.record.class_names)
    if not pairs:
        raise NotJudged("needs a data set with the classes of one of DropClass's pairs, such as motorcycle and bicycle")
    return pairs


def _defined(percent: float) -> float:
    if np.isnan(percent):
        raise NotJudged("needs class-activation maps of images that contain one class of a pair and lack the other")
    return percent


@score("activation")
def activation_leak(run: Run) -> float:
    """Activation of a class that is not in the image, in percent of that of the confusable class that is, over
    DropClass's three pairs as far as the data set has them (Figure 4).
    """
    return _defined(activation.leak(run, _confusable(run))[activation.TOGETHER])


@score("activation")
def activation_off_target(run: Run) -> float:
    """Percent of the activation of the classes that are there in these pairs that falls on pixels of other classes; it
    does not rise if their activation stays strong where they are.
    """
    classes = list(dict.fromkeys(a for a, _ in _confusable(run)))
    return 100 - _defined(activation.on_target(run, classes)[activation.TOGETHER_CLASSES])


@score()
def time_to_converge(run: Run, share: float = 0.95) -> float:
    """When the validation mIoU first reached `share` of its last value, in percent of the iterations.

    Linear between evaluations. Raises NotJudged with fewer than 4 evaluations during training, or if that value is 0.
    """
    if len(run.record.curve) < 4:
        raise NotJudged("needs records with at least 4 evaluations during training")
    iterations = np.array([0, *(point["iteration"] for point in run.record.curve), run.record.parameters["iterations"]])
    scores = np.array([0, *map(metrics.mean_iou, run.record.curve), metrics.mean_iou(run.record.evaluations["val"])])
    if not scores[-1] > 0:
        raise NotJudged("a training that ends at a mIoU of 0 converges to nothing")
    target = share * scores[-1]
    after = int(np.argmax(scores >= target))
    return float(
        np.interp(target, scores[after - 1 : after + 1], iterations[after - 1 : after + 1]) / iterations[-1] * 100
    )


@score()
def imbalance_removed(run: Run) -> float:
    """Imbalance that counting images instead of pixels removes, in percent (Region Rebalance Figure 5)."""
    return imbalance.imbalance_removed(run)


@score()
def accuracy_follows_regions(run: Run) -> float:
    """Correlation of class accuracy with region frequency minus that with pixel frequency, in percent (Region Rebalance
    Table 2).
    """
    of = imbalance.accuracy_correlations(run)
    return float(of["regions"] - of["pixels"])


@score("classifier_weight")
def length_follows_frequency(run: Run) -> float:
    """Spearman correlation of a class vector's length and the class's pixel frequency (ESSNet Figure 9)."""
    lengths = np.linalg.norm(run.arrays["classifier_weight"], axis=1)
    return float(scipy.stats.spearmanr(lengths, run.record.pixel_counts).statistic)


@score("classifier_weight")
def similarity_within(run: Run, classes: str | Sequence[str]) -> float:
    """Mean cosine of the class vectors of a set (two or more) among themselves, minus that with the rest (ESSNet
    Figure 12).
    """
    inside = np.zeros(len(run.record.class_names), dtype=bool)
    inside[class_indices(run.record, classes)] = True
    matrix, size = correlation.of_run(run)[inside], inside.sum()
    within = (matrix[:, inside].sum() - size) / (size * (size - 1))
    return float(within - matrix[:, ~inside].mean())


@score()
def taken_for_building(run: Run, classes: Sequence[str]) -> float:
    """Percent of the named classes' pixels, together, that are predicted as building (FBNet Figure 2)."""
    chosen, (building,) = class_indices(run.record, classes), class_indices(run.record, ["building"])
    counts = run.counts("val")[chosen]
    return 100 * float(counts[:, building].sum() / counts.sum())


def _foreground_strength(run: Run, row: int) -> float:
    """How much stronger a map of stage Res5 is on foreground than on background, as a ratio; row 0: X_l, 1: X_o."""
    sums = run.arrays["strength/res5"]
    on = {kind: sums[:, class_indices(run.record, kind)].sum(axis=1) for kind in ("foreground", "background")}
    return float((on["foreground"][row] / on["foreground"][2]) / (on["background"][row] / on["background"][2]))


@score("strength/res5")
def foreground_strength(run: Run) -> float:
    """By how many percent FBNet's X_o is stronger on foreground than on background pixels (Figure 7)."""
    return 100 * (_foreground_strength(run, 1) - 1)


@score("strength/res5")
def foreground_strength_gained(run: Run) -> float:
    """How many percentage points more that is than for X_l, what the module was given."""
    return 100 * (_foreground_strength(run, 1) - _foreground_strength(run, 0))


def _accuracy(run: Run, kind: str, head: str | None = None) -> float:
    if not run.record.aligned:
        raise NotJudged("needs a data set that knows its bias attribute")
    return bias.of_run(run, head)[kind]


@score()
def unbiased_accuracy(run: Run) -> float:
    """Mean accuracy over the cells of class and bias value, in percent (LfF Table 2)."""
    return _accuracy(run, "unbiased")


@score()
def conflicting_accuracy(run: Run) -> float:
    """The same over the cells in which the bias is wrong (LfF Table 3)."""
    return _accuracy(run, "conflicting")


@score()
def conflicting_above_unbiased(run: Run) -> float:
    """The latter minus the former: between two runs, how much more is gained on conflicting images (LfF Table 5)."""
    return _accuracy(run, "conflicting") - _accuracy(run, "unbiased")


@effect()
def relative_accuracy_drop(biased: Run, unbiased: Run) -> float:
    """Unbiased accuracy after training on biased data, relative to training on unbiased data, in percent (LfF
    Table 1).
    """
    return 100 * (_accuracy(biased, "unbiased") / _accuracy(unbiased, "unbiased") - 1)


@score()
def first_conflicting_loss_rise(run: Run) -> float:
    """By how much the loss of conflicting training samples has risen since before the training when that of the aligned
    ones is first seen below a tenth of what it was (LfF Figure 2). Negative if it falls with them.
    """
    table = bias.curve(run)
    aligned, conflicting = table["loss aligned"], table["loss conflicting"]
    learned = aligned < aligned.iloc[0] / 10
    if not learned.any():
        raise NotJudged("needs a training in which the loss of aligned samples falls to a tenth")
    return float(conflicting[learned].iloc[0] - conflicting.iloc[0])


@score()
def largest_loss_gap(run: Run) -> float:
    """Largest lead of the conflicting over the aligned training samples' loss (LfF Figure 2)."""
    table = bias.curve(run)
    return float((table["loss conflicting"] - table["loss aligned"]).max())


@effect()
def biased_network_aligned_errors(run: Run) -> float:
    """Errors of LfF's f_B on aligned images, in percent (LfF Figure 4)."""
    return 100 - _accuracy(run, "aligned", "biased")


@effect()
def biased_network_above_chance(run: Run) -> float:
    """Accuracy of LfF's f_B on conflicting images above that of guessing (LfF Figure 4)."""
    return _accuracy(run, "conflicting", "biased") - 100 / len(run.record.class_names)


@score()
def accuracy_gap(run: Run) -> float:
    """Accuracy on aligned minus that on conflicting images."""
    return _accuracy(run, "aligned") - _accuracy(run, "conflicting")


@effect("watched/conflicting/biased")
def difficulty_gap(run: Run) -> float:
    """Mean W of conflicting minus that of aligned training samples, in percent (LfF Section 3)."""
    of = bias.difficulty(run)
    return 100 * float(of["conflicting"].mean() - of["aligned"].mean())


@effect("watched/conflicting/biased")
def difficulty_below_one(run: Run) -> float:
    """How far the mean W of conflicting training samples is from 1, in percent (LfF Section 3)."""
    return 100 * (1 - float(bias.difficulty(run)["conflicting"].mean()))


@effect("watched/conflicting/biased")
def difficulty_detects(run: Run) -> float:
    """Area under the ROC curve of W as a detector of conflicting samples, above chance, in percent."""
    return 100 * (bias.detection(run) - 0.5)
