"""Scores of recorded runs as tables: means and standard deviations over seeds, in percent."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from segrepro import claims, datasets, ledger, metrics
from segrepro.analysis import bias
from segrepro.analysis.effects import EFFECTS
from segrepro.analysis.imbalance import rare_labels_of
from segrepro.errors import InputError
from segrepro.runs import Run, all_runs, paired
from segrepro.verdict import NOT_JUDGED, mean_interval

KINDS = {
    "exact": "exact: arithmetic, no training",
    "mechanical": "mechanical: what the code does or costs",
    "train": "takes a training",
    "large": "takes much data or memory",
}
AS_IN_THE_PAPER = ("colored_mnist",)  # recorded with the paper's data and network, and its authors' length of training


def _spread(values: Sequence[float]) -> str:
    """ "41.3 ± 0.6" from fractions; one value stands alone, and nothing where there is none, as of no rare class."""
    percent = 100 * np.asarray(values)
    if np.isnan(percent).all():
        return ""
    return f"{percent.mean():.1f} ± {percent.std(ddof=1):.1f}" if len(percent) > 1 else f"{percent[0]:.1f}"


def _scores(run: Run) -> dict[str, Callable[[dict], float]]:
    """Rare are the classes that the data set names, else the rarer half."""
    rare = rare_labels_of(run.record)
    return {
        "mIoU": metrics.mean_iou,
        "rare mIoU": lambda counts: metrics.mean_iou(counts, rare),
        "mean accuracy": metrics.mean_accuracy,
        "pixel accuracy": metrics.pixel_accuracy,
        "fIoU": metrics.frequency_weighted_iou,
    }


def summary(runs: Mapping[str, Sequence[Run]], evaluation: str = "val") -> pd.DataFrame:
    """One row a configuration that has runs: mean ± standard deviation over seeds of each score, and the seeds.

    Raises InputError for runs on whole images, of which IoU says nothing.
    """
    rows = {}
    for name, found in runs.items():
        if found and (data := found[0].record.parameters["dataset"]) in datasets.CLASSIFIED:
            raise InputError(f"dataset: {data} has one label an image, and this is about segmentation. See 03_lff.")
        if found and evaluation in found[0].record.evaluations:
            counts = [run.record.evaluations[evaluation] for run in found]
            row = {score: _spread([of(c) for c in counts]) for score, of in _scores(found[0]).items()}
            rows[ledger.configuration(name).label] = row | {"seeds": len(found)}
    return pd.DataFrame.from_dict(rows, orient="index")


def by_class(runs: Mapping[str, Sequence[Run]], baseline: str = "plain") -> pd.DataFrame:
    """IoU of each class in percent, mean over seeds, and each configuration's gain over the baseline in points.

    The classes by pixel frequency, the rarest first, as in DropClass Table 1; "all" and "rare" are the means
    (rare: those that the data set names, else the rarer half).
    """
    record = runs[baseline][0].record
    pixels = np.asarray(record.pixel_counts) / sum(record.pixel_counts)
    rare = np.isin(range(len(pixels)), rare_labels_of(record))
    table = pd.DataFrame({"pixels %": 100 * pixels}, index=pd.Index(record.class_names, name="class"))
    for name, found in runs.items():
        ious = [metrics.iou(run.record.evaluations["val"]) for run in found]
        table[ledger.configuration(name).label] = 100 * np.mean(ious, axis=0)
    means = {"rare": table[rare].mean(), "all": table.mean()}
    table = table.iloc[np.argsort(pixels, kind="stable")]
    table = pd.concat([table, pd.DataFrame(means).T.assign(**{"pixels %": [100 * pixels[rare].sum(), 100.0]})])
    first = ledger.configuration(baseline).label
    for name in runs:
        if name != baseline:
            label = ledger.configuration(name).label
            table[f"Δ {label}"] = table[label] - table[first]
    return table.rename_axis("class")


def curves(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Validation mIoU (percent) over the training: one row a configuration, seed and evaluated iteration."""
    rows = []
    for name, found in runs.items():
        for record in (run.record for run in found):
            last = record.evaluations["val"] | {"iteration": record.parameters["iterations"]}
            rows += [(name, record.seed, point["iteration"], 100 * metrics.mean_iou(point)) for point in
                     [*record.curve, last]]  # fmt: skip
    return pd.DataFrame(rows, columns=["configuration", "seed", "iteration", "mIoU"])


def convergence(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Iterations after which a run first had 95 % of its own last mIoU, mean ± standard deviation over seeds.

    Empty for runs with fewer than 4 evaluations during training.
    """
    rows = {}
    for name, found in runs.items():
        evaluated = [run for run in found if len(run.record.curve) >= 4]  # as time_to_converge wants it
        if evaluated:
            iterations = [run.record.parameters["iterations"] / 100 for run in evaluated]
            counts = np.multiply(iterations, [EFFECTS["time_to_converge"](run) for run in evaluated])
            spread = f" ± {counts.std(ddof=1):.0f}" if len(counts) > 1 else ""
            rows[ledger.configuration(name).label] = f"{counts.mean():.0f}{spread}"
    return pd.DataFrame({"iterations to 95 %": pd.Series(rows, dtype=str)})


def of_records(dataset: str | None = None) -> pd.DataFrame:
    """`summary` of every configuration of the ledger, in its setting, on every data set for segmentation with committed
    records, or on one of them.
    """
    tables = {
        data: summary(
            {
                name: claims.in_setting(ledger.configuration(name), found)
                for name in ledger.load().configurations | ledger.configurations_needed(data)
            }
        )
        for data, found in _by_data().items()
        if dataset in (None, data) and data not in datasets.CLASSIFIED
    }
    return pd.concat(tables, names=["data", "configuration"]) if tables else pd.DataFrame()


def of_classified_records(dataset: str | None = None) -> pd.DataFrame:
    """Accuracies (percent, mean over seeds) of what is recorded of whole images with a known bias, one row a
    configuration in its setting; only on one data set if that is given.
    """
    tables = {}
    for data, found in _by_data().items():
        if data in datasets.CLASSIFIED and dataset in (None, data):
            recorded = {ledger.configuration(name).label: claims.in_setting(ledger.configuration(name), found)
                        for name in ledger.configurations_needed(data)}  # fmt: skip
            rows = {
                label: pd.DataFrame([bias.of_run(run) for run in runs]).mean().to_dict() | {"seeds": len(runs)}
                for label, runs in recorded.items()
                if runs and runs[0].record.aligned
            }
            tables[data] = pd.DataFrame.from_dict(rows, orient="index")
    return pd.concat(tables, names=["data", "configuration"]) if tables else pd.DataFrame()


def coverage(board: pd.DataFrame) -> pd.DataFrame:
    """How many claims are judged, by kind: of how many, and on what. A claim that is judged on several counts in each.

    board: from `claims.verdicts`. "computed" needs no data; "as in the paper" is a part of "real data".
    """
    judged = board[board["verdict"] != NOT_JUDGED]
    own, judged = judged["data"], judged.assign(data=judged["data"].map(claims.dataset_of))  # in whatever setting
    judged_on = {
        "computed": judged["data"] == "any",
        "embedded data": judged["data"].isin(datasets.EMBEDDED),
        "real data": ~judged["data"].isin(("any", *datasets.EMBEDDED)),
        "as in the paper": own.isin(AS_IN_THE_PAPER),
    }
    ids = {"claims": board["id"], "judged": judged["id"]} | {name: judged["id"][of] for name, of in judged_on.items()}
    kinds = {name: of.drop_duplicates().map(lambda i: ledger.claim(i).kind).value_counts() for name, of in ids.items()}
    table = pd.DataFrame(kinds).reindex([*KINDS]).fillna(0).astype(int)
    return pd.concat([table, table.sum().to_frame("all").T]).rename(KINDS).rename_axis("kind")


def _by_data() -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in all_runs():
        found.setdefault(run.record.parameters["dataset"], []).append(run)
    return dict(sorted(found.items()))


def gains(runs: Mapping[str, Sequence[Run]], baseline: str = "plain", subset: str = "rare") -> pd.DataFrame:
    """Points gained over the baseline, paired by seed, one row a configuration (its name) with seeds in common with it.

    Columns: ΔmIoU with its 95 % t-interval (low, high; nan with one seed), the gain of a subset of classes, seeds.
    subset: "rare" (those that the data set names, else the rarer half), "foreground" or "background" (nan where it
    names none).
    """
    rows = {}
    for name in (name for name in runs if name != baseline):
        if pairs := paired(runs[name], runs[baseline]):
            every, part = (
                np.array([_mean_iou(run, of) - _mean_iou(other, of) for run, other in pairs]) for of in (None, subset)
            )
            rows[name] = (*mean_interval(every), part.mean(), len(pairs))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["ΔmIoU", "low", "high", f"Δ {subset} mIoU", "seeds"])


def of_class_sets(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """One row a configuration that has runs: mean IoU (percent, mean over seeds) of all, of foreground and of
    background classes, and the seeds. A data set that names no background has no such column.
    """
    rows = {}
    for name, found in ((name, found) for name, found in runs.items() if found):
        sets = {"mIoU": None, "foreground mIoU": "foreground", "background mIoU": "background"}
        means = {title: np.mean([_mean_iou(run, of) for run in found]) for title, of in sets.items()}
        rows[ledger.configuration(name).label] = means | {"seeds": len(found)}
    return pd.DataFrame.from_dict(rows, orient="index").dropna(axis="columns", how="all")


def _mean_iou(run: Run, subset: str | None) -> float:
    """Mean IoU (percent) of all classes or of a subset: "rare" (those that the data set names, else the rarer half),
    "background" (nan where the data set names none) or "foreground" (all others).
    """
    record = run.record
    behind = [name in record.background_classes for name in record.class_names]
    sets = {None: np.ones_like(behind), "background": behind, "foreground": np.logical_not(behind)}
    chosen = rare_labels_of(record) if subset == "rare" else np.flatnonzero(sets[subset])
    return 100 * float(metrics.mean_iou(record.evaluations["val"], chosen))


def by_model(method: str, baseline: str = "plain") -> pd.DataFrame:
    """Mean IoU (percent, mean over the seeds of both) of two configurations on each data set and model with committed
    records, and the gain in points: Region Rebalance Table 3 in small.
    """
    records, pairs = list(all_runs()), {}
    for name in (baseline, method):
        for record in (run.record for run in claims.runs_of(ledger.configuration(name), records)):
            data, architecture, encoder, iterations = (
                record.parameters[key] for key in ("dataset", "architecture", "encoder", "iterations")
            )
            model = data, f"{architecture}/{encoder}", iterations, record.data_fingerprint
            score = 100 * float(metrics.mean_iou(record.evaluations["val"]))
            pairs.setdefault(model, {}).setdefault(name, {})[record.seed] = score
    rows = []
    for (data, model, *_), found in sorted(pairs.items()):
        if seeds := found.get(method, {}).keys() & found.get(baseline, {}).keys():
            before, after = (
                float(np.mean([found[name][seed] for seed in sorted(seeds)])) for name in (baseline, method)
            )
            rows.append((data, model, before, after, after - before, len(seeds)))
    labels = [ledger.configuration(name).label for name in (baseline, method)]
    return pd.DataFrame(rows, columns=["data", "model", *labels, "gain", "seeds"]).set_index(["data", "model"])


def as_text(table: pd.DataFrame, digits: int = 1) -> pd.DataFrame:
    """The table for reading: numbers with a fixed number of decimals, nothing where there is no value; of an empty
    table it is said that nothing is recorded.
    """
    if table.empty:
        return pd.DataFrame({"": ["nothing recorded yet"]}, index=[""])
    return table.map(
        lambda value: "" if pd.isna(value) else f"{value:z.{digits}f}" if isinstance(value, float) else value
    )
