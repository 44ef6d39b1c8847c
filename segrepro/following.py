"""How a bias develops: accuracies by cell of class and bias value, and the losses of aligned and conflicting samples.

Only where a data set knows its bias attribute. "Watched" are up to 1000 aligned and 1000 conflicting training samples,
evenly spread (LfF Figures 2 and 4).
"""

import numpy as np
import torch

from segrepro import evaluation
from segrepro.datasets.base import Split
from segrepro.methods import Learner

WATCHED = 1000  # training samples of each kind


class Follower:
    """Measures a learner, and each of its heads, on the validation split and on the watched training samples."""

    def __init__(self, train: Split, val: Split, device: torch.device):
        """Both splits must know their groups."""
        self.train, self.val, self.device = train, val, device
        self.watched = {kind: indices for kind, indices in watched_samples(train).items() if len(indices)}

    def losses(self, learner: Learner, head: str | None) -> dict[str, np.ndarray]:
        """Cross-entropies (n,) of the watched samples: "aligned", "conflicting"."""
        return {
            kind: evaluation.sample_losses(learner, self.train, indices, device=self.device, head=head)
            for kind, indices in self.watched.items()
        }

    def point(self, learner: Learner) -> dict[str, list | float]:
        """One point of a curve, for the learner's prediction and each head: hits (G, C) and mean losses by kind."""
        point = {}
        for head in (None, *learner.heads):
            counts = evaluation.confusion_counts(learner, self.val, device=self.device, head=head)  # (G, C, C)
            point[named("hits", head)] = np.diagonal(counts, axis1=1, axis2=2).tolist()
            for kind, values in self.losses(learner, head).items():
                point[named(kind, head)] = float(values.mean())
        return point

    def arrays(self, learner: Learner) -> dict[str, np.ndarray]:
        """What a record keeps at the end: every watched sample's loss, by kind and head ("watched/aligned/biased")."""
        return {
            f"watched/{named(kind, head)}": values
            for head in (None, *learner.heads)
            for kind, values in self.losses(learner, head).items()
        }


def named(name: str, head: str | None) -> str:
    """Name of a quantity of a head; the learner's own prediction has no suffix."""
    return f"{name}/{head}" if head else name


def watched_samples(train: Split) -> dict[str, np.ndarray]:
    """Indices of the training samples that are followed: "aligned" and "conflicting", at most WATCHED of each."""
    labels = np.array([int(train.labels(i)[0, 0]) for i in range(len(train))])
    aligned = train.groups.aligned[labels, train.groups.index]
    found = {"aligned": np.flatnonzero(aligned), "conflicting": np.flatnonzero(~aligned)}
    return {kind: those[np.linspace(0, len(those) - 1, min(WATCHED, len(those))).round().astype(int)]
            for kind, those in found.items()}  # fmt: skip
