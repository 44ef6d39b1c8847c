"""The largest batch that a memory budget holds, and from how many classes on a loss pays (ESSNet Figure 1, Table 4).

The loss's memory is measured (`analysis.scaling`). The network's is counted here: the bytes of all tensors that PyTorch
holds in a training step, on its meta device, where nothing is computed. Not counted is what a GPU needs besides, its
context, scratch memory of convolutions and gaps between tensors, so real batches are somewhat smaller.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from segrepro import claims, models
from segrepro.analysis.scaling import CHANNELS, TAU, Held
from segrepro.errors import InputError
from segrepro.papers.essnet import EmbeddingHead

IMAGE = (512, 512)  # pixels; the paper's crop of ADE20K and COCO+LVIS
CLASSES = {"Cityscapes": 19, "ADE20K": 150, "COCO+LVIS": 1284}  # of the paper's data sets in Tables 4 and 5
PER_WEIGHT = 3  # numbers: itself, its gradient, its momentum


class NetworkBytes(NamedTuple):
    """Of the weights with gradients and momentum; and of an image, when the loss begins and at the peak of the step."""

    weights: int
    at_loss: int
    peak: int


def network_bytes(architecture: str, encoder: str, classes: int, *, embeds: bool) -> NetworkBytes:
    """A training step of a network on images of 512 x 512, without its loss.

    embeds: d = 12 channels, up-sampled to the labels' size and of unit length, and their gradient, in place of one
    channel a class before up-sampling, which belongs to the loss.
    """
    batch = 2  # as BatchNorm wants in training
    with torch.device("meta"):
        network = models.build(architecture, encoder, classes, pretrained=False).train()
        if embeds:
            network.classifier = EmbeddingHead(network.classifier.in_channels, classes, CHANNELS, TAU)
        images, weights = torch.zeros(batch, 3, *IMAGE, dtype=torch.uint8), list(network.parameters())
        with Held(*weights, *network.buffers(), images) as held:
            features = network.features(images)
            output = network.classifier.pixel_embeddings(features, IMAGE) if embeds else network.classifier(features)
            gradient = torch.ones_like(output)
            at_loss = held.now
            torch.autograd.grad(output, weights, gradient, allow_unused=True)
    return NetworkBytes(PER_WEIGHT * sum(w.nbytes for w in weights), at_loss // batch, held.most // batch)


def largest_batches(rows: pd.DataFrame, memory_gib: float, architecture: str, encoder: str) -> pd.DataFrame:
    """Images of 512 x 512 in a budget, one row a training loss and number of classes.

    rows: of one device, from `scaling.recorded`. Columns: loss, classes, MiB an image of the network when the loss
    begins, of the loss, and at the step's worst moment (both together, or in the network's backward pass), images (0
    where not even one fits). Raises InputError if the budget is no number above 0.
    """
    if not isinstance(memory_gib, int | float) or not memory_gib > 0:
        raise InputError(f"memory_gib: '{memory_gib}' is no number above 0; give GiB, e.g. 12")
    found = []
    for row in rows[rows["pass"] == "training"].to_dict("records"):
        network = network_bytes(architecture, encoder, row["classes"], embeds=row["loss"] != "dense")
        loss = row["extra MiB"] * 2**20 / row["memory pixels"] * IMAGE[0] * IMAGE[1]
        most = max(network.at_loss + loss, network.peak)
        images = max(0, int((memory_gib * 2**30 - network.weights) // most))
        found.append((row["loss"], row["classes"], *(held / 2**20 for held in (network.at_loss, loss, most)), images))
    return pd.DataFrame(found, columns=["loss", "classes", "network MiB", "loss MiB", "most MiB", "images"])


def crossover(rows: pd.DataFrame, quantity: str, baseline: str = "dense") -> pd.Series:
    """The number of classes from which each loss takes less of a quantity than the baseline, for good.

    rows: of one device and pass. Between measured numbers of classes both follow a straight line in logarithms. The
    smallest measured number where the loss takes less throughout, infinity where it takes more at the largest.
    """
    table = np.log(rows.pivot(index="classes", columns="loss", values=quantity))
    excess, at = table.drop(columns=baseline).sub(table[baseline], axis=0), np.log(table.index.to_numpy())

    def of(values: np.ndarray) -> float:
        more = np.flatnonzero(values >= 0)
        if len(more) == 0:
            return float(table.index[0])
        last = more[-1]
        if last == len(values) - 1:
            return np.inf
        share = values[last] / (values[last] - values[last + 1])
        return float(np.exp(at[last] + share * (at[last + 1] - at[last])))

    return pd.Series({name: of(column.to_numpy()) for name, column in excess.items()}, name=quantity)


def printed(number: int) -> pd.DataFrame:
    """The paper's Table 4 (memory, batches) or 5 (seconds): a row a number of classes, columns (metric, method)."""
    table = claims.table("essnet", number)
    table = table.assign(classes=table["dataset"].map(CLASSES))
    return table.pivot(index="classes", columns=["metric", "method"], values="value").sort_index(axis=1)
