"""Scores of recorded runs as tables: means and standard deviations over seeds, in percent."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from segrepro import claims, ledger, metrics
from segrepro.runs import Run, all_runs


def _spread(values: Sequence[float]) -> str:
    """ "41.3 ± 0.6" from fractions; one value stands alone."""
    percent = 100 * np.asarray(values)
    return f"{percent.mean():.1f} ± {percent.std(ddof=1):.1f}" if len(percent) > 1 else f"{percent[0]:.1f}"


def _scores(run: Run) -> dict[str, Callable[[dict], float]]:
    rare = [run.record.class_names.index(name) for name in run.record.rare_classes]
    return {
        "mIoU": metrics.mean_iou,
        "rare mIoU": lambda counts: metrics.mean_iou(counts, rare),
        "mean accuracy": metrics.mean_accuracy,
        "pixel accuracy": metrics.pixel_accuracy,
        "fIoU": metrics.frequency_weighted_iou,
    }


def summary(runs: Mapping[str, Sequence[Run]], evaluation: str = "val") -> pd.DataFrame:
    """One row a configuration that has runs: mean ± standard deviation over seeds of each score, and the seeds."""
    rows = {}
    for name, found in runs.items():
        if found and evaluation in found[0].record.evaluations:
            counts = [run.record.evaluations[evaluation] for run in found]
            row = {score: _spread([of(c) for c in counts]) for score, of in _scores(found[0]).items()}
            rows[ledger.configuration(name).label] = row | {"seeds": len(found)}
    return pd.DataFrame.from_dict(rows, orient="index")


def by_class(runs: Mapping[str, Sequence[Run]], baseline: str = "plain") -> pd.DataFrame:
    """IoU of each class in percent, mean over seeds, and each configuration's gain over the baseline in points.

    The classes by pixel frequency, the rarest first, as in DropClass Table 1; "all" and "rare" are the means.
    """
    record = runs[baseline][0].record
    pixels = np.asarray(record.pixel_counts) / sum(record.pixel_counts)
    rare = [name in record.rare_classes for name in record.class_names]
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


def of_records(dataset: str | None = None) -> pd.DataFrame:
    """`summary` of every configuration of the ledger on every data set with committed records, or on one of them."""
    by_data: dict[str, list[Run]] = {}
    for run in all_runs():
        by_data.setdefault(run.record.parameters["dataset"], []).append(run)
    tables = {
        data: summary({name: claims.runs_of(way, found) for name, way in ledger.load().configurations.items()})
        for data, found in sorted(by_data.items())
        if dataset in (None, data)
    }
    return pd.concat(tables, names=["data", "configuration"]) if tables else pd.DataFrame()


def as_text(table: pd.DataFrame, digits: int = 1) -> pd.DataFrame:
    """The table for reading: numbers with a fixed number of decimals, nothing where there is no value."""
    return table.map(
        lambda value: "" if pd.isna(value) else f"{value:z.{digits}f}" if isinstance(value, float) else value
    )
