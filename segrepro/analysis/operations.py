"""The operations that a network and a method take, counted without computing anything."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from segrepro import models, registry
from segrepro.datasets.batches import Batch
from segrepro.datasets.cityscapes_classes import CITYSCAPES_CLASSES
from segrepro.datasets.statistics import Statistics
from segrepro.methods import Step


def flops(
    architecture: str, encoder: str, names: Sequence[str], size: tuple[int, int], *, training: bool = False,
    output_stride: int | None = None,
) -> int:  # fmt: skip
    """Floating-point operations of one image of `size` through a network of 19 classes with the named methods.

    Counted as PyTorch does, two for each multiply-add of convolutions and matrix products and none for the rest.
    training: up to the losses, not just to the prediction. Nothing is computed, so it takes no time and no memory.
    """
    classes = CITYSCAPES_CLASSES
    statistics = Statistics(np.ones(len(classes), dtype=np.int64), np.ones((1, len(classes)), dtype=bool))
    with torch.device("meta"):
        network = models.build(architecture, encoder, len(classes), output_stride=output_stride, pretrained=False)
        learner = registry.build_learner(network, classes, statistics, registry.own_parameters(names, {})).eval()
        batch = Batch(torch.zeros(1, 3, *size, dtype=torch.uint8), torch.zeros(1, *size, dtype=torch.int64),
                      torch.zeros(1), [""])  # fmt: skip
    with FlopCounterMode(display=False) as counter:
        if training:
            learner(batch, Step(0, 1, torch.Generator(), batch))
        else:
            learner.predict(batch.images)
    return counter.get_total_flops()
