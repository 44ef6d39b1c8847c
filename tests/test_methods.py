"""The method contract: slots, combinations, class weights, normalisation by counts."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from segrepro import models, registry
from segrepro.datasets.base import IGNORE, Classes
from segrepro.datasets.batches import Batch
from segrepro.errors import InputError
from segrepro.methods import Step, global_mean, pixel_cross_entropy

CLASSES = Classes(("road", "sky", "car"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
STATISTICS = SimpleNamespace(pixel_counts=np.array([100, 50, 0]))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return models.build("fpn", "resnet18", 3, pretrained=False)


def learner(network, *names, **values):
    return registry.build_learner(network, CLASSES, STATISTICS, registry.own_parameters(names, values))


def step_for(labels, iteration=5, iterations=10):
    images = torch.randint(
        0, 256, (len(labels), 3, 32, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    batch = Batch(images, labels, torch.arange(len(labels)), ["scene"] * len(labels))
    return batch, Step(iteration, iterations, torch.Generator().manual_seed(2), batch)


def test_cross_entropy_worked_by_hand():
    logits = torch.tensor([[[[2.0, 0.0]], [[0.0, 0.0]]]])  # one image, two classes, two pixels
    labels = torch.tensor([[[0, IGNORE]]])
    assert pixel_cross_entropy(logits, labels).item() == pytest.approx(math.log(1 + math.exp(-2)))
    labels = torch.tensor([[[0, 1]]])
    weighted = (3 * math.log(1 + math.exp(-2)) + math.log(2)) / 4  # divided by the weights, not by the pixels
    assert pixel_cross_entropy(logits, labels, torch.tensor([3.0, 1.0])).item() == pytest.approx(weighted)


def test_a_batch_without_labels_gives_zero_and_no_nan():
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)
    loss = pixel_cross_entropy(logits, torch.full((1, 3, 3), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().sum() == 0
    assert global_mean(torch.tensor(0.0), torch.tensor(0.0)).item() == 0


def test_dropclass_is_guarded_when_only_the_dropped_class_is_labelled(network):
    """The authors' code divides 0 by 0 here."""
    subject = learner(network, "dropclass")
    labels = torch.zeros(2, 32, 64, dtype=torch.long)
    dropped = []
    for iteration in range(20):
        batch, step = step_for(labels, iteration=99, iterations=100)
        step.generator.manual_seed(iteration)
        terms = subject(batch, step)
        assert all(torch.isfinite(value) for value in terms.values())
        dropped.append(terms["cross_entropy_drop"].item() == 0)
    assert any(dropped)
    assert not all(dropped)


def test_dropclass_starts_as_plain_training(network):
    """At the first iteration lambda and the drop probability are 0."""
    batch, step = step_for(torch.randint(0, 3, (2, 32, 64)), iteration=0)
    network.eval()
    plain = learner(network, "plain")(batch, step)
    drop = learner(network, "dropclass")(batch, step)
    assert drop["cross_entropy"] == plain["cross_entropy"]
    assert drop["cross_entropy_drop"] == 0
    assert "suppression" not in drop


def test_dropclass_without_a_drop_trains_the_drop_path_on_all_labels(network):
    batch, step = step_for(torch.randint(0, 3, (2, 32, 64)), iteration=9)
    network.eval()
    assert "suppression" in learner(network, "dropclass")(batch, step)
    batch, step = step_for(batch.labels, iteration=9)
    subject = learner(network, "dropclass", drop_probability=0.0)
    terms = subject(batch, step)
    whole = step.cross_entropy(subject.methods[0].drop_path(network.features(batch.images), None), batch.labels)
    torch.testing.assert_close(terms["cross_entropy_drop"], 0.9 * whole)
    assert "suppression" not in terms


def test_class_weights_combine_with_dropclass(network):
    """Median of (100, 50) is 75: weights 0.75 and 1.5, and 0 for a class without a pixel."""
    subject = learner(network, "dropclass", "median_frequency")
    assert subject.class_weights.tolist() == [0.75, 1.5, 0.0]
    assert "plain_head" in subject.heads


def test_ignore_label_ignores_one_class_at_every_step_all_alike_likely(network):
    subject = learner(network, "ignore_label").methods[0]
    labels, counts = torch.randint(0, 3, (2, 32, 64)), [0, 0, 0]
    for iteration in range(300):
        _, step = step_for(labels, iteration=iteration, iterations=300)
        step.generator.manual_seed(iteration)
        ignored = subject.targets(labels, step) == IGNORE
        z = labels[ignored][0]
        assert ignored.equal(labels == z)
        counts[z] += 1
    assert min(counts) > 60  # 100 each; five standard deviations are about 41


def test_oversample_doubles_the_images_of_one_class(network):
    subject = learner(network, "oversample", oversample_class="car").methods[0]
    presence = np.array([[1, 1, 0], [1, 0, 1]], dtype=bool)
    assert subject.repeats(presence).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("names", "values", "says"),
    [
        (["dropklass"], {}, "valid: plain"),
        ([], {}, "empty list"),
        (["median_frequency", "hrnet_weights"], {}, "each replaces 'class_weights'"),
        (["dropclass"], {"alpha": -1.0}, "alpha: input should be greater than or equal to 0"),
    ],
)
def test_wrong_methods_and_values_are_errors(names, values, says):
    with pytest.raises(InputError, match=says):
        registry.own_parameters(names, values)


def test_errors_of_comparators_name_the_class(network):
    with pytest.raises(InputError, match="no class 'tram'; valid: road, sky, car"):
        learner(network, "oversample", oversample_class="tram").methods[0].repeats(np.zeros((1, 3), bool))
    with pytest.raises(InputError, match="this data set has 3"):
        learner(network, "hrnet_weights")


def test_the_mild_weights_are_hrnet_s():
    """Of its Cityscapes loader, road first."""
    classes = Classes(tuple(f"c{i}" for i in range(19)), ((0, 0, 0),) * 19)
    network = models.build("fpn", "resnet10t", 19, pretrained=False)
    subject = registry.build_learner(network, classes, STATISTICS, registry.own_parameters(["hrnet_weights"], {}))
    expected = [0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023,
                0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507]  # fmt: skip
    assert subject.class_weights.tolist() == pytest.approx(expected)


def test_groups_cover_every_parameter_once(network):
    subject = learner(network, "dropclass")
    groups = subject.parameter_groups(encoder_learning_rate=0.1)
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in subject.parameters())
    assert groups[0]["lr"] == 0.1
    assert len(groups) == 3
