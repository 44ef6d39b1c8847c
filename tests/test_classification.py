"""Whole images in place of label maps: the spine where h = w = 1, and where a bias attribute is known."""

import numpy as np
import pytest
import torch

from segrepro import claims, datasets, evaluation, ledger, models
from segrepro.analysis import bias
from segrepro.datasets.augmentation import Augmentation
from segrepro.datasets.base import Classes, Groups, Images
from segrepro.datasets.batches import InMemory, evaluation_batches, in_memory, training_batches
from segrepro.errors import InputError
from segrepro.experiment import Experiment
from segrepro.following import watched_samples
from segrepro.runs import Run

CLASSES = Classes(("a", "b"), ((0, 0, 0), (255, 255, 255)))
TINY = {
    "dataset": "colored_digits",
    "iterations": 12,
    "evaluations": 2,
    "batch_size": 16,
    "device": "cpu",
    "seeds": "0",
}


def images(n: int = 7, groups: Groups | None = None) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 4, 6, 3), dtype=np.uint8)
    return Images(CLASSES, pixels, np.arange(n) % 2, "print", lambda i: f"image {i}", groups)


def pairs_of_groups(n: int) -> Groups:
    return Groups(("x", "y"), np.arange(n) // 2 % 2, np.eye(2, dtype=bool))


@pytest.mark.parametrize(
    ("architecture", "encoder", "parameters"), [("mlp", "none", 256_510), ("resnet20", "none", 269_722)]
)
def test_networks_have_the_parameters_of_the_authors(architecture, encoder, parameters):
    size = (28, 28) if architecture == "mlp" else (32, 32)
    network = models.build(architecture, encoder, 10, size=size, pretrained=False)
    assert sum(p.numel() for p in network.parameters()) == parameters
    features = network.features(torch.zeros(2, 3, *size, dtype=torch.uint8))
    assert network.classifier(features).shape == (2, 10, 1, 1)


def test_a_pooled_network_is_timms_own_classifier():
    network = models.build("pooled", "resnet10t", 5, pretrained=False).eval()
    pictures = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    encoder = network.body.encoder
    x = (pictures - network.mean) / network.std
    pooled = encoder.forward_features(x).mean(dim=(2, 3))
    torch.testing.assert_close(network.features(pictures)[:, :, 0, 0], pooled)
    assert network.encoder_parameters()
    assert network.pools


def test_a_twin_is_of_the_same_kind_and_starts_elsewhere():
    network = models.build("mlp", "none", 3, size=(4, 6), pretrained=False, input_divisor=255.0)
    twin = network.twin()
    assert twin.std.equal(network.std)
    assert twin.std.flatten()[0] == 255 * 255
    assert not twin.classifier.weight.equal(network.classifier.weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": "mlp", "encoder": "none"}, "mlp must know the height and width"),
        ({"architecture": "mlp", "encoder": "resnet18", "size": (4, 4)}, "mlp goes with encoder=none"),
        ({"architecture": "resnet20", "encoder": "none", "output_stride": 8}, "resnet20 goes with .*no output_stride"),
        ({"architecture": "pooled", "encoder": "resnet18", "output_stride": 8}, "a network that pools has none"),
    ],
)
def test_impossible_classifiers_say_what_is_possible(arguments, message):
    with pytest.raises(InputError, match=message):
        models.build(**arguments, classes=2, pretrained=False)


def test_images_in_memory_are_drawn_as_one_by_one():
    split = images()
    how = {"augmentation": "none", "crop_size": None, "batch_size": 3, "seed": 5, "start": 1, "stop": 6}
    at_once, one_by_one = (list(training_batches(s, **how)) for s in (split, InMemory(split)))
    for first, second in zip(at_once, one_by_one, strict=True):
        assert first.images.equal(second.images)
        assert first.labels.equal(second.labels)
        assert first.index.equal(second.index)
        assert list(first.sources) == second.sources
    assert in_memory(split) is split


@pytest.mark.parametrize("world", [1, 2])
def test_images_in_memory_are_evaluated_as_one_by_one(world):
    split = images()
    for rank in range(world):
        how = {"batch_size": 3, "multiple": 1, "rank": rank, "world": world}
        at_once, one_by_one = (list(evaluation_batches(s, **how)) for s in (split, InMemory(split)))
        assert [batch.index.tolist() for batch in at_once] == [batch.index.tolist() for batch in one_by_one]
        assert all(a.images.equal(b.images) for a, b in zip(at_once, one_by_one, strict=True))


def test_the_label_of_a_shifted_image_stays():
    image, label = images()[1]
    seen = set()
    for seed in range(20):
        shifted, kept = Augmentation("pad_crop")(image, label, seed)
        assert shifted.shape == (3, 4, 6)
        assert kept.tolist() == [[1]]
        seen.add(shifted.numpy().tobytes())
    assert len(seen) > 10


class _Reads(torch.nn.Module):
    """Predicts class 1 where an image's first pixel is bright."""

    def __init__(self):
        super().__init__()
        self.network = models.build("mlp", "none", 2, size=(4, 6), pretrained=False)
        self.methods = []

    def predict(self, pictures, *, head=None):
        bright = (pictures[:, 0, :1, :1] > 127).float()[:, None]
        scores = torch.cat([1 - bright, bright], dim=1)
        return scores.flip(1) if head else scores


def test_counts_are_split_by_bias_value():
    split = images(40, pairs_of_groups(40))
    counts = evaluation.confusion_counts(_Reads(), split, device=torch.device("cpu"))
    by_hand = np.zeros((2, 2, 2), dtype=int)
    for i in range(40):
        by_hand[i // 2 % 2, i % 2, int(split.images[i, 0, 0, 0] > 127)] += 1
    assert counts.tolist() == by_hand.tolist()


def test_whole_images_have_no_windows():
    with pytest.raises(InputError, match="multi_scale is for label maps"):
        evaluation.predictor(_Reads(), inference="multi_scale")


def test_losses_of_single_samples():
    losses = evaluation.sample_losses(_Reads(), images(), [3, 0], device=torch.device("cpu"), batch_size=1)
    right = [int(images().images[i, 0, 0, 0] > 127) == i % 2 for i in (3, 0)]
    expected = [np.log(1 + np.exp(-1.0)) if hit else np.log(1 + np.exp(1.0)) for hit in right]
    assert losses == pytest.approx(expected, rel=1e-6)


def test_cells_and_kinds_by_hand():
    counts = np.array([[[9, 1], [2, 2]], [[1, 3], [0, 10]]])  # group, class, prediction
    cells = bias.cell_accuracies(counts)
    assert cells.tolist() == [[90, 25], [50, 100]]
    kinds = bias.accuracies(cells, np.eye(2, dtype=bool))
    assert kinds == {"unbiased": 66.25, "aligned": 95, "conflicting": 37.5}


def test_watched_samples_are_of_their_kind():
    split = images(40, pairs_of_groups(40))
    found = watched_samples(split)
    assert all(i % 2 == i // 2 % 2 for i in found["aligned"])
    assert len(found["aligned"]) == 20
    assert all(i % 2 != i // 2 % 2 for i in found["conflicting"])
    assert len(found["conflicting"]) == 20


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    experiment = Experiment({**TINY, "runs_dir": str(tmp_path_factory.mktemp("runs"))})
    return experiment, {name: experiment.train(name, 0) for name in ("plain", "lff", "lff@aligned_ratio=0.5")}


def test_a_run_on_biased_data_is_recorded_by_cell_and_head(trained):
    experiment, runs = trained
    run = runs["lff"]
    assert run.group_counts().sum(axis=0).tolist() == run.counts().tolist()
    assert run.group_counts("val/biased").sum() == len(experiment.dataset.val)
    table = bias.curve(run)
    assert table["iteration"].tolist() == [0, 6, 12]
    assert table.notna().all(axis=None)
    assert table["loss aligned"].iloc[0] == pytest.approx(np.log(10), abs=0.2)  # nothing is learned yet
    assert bias.curve(run, "biased")["iteration"].tolist() == [0, 6, 12]
    assert 0 <= bias.detection(run) <= 1
    assert "examples/0" not in run.arrays
    assert run.arrays["watched/conflicting"].dtype == np.float32


def test_what_stands_behind_the_name_is_another_run_in_that_setting(trained):
    experiment, runs = trained
    there = runs["lff@aligned_ratio=0.5"].record
    assert there.key == experiment.key("lff@aligned_ratio=0.5", 0) != experiment.key("lff", 0)
    assert there.parameters["aligned_ratio"] == 0.5
    assert "aligned_ratio" not in runs["lff"].record.parameters
    default = datasets.options("colored_digits")().aligned_ratio
    assert experiment.key(f"lff@aligned_ratio={default}", 0) == experiment.key("lff", 0)
    found = claims.runs_of(ledger.configuration("lff@aligned_ratio=0.5"), runs.values())
    assert found == [runs["lff@aligned_ratio=0.5"]]
    assert claims.runs_of(ledger.configuration("lff@input_divisor=255"), runs.values()) == []
    assert ledger.configuration("lff@aligned_ratio=0.5").label == "LfF (aligned ratio 0.5)"


def test_records_without_a_bias_attribute_say_so():
    run = next(iter(Experiment({}).runs("plain")))
    with pytest.raises(InputError, match="data set synthetic has no bias attribute"):
        run.group_counts()


def test_claims_pair_runs_in_their_settings_and_keep_other_data_apart(trained):
    _, runs = trained
    perfect = {"matrix": [[20, 0], [0, 20]], "by_group": [[[10, 0], [0, 10]], [[10, 0], [0, 10]]]}
    fooled = {"matrix": [[10, 10], [10, 10]], "by_group": [[[10, 0], [10, 0]], [[0, 10], [0, 10]]]}

    def run(evaluation, **options):
        record = runs["plain"].record
        parameters = record.parameters | {"dataset": "colored_mnist"} | options
        changes = {"parameters": parameters, "evaluations": {"val": evaluation}, "class_names": ["a", "b"],
                   "group_names": ["x", "y"], "aligned": [[True, False], [False, True]]}  # fmt: skip
        return Run(runs["plain"].folder, record.model_copy(update=changes))

    biased, unbiased = run(fooled), run(perfect, aligned_ratio=0.1)
    swapped = [run(perfect, swap=True, **ratio) for ratio in ({}, {"aligned_ratio": 0.1})]
    elsewhere = [run(perfect, severity=2), run(perfect, input_divisor=255.0)]
    verdict = claims.judge("lff-C1", [*elsewhere, biased, unbiased, *swapped, *elsewhere])
    assert [(e.effect, e.n) for e in verdict.evidence] == [(-50, 1), (0, 1)]
    incomplete = claims.judge("lff-C1", [elsewhere[0], unbiased, *swapped])
    assert incomplete.outcome == "not judged"
