"""DropClass: worked by hand, in limits, and against the literal equations through autograd."""

import time

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from segrepro import models, registry
from segrepro.datasets.base import IGNORE, Classes
from segrepro.datasets.batches import Batch
from segrepro.datasets.statistics import Statistics
from segrepro.methods import Step
from segrepro.models import upsample
from segrepro.papers.dropclass import (
    channel_scales,
    drop,
    drop_and_convolve,
    drop_literally,
    importance_scores,
    paper_constant,
    suppression_loss,
)


def literal(features, classifier, z, size=None):
    """Eqs. (1), (2), (4) with autograd, on logits up-sampled to `size`."""
    features = features.detach().requires_grad_()
    logits = classifier(features)
    scores = importance_scores(logits if size is None else upsample(logits, size), features)
    return drop_literally(features, scores, z), scores


def test_drop_worked_by_hand():
    # One pixel, K = 2 features (3, 2), C = 3 classes; W = [[1, -1], [2, 1], [-1, 4]].
    features = torch.tensor([3.0, 2.0]).view(1, 2, 1, 1)
    weight = torch.tensor([[1.0, -1.0], [2.0, 1.0], [-1.0, 4.0]])
    # A^1 = (3, 0), A^2 = (6, 2), A^3 = (0, 8). Without class 1 (index 0) the kept two average to (3, 5).
    assert drop(features, weight, z=0).flatten().tolist() == [3.0, 5.0]
    # With all three kept: (9, 10) / 3.
    torch.testing.assert_close(drop(features, weight, z=None).flatten(), torch.tensor([3.0, 10 / 3]))
    # The paper's constants: 1/C and 1/(h1 w1) = 1, so (6, 10) / 3.
    torch.testing.assert_close(
        drop(features, weight, z=0, constant=paper_constant(features, 3)).flatten(), torch.tensor([2.0, 10 / 3])
    )


def test_negative_features_survive_where_the_weight_is_negative():
    features, weight = torch.tensor([-2.0]).view(1, 1, 1, 1), torch.tensor([[-3.0], [1.0]])
    assert drop(features, weight, z=1).item() == 6.0  # (-2) * (-3)
    assert drop(features, weight, z=0).item() == 0.0  # (-2) * 1 is cut by the ReLU


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("z", [None, 0, 4])
def test_one_pass_equals_the_literal_form(signed, z):
    torch.manual_seed(0)
    features = torch.randn(2, 7, 3, 5, dtype=torch.float64)
    features = features if signed else features.abs()
    classifier = torch.nn.Conv2d(7, 5, 1).double()
    expected, _ = literal(features, classifier, z, size=(12, 20))
    weight, constant = classifier.weight[:, :, 0, 0], paper_constant(features, 5)
    tolerance = {"rtol": 1e-10, "atol": 1e-10 * expected.abs().max().item()}
    torch.testing.assert_close(drop(features, weight, z, constant), expected, **tolerance)
    if not signed:
        convolution = torch.nn.Conv2d(7, 7, 1).double()
        mixed = drop_and_convolve(features, weight, z, convolution, constant)
        torch.testing.assert_close(mixed, convolution(expected), rtol=1e-10, atol=1e-12)


def test_importance_is_the_classifier_weight():
    """Claim C14: with half-pixel bilinear up-sampling S = W / (h1 w1) at every location; the bias plays no part."""
    torch.manual_seed(0)
    classifier = torch.nn.Conv2d(4, 3, 1).double()
    _, scores = literal(torch.randn(1, 4, 3, 5, dtype=torch.float64), classifier, None, size=(12, 20))
    expected = classifier.weight.detach()[:, None].expand_as(scores) / 15
    torch.testing.assert_close(scores, expected, rtol=1e-10, atol=1e-12)


def test_gradient_reaches_features_and_weight_twice():
    """Nothing is detached: the weight learns as classifier and as importance score (authors' code, row 4)."""
    torch.manual_seed(0)
    features, weight = torch.rand(1, 3, 2, 2, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    drop(features, weight, z=1).sum().backward()
    positive = (weight > 0).double()
    positive[1] = 0  # the dropped class gets nothing
    expected = positive * features.detach().double().sum(dim=(0, 2, 3)) / 3
    torch.testing.assert_close(weight.grad.double(), expected)
    assert features.grad.abs().sum() > 0


def test_channel_scales_of_two_halves_make_absolute_values():
    weight = torch.randn(6, 5)
    positive, negative = channel_scales(weight, None)
    torch.testing.assert_close(positive + negative, weight.abs().mean(0))
    torch.testing.assert_close(positive - negative, weight.mean(0))


def test_suppression_is_the_mean_probability():
    logits = torch.zeros(1, 4, 2, 2)
    assert suppression_loss(logits, 2).item() == pytest.approx(0.25)  # untrained: 1/C
    logits[:, 2] = -100.0
    assert suppression_loss(logits, 2).item() == pytest.approx(0.0)


def test_memory_of_the_drop_is_flat_in_the_number_of_classes():
    """What is kept for the backward pass, beyond the weights themselves, does not grow with C times pixels."""
    features = torch.rand(2, 64, 32, 32, requires_grad=True)

    def kept_bytes(classes):
        kept = {}
        weight = torch.randn(classes, 64, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: kept.update({x.data_ptr(): x.nbytes}) or x, lambda x: x
        ):
            drop(features, weight, z=3)
        return sum(kept.values())

    assert kept_bytes(1000) - kept_bytes(19) <= 4 * (1000 - 19) * 64 * 4  # a few matrices like W, nothing with pixels


def test_time_of_the_drop_is_flat_in_the_number_of_classes():
    """One scaling a channel: 1000 classes cost what 19 do. A ratio within one run, the best of several."""
    features = torch.rand(4, 256, 64, 128)
    few, many = torch.randn(19, 256), torch.randn(1000, 256)

    def seconds(weight):
        began = time.perf_counter()
        drop(features, weight, z=3)
        return time.perf_counter() - began

    pairs = [(seconds(few), seconds(many)) for _ in range(15)]
    assert min(m for _, m in pairs) < 2 * min(f for f, _ in pairs)


# the method


def learner(**values):
    torch.manual_seed(0)
    network = models.build("fpn", "resnet10t", 3, pretrained=False)
    statistics = Statistics(np.array([3, 2, 1]), np.ones((2, 3), dtype=bool))
    own = registry.own_parameters(["dropclass"], values)
    classes = Classes(("road", "sky", "car"), ((0, 0, 0),) * 3)
    return registry.build_learner(network, classes, statistics, own).double().eval()


def batch_of():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, 3, 32, 64), generator=generator).to(torch.uint8)
    labels = torch.randint(IGNORE, 3, (2, 32, 64), generator=generator)
    return Batch(images, labels, torch.arange(2), ["scene"] * 2)


def literal_path(subject, features, z):
    """y_drop with W as importance scores, and the kept classes' mean in place of 1/C."""
    classifier = subject.network.classifier
    kept = 3 if z is None else 2
    return classifier(subject.methods[0].mix(drop_literally(features, classifier.weight[:, None], z) * 3 / kept))


def test_what_is_tested_is_the_drop_path_with_every_class_kept():
    subject, images = learner(), batch_of().images
    expected = upsample(literal_path(subject, subject.network.features(images), None), (32, 64))
    torch.testing.assert_close(subject.predict(images), expected)
    torch.testing.assert_close(subject.predict(images, head="plain_head"), subject.network(images))


def test_the_terms_of_a_step_with_a_drop():
    """At nine tenths of the training: a tenth of plain training, and the rest on the drop path without class z."""
    subject, batch = learner(alpha=3.0), batch_of()
    terms = subject(batch, Step(9, 10, torch.Generator().manual_seed(2), batch))
    generator = torch.Generator().manual_seed(2)
    assert torch.rand((), generator=generator) < 0.9
    z = int(torch.randint(3, (), generator=generator))
    y_drop = literal_path(subject, subject.network.features(batch.images), z)
    plain = cross_entropy(subject.network(batch.images), batch.labels, ignore_index=IGNORE)
    others = batch.labels.masked_fill(batch.labels == z, IGNORE)
    dropped = cross_entropy(upsample(y_drop, (32, 64)), others, ignore_index=IGNORE)
    suppressed = y_drop.softmax(dim=1)[:, z].mean()
    torch.testing.assert_close(
        terms, {"cross_entropy": 0.1 * plain, "cross_entropy_drop": 0.9 * dropped, "suppression": 3 * suppressed}
    )


def features_of(subject, rectified):
    subject.network.rectified = rectified
    features = torch.randn(2, 128, 4, 8, generator=torch.Generator().manual_seed(0)).double()
    return features.abs() if rectified else features


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("z", [None, 1])
def test_the_drop_path_is_the_literal_one(rectified, z):
    subject = learner()
    features = features_of(subject, rectified)
    torch.testing.assert_close(subject.methods[0].drop_path(features, z), literal_path(subject, features, z))


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("z", [None, 1])
def test_the_paper_s_scale_is_that_of_its_equations(rectified, z):
    """Through autograd on up-sampled logits, so with the constants of Eqs. (1) and (4)."""
    subject = learner(paper_scale=True)
    features = features_of(subject, rectified)
    a_drop, _ = literal(features, subject.network.classifier, z, size=(32, 64))
    expected = subject.network.classifier(subject.methods[0].mix(a_drop))
    torch.testing.assert_close(subject.methods[0].drop_path(features, z), expected)
