"""What FBNet's module does: how strong its maps are on foreground and on background (Figure 7), and whether its loss is
learned at all.
"""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from scipy.special import entr

from segrepro import ledger, models
from segrepro.analysis import effects
from segrepro.datasets.base import IGNORE, Split
from segrepro.papers.fbnet import block_targets, blocks_with
from segrepro.runs import Record, Run

IMAGES = 100  # of a split, from which the shares of blocks are counted
LAST = 5  # points of the recorded loss curve, of about 100, that are its end


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


def learned_blocks(runs: Mapping[str, Sequence[Run]], split: Split) -> pd.DataFrame:
    """How far the block-wise loss (Eq. (4), summed over the stages) is learned: one row a configuration that has it.

    Columns: "start", "half way" and "end" of the recorded training loss, mean over seeds; "blind", what a layer costs
    that answers every block with the class's share of the split's blocks; seeds. A loss that ends above "blind" has
    taught the features nothing about where a class is.
    """
    rows = {}
    shares = functools.cache(functools.partial(block_shares, split))  # most configurations ask for the same
    for name, found in runs.items():
        found = [run for run in found if "bwbce" in run.record.history[-1]]
        if not found:
            continue
        record, curves = found[0].record, [[point["bwbce"] for point in run.record.history] for run in found]
        lambda_1, half = record.parameters["bwbce_lambda"], len(curves[0]) // 2
        parts = {"start": slice(1), "half way": slice(half, half + LAST), "end": slice(-LAST, None)}
        row = {title: np.mean([np.mean(curve[part]) for curve in curves]) / lambda_1 for title, part in parts.items()}
        foreground = tuple(effects.class_indices(record, record.parameters["foreground"] or "foreground"))
        of_stages = [shares(foreground, stride) for stride in _strides(record)]
        blind = sum((entr(share) + entr(1 - share)).mean() for share in of_stages)
        rows[ledger.configuration(name).label] = row | {"blind": blind, "seeds": len(found)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["start", "half way", "end", "blind", "seeds"])


def block_shares(split: Split, foreground: Sequence[int], stride: int) -> np.ndarray:
    """The share (C_f,) of the labelled blocks of stride x stride pixels that hold each foreground class, over IMAGES
    images at most, evenly spread.
    """
    held, blocks = torch.zeros(len(foreground)), 0.0
    for index in np.unique(np.linspace(0, len(split) - 1, IMAGES).round().astype(int)):
        labels = torch.from_numpy(np.asarray(split.labels(int(index)))).long()[None]
        held += block_targets(labels, foreground, stride).sum(dim=(0, 2, 3))
        blocks += blocks_with((labels != IGNORE)[:, None], stride).sum().item()
    return (held / blocks).double().numpy()


def _strides(record: Record) -> list[int]:
    values = record.parameters
    with torch.device("meta"):  # neither memory nor weights
        network = models.build(values["architecture"], values["encoder"], 1, pretrained=False, size=(32, 32),
                               output_stride=values.get("output_stride"))  # fmt: skip
    return [network.stage(stage).stride for stage in values["stages"]]
