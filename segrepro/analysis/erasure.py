"""Who needs whom: the IoU of a class when the pixels of another are erased from the image (DropClass Table 4).

The copy of the validation set with class X erased gives an IoU of every other class Y. A class's influencers are the
three classes whose erasing lowers the *baseline's* IoU_Y most; I* is the mean IoU_Y over those three copies, with the
same three for every method. The paper leaves open what replaces erased pixels and whether they are scored: here the
mean colour, and no. So a false alarm of Y on pixels of X disappears with X, and an IoU_Y may rise.
"""

import numpy as np
import pandas as pd
import torch

from segrepro import metrics
from segrepro.datasets.base import IGNORE
from segrepro.errors import InputError
from segrepro.runs import Run

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

    evaluation: "erasure", or "erasure/counterfactual" for synthetic scenes rendered without the class.
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
    return np.argsort(-losses, axis=1, kind="stable")[:, :count]


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
