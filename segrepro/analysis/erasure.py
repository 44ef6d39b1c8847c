"""Who needs whom: the IoU of a class when the pixels of another are erased from the image (DropClass Table 4).

The copy of the validation set with class X erased gives an IoU of every other class Y. A class's influencers are the
three classes whose erasing lowers the *baseline's* IoU_Y most; I* is the mean IoU_Y over those three copies, with the
same three for every method. The paper leaves open what replaces erased pixels and whether they are scored: here the
mean colour, and no. So a false alarm of Y on pixels of X disappears with X, and an IoU_Y may rise: `table_4` keeps to
that, while `needs` compares with whole images scored on the same pixels, so that nothing but the context differs.

Synthetic scenes can be drawn without a class, which is what erasing approximates: `agreement` compares the two.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import scipy.stats
import torch

from segrepro import metrics
from segrepro.datasets.base import IGNORE, Split
from segrepro.errors import InputError
from segrepro.runs import Run, paired
from segrepro.verdict import FLOOR, mean_interval

COUNTERFACTUAL = "erasure/counterfactual"  # the array of the scenes drawn without a class
_REMEDY = "It can be measured with train=True where the networks lie; records alone are not enough."
_QUANTITIES = ("mIoU(I)", "mIoU(I*)", "drop, all classes", "drop, most vulnerable", "drop, classes that both find",
               "share of mIoU lost (%)")  # fmt: skip

# Means of the paper's Table 4 over "the nine most vulnerable classes" are those of these nine, although erasing lowers
# sidewalk, terrain, fence and truck more than pole there (see data/papers/README.md).
PRINTED_VULNERABLE = ("rider", "motorcycle", "train", "wall", "traffic light", "bicycle", "bus", "person", "pole")


def erase(
    images: torch.Tensor, labels: torch.Tensor, erased: int, fill: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, 3, H, W) uint8 and labels (B, H, W), the pixels of class `erased` coloured `fill` (3,) and ignored."""
    gone = labels == erased
    return torch.where(gone[:, None], fill.to(images).view(1, 3, 1, 1), images), labels.masked_fill(gone, IGNORE)


def erased_iou(run: Run, evaluation: str = "erasure") -> np.ndarray:
    """IoU (C, C) of class [row] on the copy without class [column]; the diagonal is nan.

    evaluation: "erasure", or COUNTERFACTUAL for synthetic scenes drawn without the class.
    Raises InputError if the record has no such measurement.
    """
    if evaluation not in run.arrays:
        raise InputError(
            f"{run.folder}: the record has no '{evaluation}'. Measure it on the stored network, or train it again."
        )
    matrix = metrics.iou(metrics.Tallies(*np.moveaxis(run.arrays[evaluation], 1, 0))).T
    np.fill_diagonal(matrix, np.nan)
    return matrix


def influencers(iou: np.ndarray, erased: np.ndarray, count: int = 3) -> np.ndarray:
    """Indices (C, count) of the classes whose erasing lowers a class's IoU most, the worst first.

    iou (C,) on whole images and erased (C, C) from `erased_iou`, both of the baseline.
    """
    losses = np.nan_to_num(iou[:, None] - erased, nan=-np.inf)
    return np.argsort(-losses, axis=1, kind="stable")[:, : min(count, len(iou) - 1)]


def star_iou(erased: np.ndarray, triples: np.ndarray) -> np.ndarray:
    """I* (C,): mean IoU of each class over the copies without its influencers `triples` (C, count)."""
    return np.take_along_axis(erased, triples, axis=1).mean(axis=1)


def compare(method: Run, baseline: Run, evaluation: str = "erasure") -> pd.DataFrame:
    """Table 4 for two runs, one row a class, in percent.

    Columns (run, "I"), (run, "I*") and (run, "I*-I") with run "baseline" or "method". Both use the baseline's
    influencers, named in the column ("baseline", "influencers"). Raises InputError if a record lacks the measurement.
    """
    names = np.array(baseline.record.class_names)
    whole = {
        label: metrics.iou(run.record.evaluations["val"]) for label, run in (("baseline", baseline), ("method", method))
    }
    erased = {label: erased_iou(run, evaluation) for label, run in (("baseline", baseline), ("method", method))}
    triples = influencers(whole["baseline"], erased["baseline"])
    columns = {("baseline", "influencers"): [", ".join(names[triple]) for triple in triples]}
    for label in ("baseline", "method"):
        star = star_iou(erased[label], triples)
        columns |= {
            (label, "I"): 100 * whole[label],
            (label, "I*"): 100 * star,
            (label, "I*-I"): 100 * (star - whole[label]),
        }
    return pd.DataFrame(columns, index=pd.Index(names, name="class"))


def vulnerable(table: pd.DataFrame) -> list[str]:
    """The classes of a `compare` table whose IoU falls most in the baseline: 9 of 19 as in the paper, or that share."""
    count = max(1, len(table) * len(PRINTED_VULNERABLE) // 19)
    return list(table["baseline", "I*-I"].nsmallest(count).index)


def table_4(methods: Sequence[Run], baselines: Sequence[Run], evaluation: str = "erasure") -> pd.DataFrame:
    """Table 4 over seeds: one row a class, the one whose IoU falls most in the baseline first.

    Columns: (run, "I"), (run, "I*"), (run, "I*-I") in percent and points, means over the seeds that both have, with
    run "baseline" or "method", and (run, "low"), (run, "high"), the 95 % t-interval of I*-I (nan with one seed); the
    same three of ("difference", ...), method minus baseline, positive if the method is hurt less; and ("baseline",
    "influencers"), with the number of seeds in which each is among the three. Each seed has triples of its own.
    Raises InputError if no seed of both has the measurement.
    """
    tables = _comparisons(methods, baselines, evaluation)
    counted = pd.concat([table["baseline", "influencers"].str.split(", ").explode() for table in tables])
    result = {("baseline", "influencers"): counted.groupby(level=0).agg(_most_frequent)}
    falls = {}
    for label in ("baseline", "method"):
        for column in ("I", "I*"):
            result[label, column] = sum(table[label, column] for table in tables) / len(tables)
        values = [table[label, "I*-I"].to_numpy() for table in tables]
        falls[label] = pd.DataFrame(values, columns=tables[0].index)
    falls["difference"] = falls["method"] - falls["baseline"]
    for label, values in falls.items():
        intervals = [mean_interval(values[name]) for name in values]
        of = pd.DataFrame(intervals, index=values.columns, columns=["I*-I", "low", "high"])
        result |= {(label, column): of[column] for column in of}
    table = pd.DataFrame(result).rename_axis("class")
    order = ["influencers", "I", "I*", "I*-I", "low", "high"]
    columns = [(label, column) for label in falls for column in order if (label, column) in result]
    return table[columns].sort_values(("baseline", "I*-I"), kind="stable")


def printed_table_4(printed: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 4 in the form of `compare`, without influencers; printed: `claims.table("dropclass", 4)`.

    I*-I is the difference of the printed IoUs, which is off by 0.1 from twelve of the printed differences.
    """
    wide = printed[printed["metric"] == "IoU"].pivot(index="class", columns=["method", "setting"], values="value")
    columns = {}
    for label, method in (("baseline", "Baseline"), ("method", "DropClass")):
        whole, star = wide[method, "eval=I"], wide[method, "eval=I*"]
        columns |= {(label, "I"): whole, (label, "I*"): star, (label, "I*-I"): star - whole}
    return pd.DataFrame(columns)


def drops(
    methods: Sequence[Run], baselines: Sequence[Run], printed: pd.DataFrame, evaluation: str = "erasure"
) -> pd.DataFrame:
    """What Table 4 comes to, one row a quantity: baseline, method (means over seeds), difference with low and high
    (95 % t-interval, nan with one seed), by selection, and the paper's three numbers, from its printed table.

    By selection: the difference if the method is the baseline itself in another seed, mean over all pairs of seeds; nan
    with one. The influencers are chosen to hurt one network most, so any other one seems to be hurt less by them.

    Quantities: mean IoU of whole images I and without influencers I*; the drop I*-I averaged over all classes, over
    those whose IoU falls most in the baseline (each seed's own; of the paper the true nine, see PRINTED_VULNERABLE),
    and over those that have a mean IoU above FLOOR in both; and the share of mIoU(I) that is lost, in percent. The last
    two do not shrink only because there is less to lose.
    Raises InputError if no seed of both has the measurement.
    """
    tables, paper_table = _comparisons(methods, baselines, evaluation), printed_table_4(printed)
    whole = sum(table.xs("I", axis=1, level=1) for table in tables) / len(tables)
    found = whole.index[(whole >= FLOOR).all(axis=1)]
    measured = [run for run in baselines if evaluation in run.arrays]
    again = [_means(compare(other, one, evaluation), found) for one, other in itertools.permutations(measured, 2)]
    ours, papers, rows = [_means(table, found) for table in tables], _means(paper_table, paper_table.index), []
    for quantity, paper in papers.items():
        before, after = np.array([of[quantity] for of in ours]).T
        difference, low, high = mean_interval(after - before)
        selection = np.mean([of[quantity][1] - of[quantity][0] for of in again]) if again else np.nan
        rows.append((before.mean(), after.mean(), difference, low, high, selection, *paper, paper[1] - paper[0]))
    columns = ["baseline", "method", "difference", "low", "high", "by selection"]
    columns += ["paper: baseline", "paper: DropClass", "paper: difference"]
    return pd.DataFrame(rows, index=pd.Index(papers, name="quantity"), columns=columns)


def _means(table: pd.DataFrame, found: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The quantities of `drops` of a `compare` table, (baseline, method); found: the classes that both find."""
    most, of = vulnerable(table), {}
    for label in ("baseline", "method"):
        mean, drop = table[label].mean(numeric_only=True), table[label, "I*-I"]
        lost = -100 * mean["I*-I"] / mean["I"]
        values = mean["I"], mean["I*"], mean["I*-I"], drop[most].mean(), drop[found].mean(), lost
        of[label] = dict(zip(_QUANTITIES, values, strict=True))
    return {name: (of["baseline"][name], of["method"][name]) for name in _QUANTITIES}


def beside_paper(table: pd.DataFrame, printed: pd.DataFrame) -> pd.DataFrame:
    """Drops I*-I of `table_4` beside the paper's, for the classes that both have, the paper's largest first.

    Columns (paper or ours, "baseline", "DropClass" or "difference").
    """
    paper = printed_table_4(printed)
    shared = [name for name in paper["baseline"].sort_values("I*-I").index if name in table.index]
    columns = {}
    for whose, of in (("paper", paper), ("ours", table)):
        before, after = (of.loc[shared, (label, "I*-I")] for label in ("baseline", "method"))
        columns |= {(whose, "baseline"): before, (whose, "DropClass"): after, (whose, "difference"): after - before}
    return pd.DataFrame(columns, index=pd.Index(shared, name="class"))


def kept_iou(run: Run) -> np.ndarray:
    """IoU (C, C) of class [row] on whole images, scored only where the label is not class [column]; diagonal nan.

    The prediction is that of the whole image: what is left out are false alarms of [row] on pixels of [column], which
    erasing leaves out too. Raises InputError above 300 classes, of which a record keeps no confusion matrix.
    """
    counts = run.counts("val")
    tp, fp, fn = metrics.tp_fp_fn(counts)
    pixels = (tp + fp + fn)[:, None] - counts.T  # counts.T [row, column]: of class [column], taken for [row]
    matrix = metrics.ratio(tp[:, None], pixels)
    np.fill_diagonal(matrix, np.nan)
    return matrix


def needs(run: Run, evaluation: str = "erasure") -> np.ndarray:
    """Points of IoU (C, C) that class [row] loses when class [column] is gone, on the same pixels; diagonal nan.

    Negative where it does better without. Raises InputError as `erased_iou` and `kept_iou` do.
    """
    return 100 * (kept_iou(run) - erased_iou(run, evaluation))


def mean_needs(runs: Sequence[Run], evaluation: str = "erasure") -> np.ndarray:
    """`needs` (C, C), averaged over runs that differ in the seed. Raises InputError if none has the measurement."""
    return np.mean([needs(run, evaluation) for run in _with(runs, evaluation)], axis=0)


def tests(runs: Mapping[str, Sequence[Run]], split: Split) -> dict[str, str]:
    """The tests that each of the configurations has a measured run for: what is done to a class -> array of the record.

    split: the validation split, which decides what is possible. Says which runs lack a measurement, and the remedy.
    """
    possible = {"erased": "erasure"} | ({"not in the scene": COUNTERFACTUAL} if hasattr(split, "without") else {})
    for array in possible.values():
        lacking = {name: sum(array not in run.arrays for run in found) for name, found in runs.items()}
        if any(lacking.values()):
            these = " and ".join(f"{count} of {name}" for name, count in lacking.items() if count)
            print(f"Records without '{array}': {these}. {_REMEDY}")
    return {
        title: array
        for title, array in possible.items()
        if all(any(array in run.arrays for run in found) for found in runs.values())
    }


def class_pairs(runs: Sequence[Run], evaluations: Iterable[str] = ("erasure", COUNTERFACTUAL)) -> pd.DataFrame:
    """One row a pair of classes: class, without, and for each evaluation, by its name, the points of IoU that the class
    loses without the other, means over the seeds that have them all; the pair with the largest of them first.
    """
    evaluations = list(evaluations)
    found = _with(runs, *evaluations)
    names = found[0].record.class_names
    means = [mean_needs(found, evaluation) for evaluation in evaluations]
    rows = [(names[y], names[x], *(float(mean[y, x]) for mean in means))
            for y, x in itertools.permutations(range(len(names)), 2)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["class", "without", *evaluations])
    return table.loc[table[evaluations].abs().max(axis=1).sort_values(ascending=False, kind="stable").index]


def agreement(runs: Sequence[Run]) -> pd.DataFrame:
    """How far erasing tells what the absence of a class does, one row a quantity: value (mean over seeds), low, high
    (95 % t-interval, nan with one seed), chance, seeds. Of classes above FLOOR, by each network with itself:

    - Spearman's rho of the two losses over all pairs of classes, on the same pixels and, as Table 4 counts, against
      whole images. There both contain the same false alarms that disappear, so they agree for that reason alone
    - the mean over classes of rho over what is removed; chance: with the row of another class, which is above 0 if what
      matters to one class matters to all
    - how many of a class's three influencers are the same; drawn at random it would be 9 / (C - 1). Chance is again the
      list of another class
    - for comparison, rho over pairs of erasing in two seeds, and of the counterfactual: what noise leaves of agreement

    Raises InputError if no record has both measurements.
    """
    both = _with(runs, "erasure", COUNTERFACTUAL)
    erased, absent = ([needs(run, evaluation) for run in both] for evaluation in ("erasure", COUNTERFACTUAL))
    whole = [metrics.iou(run.record.evaluations["val"]) for run in both]
    rows = np.flatnonzero(100 * np.mean(whole, axis=0) >= FLOOR)
    literal = [
        [100 * (iou[:, None] - erased_iou(run, evaluation)) for evaluation in ("erasure", COUNTERFACTUAL)]
        for iou, run in zip(whole, both, strict=True)
    ]
    of_seed = [_row_agreement(e, a, rows) for e, a in zip(erased, absent, strict=True)]
    values = {
        "ρ, all pairs": ([_rho(e[rows], a[rows]) for e, a in zip(erased, absent, strict=True)], 0.0),
        "ρ, all pairs, as Table 4 counts": ([_rho(e[rows], a[rows]) for e, a in literal], np.nan),
        "ρ, within a class": ([of["rho"] for of in of_seed], np.mean([of["other rho"] for of in of_seed])),
        "influencers in common, of 3": ([of["common"] for of in of_seed], np.mean([of["other"] for of in of_seed])),
    }
    table = []
    for quantity, (of, chance) in values.items():
        ends = (0, 3) if quantity.startswith("influencers") else (-1, 1)
        mean, low, high = mean_interval(of)
        table.append((quantity, mean, *np.clip((low, high), *ends), chance, len(both)))
    for title, matrices in (("erasing", erased), ("counterfactual", absent)):
        between = [_rho(a[rows], b[rows]) for a, b in itertools.combinations(matrices, 2)]
        table.append((f"ρ, {title} in two seeds", np.mean(between) if between else np.nan, *[np.nan] * 3, len(both)))
    return pd.DataFrame(table, columns=["quantity", "value", "low", "high", "chance", "seeds"]).set_index("quantity")


def versions(split: Split, gone: str, watched: str, fill: Sequence[int] = (124, 116, 104)) -> dict[str, tuple]:
    """A scene that has both classes, as the two tests show it: "scene", "erased" and, if the split can be had without a
    class, "counterfactual"; each (image (H, W, 3) uint8, labels (H, W) with erased pixels ignored).

    It is the first with at least a hundredth of its pixels in each class, or the one nearest to that. fill: colour of
    erased pixels, by default the mean of ImageNet. Raises InputError for an unknown class.
    """
    if unknown := [name for name in (gone, watched) if name not in split.classes.names]:
        raise InputError(f"no class {', '.join(unknown)}; the data set has {', '.join(split.classes.names)}")
    label, other = split.classes.indices([gone, watched])
    best, most = 0, -1.0
    for index in range(len(split)):
        labels = split.labels(index)
        share = min((labels == label).mean(), (labels == other).mean())
        if share > most:
            best, most = index, share
        if share >= 0.01:
            break
    image, labels = split[best]
    tensors = torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(labels)[None].long()
    erased = [tensor[0].numpy() for tensor in erase(*tensors, label, torch.tensor(fill))]
    shown = {"scene": (image, labels), "erased": (erased[0].transpose(1, 2, 0), erased[1])}
    return shown | ({"counterfactual": split.without(gone)[best]} if hasattr(split, "without") else {})


def _comparisons(methods: Sequence[Run], baselines: Sequence[Run], evaluation: str) -> list[pd.DataFrame]:
    """`compare` of every seed of which both records have the measurement."""
    pairs = paired(*([run for run in runs if evaluation in run.arrays] for runs in (methods, baselines)))
    if not pairs:
        raise InputError(f"no seed has '{evaluation}' in the records of both. {_REMEDY}")
    return [compare(method, baseline, evaluation) for method, baseline in pairs]


def _most_frequent(names: pd.Series, count: int = 3) -> str:
    """ "road 5, sky 4, car 2": the names that occur most often, each with how often."""
    return ", ".join(f"{name} {times}" for name, times in Counter(names).most_common(count))


def _with(runs: Sequence[Run], *evaluations: str) -> list[Run]:
    found = [run for run in runs if {*evaluations} <= run.arrays.keys()]
    if not found:
        raise InputError(f"no record has {' and '.join(map(repr, evaluations))}. {_REMEDY}")
    return found


def _rho(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rho of the entries that both have; nan if there are fewer than 3 or all are equal."""
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan
    return float(scipy.stats.spearmanr(first, second).statistic)


def _row_agreement(erased: np.ndarray, absent: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Of two matrices of `needs`, means over `rows` of rho and of influencers in common: of a class with itself, and
    ("other") with another class.
    """
    triples = [influencers(np.zeros(len(matrix)), -matrix) for matrix in (erased, absent)]
    found: dict[str, list[float]] = {"rho": [], "other rho": [], "common": [], "other": []}
    for one, other in itertools.product(rows, rows):
        rho, common = ("rho", "common") if one == other else ("other rho", "other")
        found[rho].append(_rho(erased[one], absent[other]))
        found[common].append(len({*triples[0][one]} & {*triples[1][other]}))
    return {name: _mean(values) for name, values in found.items()}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else np.nan
