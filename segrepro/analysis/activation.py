"""Who lights up for whom: class-activation maps as numbers (DropClass Figure 4, dropclass-C11).

The paper shows three images that contain a class a and lack a class b that is easily taken for it, with the Grad-CAM of
both. Over all validation images that contain a and lack b,

    leak of a into b = activation of b / activation of a,   in percent,

each summed over the labelled pixels (`segrepro.grad_cam` says what is summed): over the whole image, or over the pixels
of a alone. Both maps come from one network and one layer, so its scale cancels. Of several pairs together the sums are
added first. Whether the activation of a "stays strong", which has no scale, is read as whether it stays where a is:
the percent of it that falls on pixels of a (the energy-based pointing game of Wang et al., Score-CAM, 2020).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from segrepro import metrics
from segrepro.datasets.base import Split
from segrepro.errors import InputError
from segrepro.runs import Run
from segrepro.verdict import FLOOR, mean_interval

PAIRS = (("motorcycle", "bicycle"), ("truck", "train"), ("bus", "truck"))  # Figure 4: there, and not there
WHERE = ("the image", "the class's pixels")
TOGETHER, TOGETHER_CLASSES = "all pairs", "all classes"
LAYERS = ("features", "res4")  # whose maps a record keeps

Pair = tuple[str, str]
Runs = Mapping[str, Sequence[Run]]  # by configuration


class Sums(NamedTuple):
    """What a record keeps, each (C, C): entry (a, b) is over the images that contain a [row] and lack b [column], on
    the diagonal over all that contain a. images: how many; the others are activations summed over labelled pixels.
    """

    images: np.ndarray
    of_a: np.ndarray  # over the whole image
    of_b: np.ndarray
    of_a_on_a: np.ndarray  # over the pixels of a
    of_b_on_a: np.ndarray


def pair_sums(on: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The `Sums` (5, C, C) of N images: on (N, C, C), the activation of each class [column] summed over the pixels of
    each class [row]; present (N, C) bool, which classes an image contains.
    """
    everywhere, own = on.sum(axis=1), np.diagonal(on, axis1=1, axis2=2)
    chosen = present[:, :, None] & (~present[:, None, :] | np.eye(present.shape[1], dtype=bool))
    quantities = (1, everywhere[:, :, None], everywhere[:, None, :], own[:, :, None], on)
    return np.stack([(chosen * quantity).sum(axis=0, dtype=np.float64) for quantity in quantities])


def of_run(run: Run) -> Sums:
    """The sums of a run. Raises InputError if its record has none."""
    if "activation" not in run.arrays:
        raise InputError(
            f"{run.folder}: the record has no 'activation'. Measure it on the stored network, or train it again."
        )
    return Sums(*run.arrays["activation"].astype(np.float64))


def measured(runs: Runs, baseline: str = "plain") -> dict[str, list[Run]]:
    """The runs whose records hold activations, of the configurations that have any; of the others it is said. None at
    all if the baseline has none.
    """
    found = {name: [run for run in of if "activation" in run.arrays] for name, of in runs.items()}
    if missing := [name for name, of in runs.items() if len(found[name]) < len(of)]:
        print(
            f"Not in (all) records of {', '.join(missing)}: class-activation maps. They are measured on networks, "
            "which lie in runs_dir only: train these runs there with train=True, or wait for their records."
        )
    return {name: of for name, of in found.items() if of} if found[baseline] else {}


def pairs_of(names: Sequence[str], wanted: Iterable[str] | None = None) -> list[Pair]:
    """Pairs of classes, each (there, not there): those that are wanted, or of Figure 4's those with both classes among
    `names`; the others are named in print.

    wanted: each "motorcycle:bicycle". Raises InputError for a class that is not among `names`.
    """
    if wanted is not None:
        pairs = [(there, absent) for there, _, absent in (text.partition(":") for text in wanted)]
        if unknown := [name for pair in pairs for name in pair if name not in names]:
            raise InputError(f"pairs: no class {', '.join(unknown)}; the data set has {', '.join(names)}")
        return pairs
    found = known_pairs(names)
    if left := [":".join(pair) for pair in PAIRS if pair not in found]:
        print(f"Without {', '.join(left)}: the data set lacks one of the classes.")
    return found


def leakiest(runs: Sequence[Run], count: int = 3) -> list[Pair]:
    """The pairs with the largest leak within a's pixels, among those with at least ten images; none without a run."""
    if not runs:
        return []
    names = runs[0].record.class_names
    table = np.where(of_run(runs[0]).images >= 10, matrix(runs), np.nan)
    order = np.argsort(-np.nan_to_num(table, nan=-np.inf), axis=None, kind="stable")[:count]
    places = zip(*np.unravel_index(order, table.shape), strict=True)
    return [(names[a], names[b]) for a, b in places if np.isfinite(table[a, b])]


def leak(run: Run, pairs: Sequence[Pair], where: str = WHERE[0]) -> pd.Series:
    """Leak of each pair in percent, by "a → b", and of all together; nan where no image contains a and lacks b."""
    sums, names = of_run(run), run.record.class_names
    rows, columns = ([names.index(pair[side]) for pair in pairs] for side in (0, 1))
    of_a, of_b = (sums.of_a, sums.of_b) if where == WHERE[0] else (sums.of_a_on_a, sums.of_b_on_a)
    of_a, of_b = of_a[rows, columns], of_b[rows, columns]
    labels = [" → ".join(pair) for pair in pairs]
    return pd.Series(100 * metrics.ratio([*of_b, of_b.sum()], [*of_a, of_a.sum()]), index=[*labels, TOGETHER])


def on_target(run: Run, classes: Sequence[str]) -> pd.Series:
    """Percent of each class's activation that falls on its own pixels, over the images that contain it, and that of all
    the classes together.
    """
    chosen = [run.record.class_names.index(name) for name in classes]
    whole, own = (np.diagonal(part)[chosen] for part in (of_run(run).of_a, of_run(run).of_a_on_a))
    return pd.Series(100 * metrics.ratio([*own, own.sum()], [*whole, whole.sum()]), index=[*classes, TOGETHER_CLASSES])


def matrix(runs: Sequence[Run], where: str = WHERE[1]) -> np.ndarray:
    """Leaks (C, C) in percent of every class that is there [row] into every class that is not [column]: the mean over
    runs. nan on the diagonal, where there is no such image, and in the rows of classes with a mean IoU under FLOOR:
    what hardly lights up for itself leaks many times as much into anything.
    """
    tables = []
    for sums in map(of_run, runs):
        pair = (sums.of_b, sums.of_a) if where == WHERE[0] else (sums.of_b_on_a, sums.of_a_on_a)
        tables.append(100 * metrics.ratio(*pair))
        np.fill_diagonal(tables[-1], np.nan)
    mean = np.mean(tables, axis=0)
    mean[100 * np.mean([metrics.iou(run.record.evaluations["val"]) for run in runs], axis=0) < FLOOR] = np.nan
    return mean


def matrices(runs: Runs, count: int = 4) -> dict[str, np.ndarray]:
    """`matrix` of the first configurations, without those in which no class has a value; of these it is said."""
    found = {name: matrix(of) for name, of in list(runs.items())[:count]}
    if empty := [name for name, table in found.items() if not np.isfinite(table).any()]:
        print(f"Without {', '.join(empty)}: no class has an IoU of {FLOOR:g} % and an image that lacks another class.")
    return {name: table for name, table in found.items() if name not in empty}


def images(run: Run, pairs: Sequence[Pair]) -> pd.Series:
    """Number of validation images behind each pair."""
    names = run.record.class_names
    counts = [int(of_run(run).images[names.index(a), names.index(b)]) for a, b in pairs]
    return pd.Series(counts, index=[" → ".join(pair) for pair in pairs], dtype=int)


def leaks(runs: Runs, pairs: Sequence[Pair]) -> pd.DataFrame:
    """One row a configuration, seed, region (`where`) and pair: configuration, seed, where, pair, value (percent)."""
    rows = [
        (name, run.record.seed, where, pair, value)
        for name, found in runs.items()
        for run in found
        for where in WHERE
        for pair, value in leak(run, pairs, where).items()
    ]
    return pd.DataFrame(rows, columns=["configuration", "seed", "where", "pair", "value"])


def on_target_by_seed(runs: Runs, pairs: Sequence[Pair]) -> pd.DataFrame:
    """The same columns for `on_target` of the classes that are there in the pairs; `pair` is the class."""
    classes = list(dict.fromkeys(a for a, _ in pairs))
    rows = [
        (name, run.record.seed, WHERE[1], label, value)
        for name, found in runs.items()
        for run in found
        for label, value in on_target(run, classes).items()
    ]
    return pd.DataFrame(rows, columns=["configuration", "seed", "where", "pair", "value"])


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `leaks`, averaged over seeds: configuration, where, pair, value, low, high (95 % t-interval of the
    mean; nan with one seed), seeds. A seed without a value is left out.
    """
    rows = []
    for key, values in table.groupby(["configuration", "where", "pair"], sort=False)["value"]:
        rows.append((*key, *mean_interval(values.dropna()), len(values.dropna())))
    return pd.DataFrame(rows, columns=["configuration", "where", "pair", "value", "low", "high", "seeds"])


def differences(table: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """The same of a configuration minus the baseline, in points, paired by seed; without those that share no seed."""
    paired = table.pivot(index=["where", "pair", "seed"], columns="configuration", values="value")
    paired = paired.reindex(table.set_index(["where", "pair", "seed"]).index.unique())
    others = [name for name in table["configuration"].unique() if name != baseline]
    gains = paired[others].sub(paired[baseline], axis=0).melt(ignore_index=False, var_name="configuration")
    return with_intervals(gains.dropna().reset_index())


def as_text(table: pd.DataFrame, signed: bool = False) -> pd.DataFrame:
    """A table of `with_intervals` or `differences` for reading: a row a pair, a column a configuration and region;
    of an empty table it is said that nothing is recorded.
    """
    if table.empty:
        return pd.DataFrame({"": ["nothing recorded yet"]}, index=[""])
    form = "{:+z.1f}" if signed else "{:.1f}"
    text = []
    for row in table.itertuples():
        value, low, high = map(form.format, (row.value, row.low, row.high))
        text.append("" if np.isnan(row.value) else value if np.isnan(row.low) else f"{value} [{low}, {high}]")
    wide = table.assign(text=text).pivot(index="pair", columns=["configuration", "where"], values="text").fillna("")
    order = table[["configuration", "where"]].drop_duplicates().itertuples(index=False, name=None)
    return wide.reindex(index=table["pair"].unique(), columns=pd.MultiIndex.from_tuples(order))


def telling_images(split: Split, pairs: Sequence[Pair]) -> dict[Pair, int]:
    """For each pair the image with most pixels of a among those that lack b, by its index in the split; labels alone
    choose it, so it is the same for every network. Without the pairs that have no image.
    """
    names, count = split.classes.names, len(split.classes)
    pixels = np.stack([np.bincount(labels[labels >= 0], minlength=count)
                       for labels in map(split.labels, range(len(split)))])  # fmt: skip
    found = {}
    for pair in pairs:
        a, b = (names.index(name) for name in pair)
        candidates = np.where(pixels[:, b] == 0, pixels[:, a], 0)
        if candidates.any():
            found[pair] = int(candidates.argmax())
    return found


def stored_maps(arrays: Mapping[str, np.ndarray], layer: str = LAYERS[0]) -> dict[tuple[int, int], np.ndarray]:
    """(index in the split, class) -> the map (h, w) that a record keeps, over the whole image."""
    keys = (name.split("/") for name in arrays if name.startswith(f"activation/{layer}/"))
    return {(int(index), int(c)): arrays[f"activation/{layer}/{index}/{c}"] for _, _, index, c in keys}


class Picture(NamedTuple):
    """A row of Figure 4: a pair (a, b), its image (H, W, 3) uint8, a mask (H, W) of where a is, and by configuration
    the maps (2, h, w) of a and b, as shares of the largest activation of a in that network.
    """

    pair: Pair
    image: np.ndarray
    mask: np.ndarray
    maps: dict[str, np.ndarray]


def pictures(runs: Mapping[str, Run], split: Split, pairs: Sequence[Pair], layer: str = LAYERS[0]) -> list[Picture]:
    """The rows for which every one of the runs, by configuration, keeps both maps; the other pairs are named in print.

    Each row is the kept image with most pixels of a that lacks b.
    """
    kept = {name: stored_maps(run.arrays, layer) for name, run in runs.items()}
    shared = set.intersection(*map(set, kept.values())) if kept else set()
    found = []
    for pair in pairs:
        a, b = split.classes.indices(pair)
        candidates = {i: split.labels(i) for i, c in sorted(shared) if c == a and (i, b) in shared}
        areas = {i: (labels == a).sum() for i, labels in candidates.items() if (labels == a).any() and b not in labels}
        if areas:
            index = max(areas, key=areas.get)
            both = {name: np.stack([maps[index, c] for c in (a, b)]).astype(np.float64) for name, maps in kept.items()}
            shares = {name: maps / max(maps[0].max(), np.finfo(float).tiny) for name, maps in both.items()}
            image, labels = split[index]
            found.append(Picture(pair, image, labels == a, shares))
    if missing := [":".join(pair) for pair in pairs if pair not in [picture.pair for picture in found]]:
        print(f"No maps of {', '.join(missing)} are recorded: records keep those of {_named(PAIRS)}.")
    return found


def known_pairs(names: Sequence[str]) -> list[Pair]:
    """Figure 4's pairs of which both classes are among `names`."""
    return [pair for pair in PAIRS if {*pair} <= {*names}]


def _named(pairs: Iterable[Pair]) -> str:
    return ", ".join(":".join(pair) for pair in pairs)
