"""What DropClass claims of its equations and of its cost."""

import torch

from segrepro import models, registry
from segrepro.analysis.checks.registered import SMALL_CLASSES, SMALL_STATISTICS, check, largest, relative, small_batch
from segrepro.methods import Step
from segrepro.models import upsample
from segrepro.papers import dropclass


def _scores(factor: int, signed: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features (2, 6, 4, 5), a classifier's weight (7, 6), Eq. (1)'s scores behind up-sampling by `factor`; float64."""
    generator = torch.Generator().manual_seed(factor)
    features = torch.randn(2, 6, 4, 5, generator=generator, dtype=torch.float64)
    features = (features if signed else features.relu()).requires_grad_()
    weight = torch.randn(7, 6, generator=generator, dtype=torch.float64)
    logits = upsample(torch.nn.functional.conv2d(features, weight[:, :, None, None]), (4 * factor, 5 * factor))
    return features, weight, dropclass.importance_scores(logits, features)


@check
def dropclass_importance_is_the_weight() -> tuple[float, float]:
    """dropclass-C14: Eq. (1) by autograd against W / (h w), with up-sampling by 1, 2, 4 and 8."""
    residuals = []
    for factor in (1, 2, 4, 8):
        _, weight, scores = _scores(factor, signed=True)
        residuals.append(relative(scores, (weight / 20)[:, None, :, None, None].expand_as(scores)))
    return largest(residuals), 1e-10


@check
def dropclass_drop_is_one_scaling() -> tuple[float, float]:
    """dropclass-C15: Eqs. (2) and (4) class by class against `dropclass.drop`, for each dropped class and for none."""
    residuals = []
    for signed in (False, True):
        features, weight, scores = _scores(4, signed)
        for z in (None, *range(len(weight))):
            one_pass = dropclass.drop(features, weight, z, dropclass.paper_constant(features, len(weight)))
            residuals.append(relative(one_pass, dropclass.drop_literally(features, scores, z)))
    return largest(residuals), 1e-10


@check
def dropclass_fits_any_head() -> tuple[float, float]:
    """dropclass-C16: one training step on three heads, fed the same batch as plain training.

    The residual counts the parameters beyond the convolution and its BatchNorm, and those of the network left without a
    finite gradient.
    """
    generator = torch.Generator().manual_seed(0)
    batch = small_batch(generator)
    residual = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for architecture, encoder in (
            ("deeplabv3plus", "resnet18"),
            ("fpn", "resnet18"),
            ("deeplabv3", "mobilenet_v3_large"),
        ):
            network = models.build(architecture, encoder, len(SMALL_CLASSES), pretrained=False)
            own = registry.own_parameters(["dropclass"], {})
            learner = registry.build_learner(network, SMALL_CLASSES, SMALL_STATISTICS, own)
            width = network.classifier.in_channels
            added = sum(p.numel() for p in learner.parameters()) - sum(p.numel() for p in network.parameters())
            sum(learner(batch, Step(1, 2, generator, batch)).values()).backward()
            unreached = sum(p.grad is None or not p.grad.isfinite().all() for p in network.parameters())
            residual += abs(added - (width * width + width + 2 * width)) + int(unreached)
    return float(residual), 0.0
