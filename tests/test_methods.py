"""The method contract: slots, combinations, class weights, normalisation by counts; one small step of every method."""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from segrepro import models, registry
from segrepro.datasets.base import IGNORE, Classes, Groups
from segrepro.datasets.batches import Batch
from segrepro.datasets.cityscapes_classes import CITYSCAPES_CLASSES
from segrepro.datasets.statistics import Statistics
from segrepro.errors import InputError
from segrepro.methods import Step, global_mean, owner, pixel_cross_entropy
from segrepro.models import Network, Stage

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


def test_the_mild_weights_are_hrnet_s():
    """Of its Cityscapes loader, road first."""
    network = models.build("fpn", "resnet10t", 19, pretrained=False)
    own = registry.own_parameters(["hrnet_weights"], {})
    subject = registry.build_learner(network, CITYSCAPES_CLASSES, STATISTICS, own)
    expected = [0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023,
                0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507]  # fmt: skip
    assert subject.class_weights.tolist() == pytest.approx(expected)


def test_the_mild_weights_go_by_the_names_of_the_classes(network):
    """Of road, sky and car; other data with as many classes as Cityscapes would get weights at random."""
    assert learner(network, "hrnet_weights").class_weights.tolist() == pytest.approx([0.8373, 0.9539, 0.9037])
    classes = Classes(("road", "tram", "canal"), ((0, 0, 0),) * 3)
    with pytest.raises(InputError, match="only, not for tram, canal. Use median_frequency"):
        registry.build_learner(network, classes, STATISTICS, registry.own_parameters(["hrnet_weights"], {}))


def test_groups_cover_every_parameter_once(network):
    subject = learner(network, "dropclass")
    groups = subject.parameter_groups(encoder_learning_rate=0.1)
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in subject.parameters())
    assert groups[0]["lr"] == 0.1
    assert len(groups) == 3


# one step of every method on a network of two layers, in float64

OF_WHOLE_IMAGES = ("lff", "group_dro", "repair")  # the others get label maps


def two_layers(pools):
    shallow, deep = nn.Conv2d(3, 6, 2, stride=2), nn.Conv2d(6, 5, 2, stride=2)
    body = nn.Sequential(shallow, nn.ReLU(), deep, nn.ReLU(), nn.AdaptiveAvgPool2d(1) if pools else nn.Identity())
    stages = {"res4": Stage(shallow, None, 6, 2), "res5": Stage(deep, None, 5, 4)}
    network = Network(body, stages, width=5, classes=19, mean=(0.5,) * 3, std=(0.25,) * 3, multiple=4, pools=pools)
    network.twin = partial(two_layers, pools)
    return network


def small_learner(name, **values):
    """Of 114 training images: six a class, of which four are bias-aligned, or label maps; few have class 18."""
    torch.manual_seed(0)
    image, whole = np.arange(114), name in OF_WHOLE_IMAGES
    of_class = image // 6
    groups = Groups(("red", "green"), (of_class + (image % 3 == 0)) % 2, np.eye(2, dtype=bool)[np.arange(19) % 2])
    presence = of_class[:, None] == np.arange(19) if whole else image[:, None] % np.arange(1, 20) == 0
    statistics = Statistics(np.arange(20, 1, -1) ** 3, presence, groups)
    own = registry.own_parameters([name], values)
    return registry.build_learner(two_layers(whole), CITYSCAPES_CLASSES, statistics, own).double()


def small_step(subject):
    whole, index = subject.network.pools, torch.arange(0, 114, 13)
    images = (torch.arange(9 * 3 * 16 * 24) * 37 % 251).to(torch.uint8).view(9, 3, 16, 24)
    rows, columns = torch.arange(16).view(-1, 1), torch.arange(24)
    maps = (7 * index.view(-1, 1, 1) + 5 * (rows // 3) + columns // 4) % 20 + IGNORE
    batch = Batch(images, index.view(-1, 1, 1) // 6 if whole else maps, index, [""] * 9)
    return batch, Step(9, 10, torch.Generator().manual_seed(2), batch)


def repeats_of(subject):
    method = owner(subject.methods, "repeats")
    repeats = method.repeats(method.statistics.presence)
    return torch.from_numpy(np.ones(114) if repeats is None else repeats).double()


OTHER_VALUES = {
    "oversample": {"oversample_class": "car"},
    "dropclass": {"alpha": 3.0, "drop_probability": 0.0, "paper_scale": True},
    "fbnet": {"stages": ["res4"], "foreground": ["car"], "auxiliary": "pointwise", "modulator": "convolution",
              "bwbce_lambda": 2.0, "bwbce_prior": 0.05},
    "hard_examples": {"ohem_threshold": 0.7, "ohem_share": 0.5},
    "region_rebalance": {"region_lambda": 0.5, "region_rebalanced": False},
    "effective_number": {"effective_beta": 0.9},
    "balanced_softmax": {"softmax_prior": "regions"},
    "dice": {"dice_cross_entropy": 1.0},
    "essnet": {"d": 4, "k": 3, "tau": 0.3, "margin": 1.5, "normalisation": "none", "distance": "plain",
               "negatives": "random", "embedding_momentum": 0.5, "embedding_power": 2.0,
               "embedding_learning_rate": 0.5},
    "cosine_classifier": {"cosine_tau": 0.3, "embedding_learning_rate": 0.5},
    "lff": {"q": 0.3, "lff_form": "authors", "biased_loss": "ce"},
    "group_dro": {"group_dro_step": 1.0},
    "repair": {"repair_strategy": "threshold"},
}  # fmt: skip
ELSE_AT = {"hard_examples": {"ohem_threshold": 0.0}}  # in place of the default, by which all of a first step is hard


def test_the_other_values_are_of_every_parameter():
    fields = {name: set(kind.Parameters.model_fields) for name, kind in registry.METHODS.items()}
    fields["essnet"].remove("search")  # of two searches that find the same
    assert {name: set(OTHER_VALUES.get(name, {})) for name in fields} == fields


def what_is_seen(name, **values):
    """All that a run takes from a method: losses, prediction, optimiser groups, class weights and repeats."""
    subject = small_learner(name, **(ELSE_AT.get(name, {}) | values))
    torch.manual_seed(1)  # for random classes
    batch, step = small_step(subject)
    seen = {**subject(batch, step), "prediction": subject.eval().predict(batch.images), "repeats": repeats_of(subject)}
    for number, group in enumerate(subject.parameter_groups(0.1)):
        seen |= {f"{key} {number}": torch.tensor(value) for key, value in group.items() if key != "params"}
    return seen | ({} if subject.class_weights is None else {"class weights": subject.class_weights})


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [(name, field, value) for name, values in OTHER_VALUES.items() for field, value in values.items()],
)
def test_every_parameter_changes_something(name, field, value):
    usual = what_is_seen(name)
    torch.testing.assert_close(what_is_seen(name), usual, rtol=0, atol=0)  # no chance in what is compared
    with pytest.raises(AssertionError):
        torch.testing.assert_close(what_is_seen(name, **{field: value}), usual, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", registry.METHODS)
def test_a_golden_step_in_float64(name):
    """Summed loss, norms of its gradient and of the prediction, and the images of an epoch, each times its number.

    If this fails, the method computes something else than before: raise its `version`, so that old records are not
    taken for new ones, and store the new numbers here.
    """
    subject = small_learner(name)
    with torch.no_grad():
        for number, values in enumerate(subject.parameters()):  # a start that no release of PyTorch changes
            values.copy_(torch.cos(torch.arange(values.numel()).double().square() + number).view_as(values))
    batch, step = small_step(subject)
    loss = sum(subject(batch, step).values())
    loss.backward()
    gradient = torch.cat([values.grad.flatten() for values in subject.parameters() if values.grad is not None])
    prediction = subject.eval().predict(batch.images)
    torch.manual_seed(1)  # for what repair keeps
    images = repeats_of(subject) @ torch.arange(114).double()
    found = [loss.item(), gradient.norm().item(), prediction.norm().item(), images.item()]
    assert found == pytest.approx(GOLDEN[name, registry.METHODS[name].version], rel=1e-6)


GOLDEN = {
    ("plain", 1): [11.42355608, 10.53117982, 1543.233606, 6441],
    ("median_frequency", 1): [7.770975644, 10.36454067, 1543.233606, 6441],
    ("hrnet_weights", 1): [11.42667796, 10.50501901, 1543.233606, 6441],
    ("oversample", 1): [11.42355608, 10.53117982, 1543.233606, 6819],
    ("ignore_label", 2): [10.9115294, 10.1934307, 1543.233606, 6441],
    ("dropclass", 1): [5.795622983, 2.813331596, 501.1889948, 6441],
    ("fbnet", 1): [17.8017417, 19.16704358, 2247.338316, 6441],
    ("hard_examples", 1): [11.79438724, 10.89920424, 1543.233606, 6441],
    ("region_rebalance", 1): [14.38115373, 11.99654074, 1543.233606, 6441],
    ("effective_number", 1): [7.790162208, 10.35449135, 1543.233606, 6441],
    ("balanced_softmax", 1): [10.35858537, 8.750263704, 1543.233606, 6441],
    ("dice", 1): [0.9223086884, 0.05239817654, 1543.233606, 6441],
    ("essnet", 1): [32.84881778, 14.80546461, 7160.421547, 6441],
    ("cosine_classifier", 1): [28.09051305, 11.20156289, 6915.940421, 6441],
    ("lff", 1): [6.535209941, 5.608505257, 67.40732813, 6441],
    ("group_dro", 2): [2.689423819, 2.849749842, 67.40732813, 34200],
    ("repair", 1): [10.24261237, 10.92021796, 67.40732813, 2519],
}  # (method, version)
