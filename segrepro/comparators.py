"""What the papers compare with: plain training and simple remedies for class imbalance."""

import numpy as np
import pydantic
import torch
from torch import Tensor

from segrepro.datasets.base import IGNORE
from segrepro.errors import InputError
from segrepro.methods import Method, Step

# The mild class weights of HRNet's Cityscapes loader, road ... bicycle: what DropClass's authors train with where the
# paper says "median-frequency balancing" (true median-frequency weights differ by a factor of hundreds between
# classes).
HRNET_WEIGHTS = (0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023,
                 0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507)  # fmt: skip


class Plain(Method):
    """Cross-entropy and nothing else: the baseline of every comparison."""


class MedianFrequency(Method):
    """Class weights median(freq) / freq_c on the cross-entropy (DropClass Section 3.2); classes without a
    pixel get 0.
    """

    def class_weights(self) -> Tensor:
        counts = np.asarray(self.statistics.pixel_counts, dtype=np.float64)
        weights = np.divide(np.median(counts[counts > 0]), counts, out=np.zeros_like(counts), where=counts > 0)
        return torch.tensor(weights, dtype=torch.float32)


class HRNetWeights(Method):
    """HRNet's mild list of class weights for Cityscapes' 19 classes.

    Raises InputError for any other number of classes.
    """

    def class_weights(self) -> Tensor:
        if len(self.classes) != len(HRNET_WEIGHTS):
            raise InputError(
                "methods: hrnet_weights is a list for Cityscapes' 19 classes; "
                f"this data set has {len(self.classes)}. Use median_frequency."
            )
        return torch.tensor(HRNET_WEIGHTS)


class Oversample(Method):
    """Every training image that contains one chosen class is seen twice an epoch (DropClass Table 3)."""

    class Parameters(Method.Parameters):
        oversample_class: str = pydantic.Field("motorcycle", description="the class whose images are seen twice")

    def repeats(self, presence: np.ndarray) -> np.ndarray:
        name = self.own.oversample_class
        if name not in self.classes.names:
            raise InputError(f"oversample_class: no class '{name}'; valid: {', '.join(self.classes.names)}")
        return 1 + presence[:, self.classes.names.index(name)].astype(np.int64)


class IgnoreLabel(Method):
    """Plain training that ignores the labels of one random class each step (DropClass Table 6, "Ignore Label").

    Departure: the probability rises from 0 to 1 as DropClass's does; the paper does not say.
    """

    def targets(self, labels: Tensor, step: Step) -> Tensor:
        coin = torch.rand((), generator=step.generator).item()
        z = int(torch.randint(len(self.classes), (), generator=step.generator))
        return labels.masked_fill(labels == z, IGNORE) if coin < step.progress else labels
