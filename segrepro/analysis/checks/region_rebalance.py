"""What Region Rebalance claims of IoU and accuracy, of its loss, and of its cost."""

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from segrepro import metrics, models, registry
from segrepro.analysis import recall_precision
from segrepro.analysis.checks.registered import SMALL_CLASSES, SMALL_STATISTICS, check, largest, small_batch
from segrepro.methods import Learner, Step
from segrepro.papers.region_rebalance import log_prior, region_loss


@check
def region_rebalance_iou_from_accuracy() -> tuple[float, float]:
    """region_rebalance-C13: IoU times (1/Acc + FP/TP) against 1 (Eq. (3)), each class of random confusion matrices."""
    matrices = np.random.default_rng(0).integers(1, 10**6, (1000, 19, 19))
    inverse = 1 / metrics.class_accuracy(matrices) + recall_precision.false_positive_ratio(matrices)
    return float(np.abs(metrics.iou(matrices) * inverse - 1).max()), 1e-12


@check
def region_rebalance_remark_1() -> tuple[float, float]:
    """region_rebalance-C14: the sign of Remark 1's margin against that of the gain in IoU; counts disagreements.

    100 000 random cases, half of them with FP^r at the bound or one pixel beside it.
    """
    generator = np.random.default_rng(0)
    tp, fp, missed = (10 ** generator.uniform(0, 6, (3, 100_000))).astype(np.int64)
    growth = generator.integers(1, 10, len(tp))  # 1 + K
    pixels = growth * tp + missed
    bound = growth * fp + (growth - 1) * pixels
    anywhere = generator.integers(0, 2 * bound + 2)
    beside = bound + generator.integers(-1, 2, len(tp))
    fp_after = np.where(np.arange(len(tp)) % 2, anywhere, beside)
    baseline = metrics.Tallies(tp, fp, pixels - tp)
    method = metrics.Tallies(growth * tp, fp_after, missed)
    gain = metrics.iou(method) - metrics.iou(baseline)
    return float((np.sign(recall_precision.remark_1_margin(method, baseline)) != np.sign(gain)).sum()), 0.0


@check
def region_rebalance_slope_of_iou() -> tuple[float, float]:
    """region_rebalance-C15: IoU = Acc / (1 + b Acc) against counted IoU, its slope against differences of it."""
    matrices = np.random.default_rng(0).integers(1, 10**6, (1000, 19, 19))
    accuracy, b = metrics.class_accuracy(matrices), recall_precision.false_positive_ratio(matrices)
    formula = np.abs(recall_precision.iou_of(accuracy, b) - metrics.iou(matrices)).max()
    accuracy, b, step = np.linspace(0.01, 0.99, 99)[:, None], np.linspace(0, 10, 101), 1e-5
    rise = recall_precision.iou_of(accuracy + step, b) - recall_precision.iou_of(accuracy - step, b)
    slope = np.abs(recall_precision.iou_slope(accuracy, b) - rise / (2 * step)).max()
    return largest([formula, slope]), 1e-7


@check
def region_rebalance_is_free_at_inference() -> tuple[float, float]:
    """region_rebalance-C16: after a training step, the network that is deployed against one built without the method.

    The residual is the sum of the differences in parameters, in FLOPs, and of the largest difference of the outputs.
    """
    generator = torch.Generator().manual_seed(0)
    batch, residual = small_batch(generator), 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for architecture in ("deeplabv3plus", "fpn"):
            network, bare = (models.build(architecture, "resnet18", 3, pretrained=False) for _ in range(2))
            own = registry.own_parameters(["region_rebalance"], {})
            trained = registry.build_learner(network, SMALL_CLASSES, SMALL_STATISTICS, own)
            optimiser = torch.optim.SGD(trained.parameters(), lr=0.01)
            sum(trained(batch, Step(0, 1, generator, batch)).values()).backward()
            optimiser.step()
            bare.load_state_dict(trained.network.state_dict())
            parameters, flops, outputs = zip(*(_deployed(of, batch.images) for of in (trained, bare)), strict=True)
            residual += abs(parameters[0] - parameters[1]) + abs(flops[0] - flops[1])
            residual += float((outputs[0] - outputs[1]).abs().max())
    return residual, 0.0


def _deployed(model: Learner | models.Network, images: torch.Tensor) -> tuple[int, int, torch.Tensor]:
    """Parameters that the prediction of the images uses, its FLOPs, and the logits."""
    model.eval()
    model.zero_grad(set_to_none=True)
    with FlopCounterMode(display=False) as counter:
        logits = model.predict(images) if isinstance(model, Learner) else model(images)
    logits.sum().backward()
    return sum(p.numel() for p in model.parameters() if p.grad is not None), counter.get_total_flops(), logits.detach()


@check
def region_rebalance_loss_is_a_shift() -> tuple[float, float]:
    """region_rebalance-C17: Eq. (8) as printed against `region_loss`; F times 1000; uniform F against cross-entropy."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 19, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 19, (50,), generator=generator)
    frequency = torch.randint(1, 1000, (19,), generator=generator)
    names = [str(k) for k in range(19)]

    def ours(counts: torch.Tensor) -> torch.Tensor:
        return region_loss(logits, labels, log_prior(counts.numpy(), names).double())

    weighted = frequency * logits.exp()
    printed = -(weighted.gather(1, labels[:, None])[:, 0] / weighted.sum(1)).log().mean()
    plain = torch.nn.functional.cross_entropy(logits, labels)
    pairs = [(ours(frequency), printed), (ours(1000 * frequency), printed), (ours(torch.full((19,), 7)), plain)]
    return largest(float(abs(found / expected - 1)) for found, expected in pairs), 1e-6
