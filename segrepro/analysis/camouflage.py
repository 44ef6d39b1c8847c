"""How strong the maps of FBNet's module are on foreground and on background (Figure 7)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from segrepro import ledger
from segrepro.analysis import effects
from segrepro.runs import Run


def strength(runs: Sequence[Run], stage: str = "res5") -> pd.DataFrame:
    """How strong FBNet's maps of a stage are on each class, in percent of their mean over all background pixels.

    One row a run, class and map ("X_l", what the module is given; "X_o", what it adds); the background classes first,
    then the foreground, the most frequent first. Columns: class, foreground, map, seed, percent. Runs that did not
    record the stage are left out, and so are all on data sets that name no background.
    """
    rows = []
    for run in runs:
        record, sums = run.record, run.arrays.get(f"strength/{stage}")
        if sums is not None and record.background_classes:
            background = effects.class_indices(record, "background")
            level = sums[:2, background].sum(1) / sums[2, background].sum()
            percent = 100 * sums[:2] / np.where(sums[2] > 0, sums[2], np.nan) / level[:, None]
            foreground = ~np.isin(np.arange(len(record.class_names)), background)
            for c in np.lexsort((-np.array(record.pixel_counts), foreground)):
                for name, value in zip(("X_l", "X_o"), percent[:, c], strict=True):
                    rows.append((record.class_names[c], foreground[c], name, record.seed, value))
    return pd.DataFrame(rows, columns=["class", "foreground", "map", "seed", "percent"])


def foreground_strength(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """The same at Res5 for all foreground pixels together: one row a configuration that recorded it, mean ± standard
    deviation over seeds of X_l and X_o in percent, and the seeds.
    """
    rows = {}
    for name, found in runs.items():
        those = [run for run in found if "strength/res5" in run.arrays and run.record.background_classes]
        if those:
            added = 100 + pd.Series([effects.foreground_strength(run) for run in those])
            given = added - [effects.foreground_strength_gained(run) for run in those]
            spread = {title: f"{values.mean():.0f} ± {values.std():.0f}" if len(those) > 1 else f"{values[0]:.0f}"
                      for title, values in (("X_l", given), ("X_o", added))}  # fmt: skip
            rows[ledger.configuration(name).label] = spread | {"seeds": len(those)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["X_l", "X_o", "seeds"])
