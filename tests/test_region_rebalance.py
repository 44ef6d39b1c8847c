"""Region Rebalance: regions, loss and comparators by hand and in limits, a few steps, its claims and its tables."""

import math
import warnings

import numpy as np
import pytest
import torch
from factories import make_run

from segrepro import claims, ledger, methods, models, registry
from segrepro.analysis import imbalance, recall_precision
from segrepro.analysis.effects import EFFECTS
from segrepro.comparators import dice_loss
from segrepro.datasets.base import IGNORE, Classes
from segrepro.datasets.batches import Batch
from segrepro.datasets.statistics import Statistics
from segrepro.errors import InputError
from segrepro.experiment import Experiment
from segrepro.methods import Step, pixel_cross_entropy
from segrepro.metrics import Tallies
from segrepro.papers.region_rebalance import log_prior, region_features, region_loss

CLASSES = Classes(("road", "sky", "car"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
STATISTICS = Statistics(np.array([100, 50, 10]), np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 0, 0]], dtype=bool))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return models.build("fpn", "resnet10t", 3, pretrained=False)


def learner(network, name, statistics=STATISTICS, **values):
    return registry.build_learner(network, CLASSES, statistics, registry.own_parameters([name], values))


def batch_of(labels):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (len(labels), 3, 32, 64), dtype=torch.uint8, generator=generator)
    batch = Batch(images, labels, torch.arange(len(labels)), ["scene"] * len(labels))
    return batch, Step(5, 10, torch.Generator().manual_seed(2), batch)


def random_labels(count=2):
    return torch.randint(0, 3, (count, 32, 64), generator=torch.Generator().manual_seed(3))


# regions and their loss


def test_regions_worked_by_hand():
    """Two cells a side, features (2, 20), (4, 40), (6, 60), (8, 80); every cell covers 2 x 2 label pixels."""
    features = torch.tensor([[2.0, 4.0], [6.0, 8.0]]) * torch.tensor([1.0, 10.0]).view(1, 2, 1, 1)
    labels = torch.tensor([[[0, 0, 0, IGNORE],
                            [0, 0, 2, 2],
                            [0, 0, IGNORE, IGNORE],
                            [0, 0, IGNORE, IGNORE]]])  # fmt: skip
    means, of = region_features(features, labels, 3)
    # Class 0 has 4 pixels in the cell of 2, one in that of 4, 4 in that of 6; class 2 two in that of 4.
    mean = (4 * 2 + 4 + 4 * 6) / 9
    torch.testing.assert_close(means, torch.tensor([[mean, 10 * mean], [4.0, 40.0]]))
    assert of.tolist() == [0, 2]


def test_regions_of_different_images_stay_apart():
    features = torch.arange(4.0).view(2, 1, 1, 2)
    means, of = region_features(features, torch.tensor([[[1, 1]], [[1, 0]]]), 2)
    assert means.flatten().tolist() == [0.5, 3.0, 2.0]  # by image, then class
    assert of.tolist() == [1, 0, 1]


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (3, 4), (2, 3)])
def test_regions_are_means_over_enlarged_features(size):
    """The same as up-sampling A without interpolation and averaging with masks, at any ratio of the sizes."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, 3, (2, *size), generator=generator)
    rows, columns = ([i * cells // n for i in range(n)] for n, cells in zip(size, (3, 4), strict=True))
    enlarged = features[:, :, rows][:, :, :, columns]
    expected = [enlarged[i][:, labels[i] == c].mean(1) for i in range(2) for c in range(3) if (labels[i] == c).any()]
    means, of = region_features(features, labels, 3)
    torch.testing.assert_close(means, torch.stack(expected))
    assert of.tolist() == [c for i in range(2) for c in range(3) if (labels[i] == c).any()]


def test_a_region_s_gradient_reaches_its_cells_by_area():
    features = torch.ones(1, 1, 1, 2, requires_grad=True)
    means, _ = region_features(features, torch.tensor([[[0, 0, 0, 1]]]), 2)
    means[0].sum().backward()
    torch.testing.assert_close(features.grad.flatten(), torch.tensor([2 / 3, 1 / 3]))


def test_the_region_loss_worked_by_hand():
    """Logits (0, log 2), F = (6, 1): the weighted odds are 6 to 2."""
    logits, prior = torch.tensor([[0.0, math.log(2)]] * 2), log_prior([6, 1], ["a", "b"])
    assert region_loss(logits, torch.tensor([0, 1]), prior).item() == pytest.approx(
        -(math.log(6 / 8) + math.log(2 / 8)) / 2
    )


def test_without_regions_the_loss_is_zero_and_so_is_its_gradient():
    features = torch.randn(2, 3, 4, 4, requires_grad=True)
    regions, of = region_features(features, torch.full((2, 8, 8), IGNORE), 3)
    assert regions.shape == (0, 3)
    loss = region_loss(regions, of, torch.zeros(3))
    loss.backward()
    assert loss.item() == 0
    assert features.grad.abs().sum() == 0


def test_regions_are_counted_over_all_processes(monkeypatch):
    """Two processes with 1 and 3 regions: the average of their losses is that of all four together."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(4, 3, generator=generator), torch.tensor([0, 1, 2, 0])
    together = region_loss(logits, labels, torch.zeros(3))
    monkeypatch.setattr(methods, "is_distributed", lambda: True)
    monkeypatch.setattr(methods, "sum_over_processes", lambda count: torch.full_like(count, 4))
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    shares = [region_loss(logits[part], labels[part], torch.zeros(3)) for part in (slice(0, 1), slice(1, 4))]
    torch.testing.assert_close(sum(shares) / 2, together)


# the prior


def test_a_class_that_training_lacks_counts_once_and_is_named():
    with pytest.warns(UserWarning, match="in no training image: sky; frequency 0 is raised to 1"):
        prior = log_prior([4, 0, 2], CLASSES.names)
    torch.testing.assert_close(prior, torch.tensor([4.0, 1.0, 2.0]).log())


@pytest.mark.parametrize(
    ("frequencies", "says"),
    [
        ([0, 0, 0], "frequencies are 0"),
        ([3, -1, 2], "of sky is negative or no number; valid are counts"),
        ([3, 1, float("nan")], "is negative or no number"),
        ([3, 1, float("inf")], "is negative or no number"),
    ],
)
def test_a_prior_that_is_none_is_an_error(frequencies, says):
    with pytest.raises(InputError, match=says):
        log_prior(frequencies, CLASSES.names)


def test_the_prior_is_how_many_images_have_the_class(network):
    (method,) = learner(network, "region_rebalance").methods
    torch.testing.assert_close(method.log_frequency.exp(), torch.tensor([4.0, 2.0, 1.0]))
    (alone,) = learner(network, "region_rebalance", region_rebalanced=False).methods
    assert alone.log_frequency.tolist() == [0, 0, 0]
    lacking = Statistics(np.array([9, 0, 9]), np.array([[1, 0, 1]], dtype=bool))
    with warnings.catch_warnings():  # the branch alone has no prior to warn of
        warnings.simplefilter("error")
        learner(network, "region_rebalance", lacking, region_rebalanced=False)
    with pytest.warns(UserWarning, match="sky"):
        learner(network, "region_rebalance", lacking)


# the method


def test_lambda_weights_the_region_loss_beside_plain_training(network):
    network.eval()
    batch, step = batch_of(random_labels())
    plain = learner(network, "plain")(batch, step)["cross_entropy"]
    terms = {}
    for region_lambda in (0.0, 0.3, 0.6):
        torch.manual_seed(0)
        terms[region_lambda] = learner(network, "region_rebalance", region_lambda=region_lambda)(batch, step)
        assert terms[region_lambda]["cross_entropy"] == plain
    assert terms[0.0]["region"] == 0
    torch.testing.assert_close(terms[0.6]["region"], 2 * terms[0.3]["region"])


def test_the_region_loss_of_a_step_is_that_of_eq_8(network):
    """F = (4, 2, 1), on a batch with more regions of one class than of another, which sees the sign of log F."""
    network.eval()
    labels = random_labels()
    labels[1] = 0
    batch, step = batch_of(labels)
    subject = learner(network, "region_rebalance", region_lambda=0.5)
    regions, of = region_features(network.features(batch.images), labels, 3)
    odds = torch.tensor([4.0, 2.0, 1.0]) * subject.methods[0].region_classifier(regions).exp()
    expected = -0.5 * (odds.gather(1, of[:, None])[:, 0] / odds.sum(dim=1)).log().mean()
    torch.testing.assert_close(subject(batch, step)["region"], expected)


def test_regions_that_are_right_are_counted(network):
    """A region classifier that always says class 1: right on the regions of class 1 only."""
    subject = learner(network, "region_rebalance")
    (method,) = subject.methods
    with torch.no_grad():
        method.region_classifier.weight.zero_()
        method.region_classifier.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    labels = torch.zeros(2, 32, 64, dtype=torch.long)
    labels[0, :3], labels[1, 5] = 1, IGNORE
    assert method.measure(batch_of(labels)[0])["regions"].tolist() == [[0, 1, 0], [2, 1, 0]]


def test_the_plain_network_is_what_is_tested(network):
    subject = learner(network, "region_rebalance")
    assert "plain_head" not in subject.heads
    network.eval()
    images = batch_of(random_labels())[0].images
    assert torch.equal(subject.predict(images), learner(network, "plain").predict(images))
    added = sum(p.numel() for p in subject.parameters()) - sum(p.numel() for p in network.parameters())
    assert added == 3 * network.classifier.in_channels + 3


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("region_rebalance", {"region_lambda": -0.1}, "region_lambda: input should be greater than or equal to 0"),
        (
            "region_rebalance",
            {"region_lambda": float("nan")},
            "region_lambda: input should be a finite number .*at least 0",
        ),
        ("region_rebalance", {"region_lambda": float("inf")}, "region_lambda: input should be a finite number"),
        ("balanced_softmax", {"softmax_prior": "images"}, "softmax_prior: input should be 'pixels' or 'regions'"),
        ("effective_number", {"effective_beta": 1.0}, "effective_beta: input should be less than 1"),
        ("dice", {"dice_cross_entropy": -1.0}, "dice_cross_entropy: input should be greater than or equal to 0"),
    ],
)
def test_values_out_of_range_are_errors(name, values, says):
    with pytest.raises(InputError, match=says):
        registry.own_parameters([name], values)


@pytest.mark.parametrize(
    ("configuration", "terms"),
    [
        ("region_rebalance", {"cross_entropy", "region"}),
        ("balanced_softmax", {"cross_entropy"}),
        ("dice_cross_entropy", {"cross_entropy", "dice"}),
    ],
)
def test_a_few_steps(tmp_path, configuration, terms):
    tiny = {"architecture": "fpn", "encoder": "resnet10t", "pretrained": False, "iterations": 12, "batch_size": 2,
            "size": "32x64", "train_scenes": 2, "val_scenes": 1, "augmentation": "none", "evaluations": 1,
            "learning_rate": 3e-3, "encoder_learning_rate": 3e-3, "device": "cpu"}  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # two scenes lack classes
        record = Experiment(tiny | {"runs_dir": str(tmp_path)}).train(configuration, 0).record
    first, last = record.history[0], record.history[-1]
    assert set(last) - {"iteration", "learning_rate", "loss"} == terms
    assert all(last[name] < first[name] for name in terms)
    assert set(record.evaluations) == {"val"}  # the plain head is what predicts


# what it compares with


def test_balanced_softmax_shifts_in_training_only(network):
    """Classes of equal frequency: plain training. Test time never has the shift."""
    network.eval()
    batch, step = batch_of(random_labels())
    even = Statistics(np.array([7, 7, 7]), STATISTICS.presence)
    plain = learner(network, "plain")
    torch.testing.assert_close(learner(network, "balanced_softmax", even)(batch, step), plain(batch, step))
    subject = learner(network, "balanced_softmax")
    logits = network(batch.images)
    shifted = logits + torch.tensor([100.0, 50.0, 10.0]).log().view(1, 3, 1, 1)
    torch.testing.assert_close(subject(batch, step)["cross_entropy"], pixel_cross_entropy(shifted, batch.labels))
    assert torch.equal(subject.predict(batch.images), plain.predict(batch.images))
    (of_regions,) = learner(network, "balanced_softmax", softmax_prior="regions").methods
    torch.testing.assert_close(of_regions.log_frequency.exp(), torch.tensor([4.0, 2.0, 1.0]))


def test_effective_number_goes_from_no_weights_to_inverse_frequency(network):
    def weights(beta, counts=(100, 50, 10)):
        statistics = Statistics(np.array(counts), STATISTICS.presence)
        return learner(network, "effective_number", statistics, effective_beta=beta).class_weights

    assert weights(0.0).tolist() == [1, 1, 1]
    torch.testing.assert_close(weights(0.5, (1, 2, 0)), torch.tensor([1.0, 2 / 3, 0.0]))  # 0.5 / 0.5, 0.5 / 0.75
    inverse = weights(1 - 1e-9)
    torch.testing.assert_close(inverse / inverse[0], torch.tensor([1.0, 2.0, 10.0]))
    # Median-frequency weights are the inverse frequency's but for a factor, which the loss does not see.
    logits, labels = torch.randn(2, 3, 32, 64), random_labels()
    median = learner(network, "median_frequency").class_weights
    torch.testing.assert_close(
        pixel_cross_entropy(logits, labels, median), pixel_cross_entropy(logits, labels, inverse)
    )


def test_dice_worked_by_hand():
    """Two pixels, one ignored; the other has p = (3/4, 1/4) and class 0."""
    logits = torch.tensor([math.log(3), 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 2)
    labels = torch.tensor([[[0, IGNORE]]])
    first, second = 1 - (2 * 3 / 4 + 1) / (9 / 16 + 1 + 1), 1 - 1 / (1 / 16 + 1)
    assert dice_loss(logits, labels).item() == pytest.approx((first + second) / 2)


def test_dice_is_zero_for_a_perfect_prediction():
    labels = random_labels()
    logits = 100.0 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)
    assert dice_loss(logits, labels).item() == pytest.approx(0)
    assert dice_loss(-logits, labels).item() > 0.9


def test_dice_is_the_mean_over_images():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 4, generator=generator), torch.randint(0, 3, (2, 4, 4), generator=generator)
    apart = [dice_loss(logits[i : i + 1], labels[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(dice_loss(logits, labels), sum(apart) / 2)


# IoU and accuracy


def test_iou_from_accuracy_and_false_positives():
    """TP 6, FP 3, FN 2: Acc 3/4, b 1/2, IoU 6/11. A class never found has no b."""
    counts = Tallies(np.array([6, 0]), np.array([3, 1]), np.array([2, 5]))
    np.testing.assert_allclose(recall_precision.false_positive_ratio(counts), [0.5, np.nan])
    assert recall_precision.iou_of(0.75, 0.5) == pytest.approx(6 / 11)


def test_the_slope_at_the_paper_s_points():
    slopes = recall_precision.iou_slope(0.6, np.array([0, 1, 3]))
    np.testing.assert_allclose(slopes, [1, 0.39, 0.13], atol=0.005)
    curves = recall_precision.iou_curves([0, 1, 3], points=11)
    np.testing.assert_allclose(curves[0], curves.index)  # without false positives IoU is accuracy
    np.testing.assert_allclose(curves.loc[1.0], [1, 1 / 2, 1 / 4])


def test_remark_1_worked_by_hand():
    """TP 2, FP 3, FN 6, then TP 4 (K = 1, n = 8): IoU 2/11 rises while FP' < 14, stays at 14, falls beyond."""
    baseline = Tallies(*(np.array([x] * 3) for x in (2, 3, 6)))
    method = Tallies(np.array([4] * 3), np.array([13, 14, 15]), np.array([4] * 3))
    assert recall_precision.remark_1_margin(method, baseline).tolist() == [1, 0, -1]


def test_changes_are_per_class_the_most_frequent_first():
    baseline = Tallies(np.array([2, 50]), np.array([3, 0]), np.array([6, 50]))
    method = Tallies(np.array([4, 50]), np.array([15, 0]), np.array([4, 50]))
    table = recall_precision.changes(method, baseline, ["car", "road"], [8, 100])
    assert list(table.index) == ["road", "car"]
    np.testing.assert_allclose(table.loc["road"], 0)
    np.testing.assert_allclose(table.loc["car"], [25, 100 * (4 / 23 - 2 / 11), 150, -12.5])


# quantities of the ledger


def test_accuracy_and_false_positives_in_points(tmp_path):
    matrix = [[6, 2, 2], [3, 1, 0], [0, 0, 0]]  # accuracy 60 and 25 %; false positives 3 of 10 and 2 of 4
    run = make_run(tmp_path, matrix=matrix)
    assert EFFECTS["mean_accuracy"](run) == pytest.approx(42.5)
    assert EFFECTS["mean_accuracy"](run, classes=["car"]) == pytest.approx(25)
    assert EFFECTS["false_positives"](run) == pytest.approx(40)
    assert EFFECTS["false_positives"](run, classes=["car"]) == pytest.approx(50)


def test_imbalance_and_correlations_of_a_run(tmp_path):
    run = make_run(tmp_path, ious=[0.9, 0.5, 0.4], pixel_counts=[1000, 100, 10])
    run.record.image_counts = [50, 10, 5]
    assert EFFECTS["imbalance_removed"](run) == pytest.approx(90)  # factors 100 and 10
    found = imbalance.accuracy_correlations(run)  # make_run's accuracy is its IoU
    expected = [100 * np.corrcoef(counts, [0.9, 0.5, 0.4])[0, 1] for counts in ([1000, 100, 10], [50, 10, 5])]
    np.testing.assert_allclose(found[["pixels", "regions"]], expected)
    assert EFFECTS["accuracy_follows_regions"](run) == pytest.approx(expected[1] - expected[0])


def test_region_accuracy_is_of_the_recorded_counts(tmp_path):
    run = make_run(tmp_path, methods=["region_rebalance"], arrays={"regions": np.array([[3, 0, 0], [4, 5, 0]])})
    np.testing.assert_allclose(imbalance.region_accuracy(run), [0.75, 0, np.nan])
    with pytest.raises(InputError, match="Only region_rebalance"):
        imbalance.region_accuracy(make_run(tmp_path))


# its claims


def test_the_ledger_has_all_its_claims():
    found = [claim for claim in ledger.load().claims.values() if claim.paper == "region_rebalance"]
    assert [claim.id for claim in found] == [f"region_rebalance-C{i}" for i in range(1, 18)]
    assert {int(claim.id.split("C")[1]) for claim in found if claim.core} == {1, 4, 5, 8, 10, 13, 14}
    assert {int(claim.id.split("C")[1]) for claim in found if claim.needs} == {2, 3}


@pytest.mark.parametrize("number", [13, 14, 15, 16, 17])
def test_its_exact_and_mechanical_claims_hold(number):
    assert claims.judge(f"region_rebalance-C{number}").outcome == "reproduced"


def printed(number, **cell):
    """The values of a table where all of `cell` holds, in points or as printed."""
    rows = claims.table("region_rebalance", number)
    for name, wanted in cell.items():
        rows = rows[rows[name] == wanted]
    return rows["value"].to_numpy()


def single_scale(number):
    rows = claims.table("region_rebalance", number)
    rows = rows[rows["setting"].str.contains("inference=ss")]
    return [rows[rows["method"] == method]["value"].to_numpy() for method in ("Baseline", "RR")]


def table_1():
    plain, weighted, pixels, regions, rr = printed(1)
    return [[pixels - plain], [weighted - plain], [rr - plain]], [[pixels - regions], [regions - plain]]


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("C1", lambda: [np.subtract(*reversed(single_scale(3)))]),
        ("C4", lambda: table_1()[0]),
        ("C6", lambda: table_1()[1]),
        ("C7", lambda: [printed(2, setting="frequency=region") - printed(2, setting="frequency=pixel")]),
        ("C8", lambda: [100 - 100 * printed("fig5b", setting="unit=region") / printed("fig5b", setting="unit=pixel")]),
        (
            "C9",
            lambda: [
                [printed(5)[1] - printed(5)[3]],
                *([printed(5)[place] - printed(5)[0]] for place in (1, 3, 4)),
            ],
        ),
        ("C12", lambda: [[a - b] for a, b in zip(printed(6)[[1, 2, 3]], printed(6)[[0, 0, 2]], strict=True)]),
    ],
)
def test_the_papers_effects_are_those_of_its_tables(claim, expected):
    ours = [comparison.paper for comparison in ledger.claim(f"region_rebalance-{claim}").comparisons]
    for mine, theirs in zip(ours, expected(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=0.03 if claim == "C8" else 1e-9)
