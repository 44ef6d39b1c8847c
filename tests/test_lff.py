"""Learning from Failure and its comparators: by hand, in limits, against slow loops, in a few steps, and its claims."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime
from sklearn.metrics import mutual_info_score

from segrepro import comparators, models, registry
from segrepro.analysis.checks import CHECKS
from segrepro.comparators import repair_weights, representation_bias
from segrepro.datasets.base import IGNORE, Classes, Groups
from segrepro.datasets.batches import Batch
from segrepro.datasets.statistics import Statistics
from segrepro.errors import InputError
from segrepro.methods import Step
from segrepro.papers import lff
from segrepro.papers.lff import generalised_cross_entropy, relative_difficulty

LOG3, LOG4 = math.log(3), math.log(4)
EASY, HARD = math.log(4 / 3), LOG4  # the losses of a sample whose own class has probability 3/4, or 1/4


def classes(count):
    return Classes(tuple(f"class {c}" for c in range(count)), ((0, 0, 0),) * count)


def statistics_of(labels, values=None, count=2):
    """Whole images of these classes, with these values of a bias attribute; aligned: class = value."""
    labels = np.asarray(labels)
    groups = None if values is None else Groups(("red", "green"), np.asarray(values), np.eye(count, 2, dtype=bool))
    return Statistics(np.bincount(labels, minlength=count), np.eye(count, dtype=bool)[labels], groups)


def learner_of(methods, statistics, count=2, network=None, **values):
    torch.manual_seed(0)
    network = network or models.build("mlp", "none", count, pretrained=False, size=(4, 4))
    return registry.build_learner(network, classes(count), statistics, registry.own_parameters(methods, values))


def batch_of(labels, index=None, size=(4, 4)):
    labels = torch.as_tensor(labels)
    labels = labels.view(-1, 1, 1) if labels.ndim == 1 else labels
    images = torch.randint(0, 256, (len(labels), 3, *size), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    index = torch.arange(len(labels)) if index is None else torch.tensor(index)
    return Batch(images, labels, index, ["image"] * len(labels))


def terms_of(subject, batch):
    return subject(batch, Step(5, 10, torch.Generator().manual_seed(2), batch))


def answer_always(network, *logits):
    """Make a network answer the same logits to every image."""
    torch.nn.init.zeros_(network.classifier.weight)
    with torch.no_grad():
        network.classifier.bias.copy_(torch.tensor(logits))


def with_fixed_answers(methods, statistics, **values):
    """f_D gives the two classes the probabilities (1/4, 3/4), f_B (3/4, 1/4)."""
    subject = learner_of(methods, statistics, **values)
    answer_always(subject.network, 0, LOG3)
    if "lff" in methods:
        answer_always(subject.methods[0].biased, LOG3, 0)
    return subject


# the generalised cross-entropy and the weight


def test_gce_worked_by_hand():
    """Probabilities 1/4 and 3/4; q = 1/2 makes roots of them."""
    logits = torch.tensor([0.0, LOG3]).view(1, 2, 1, 1).expand(1, 2, 1, 3)
    losses = generalised_cross_entropy(logits, torch.tensor([[[0, 1, IGNORE]]]), 0.5)
    torch.testing.assert_close(losses, torch.tensor([[[1.0, 2 * (1 - math.sqrt(0.75)), 0.0]]]))


def test_the_gradient_of_gce_worked_by_hand():
    """p^q (p - 1) at the class and p^q p' at the other."""
    logits = torch.tensor([0.0, LOG3]).view(1, 2, 1, 1).requires_grad_()
    generalised_cross_entropy(logits, torch.tensor([[[0]]]), 0.5).sum().backward()
    torch.testing.assert_close(logits.grad.flatten(), torch.tensor([-0.375, 0.375]))


def test_gce_of_a_hopeless_sample_has_a_tiny_and_finite_gradient():
    """p = e^-30 is below the precision of 1 - p, and e^-300 below the smallest number."""
    logits = torch.tensor([[0.0, 30.0], [0.0, 300.0]]).view(2, 2, 1, 1).requires_grad_()
    losses = generalised_cross_entropy(logits, torch.zeros(2, 1, 1, dtype=torch.long), 0.7)
    losses.sum().backward()
    torch.testing.assert_close(losses.detach().flatten(), torch.full((2,), 1 / 0.7))
    assert logits.grad[0, 1].item() == pytest.approx(math.exp(-21), rel=1e-5)
    assert logits.grad[1, 1].item() == 0


def test_gce_turns_into_cross_entropy():
    logits, labels = torch.randn(4, 5, 2, 3, generator=torch.Generator().manual_seed(0)).double(), torch.ones(4, 2, 3)
    plain = torch.nn.functional.cross_entropy(logits, labels.long(), reduction="none")
    torch.testing.assert_close(generalised_cross_entropy(logits, labels.long(), 1e-7), plain, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(generalised_cross_entropy(logits, labels.long(), 1.0), 1 - (-plain).exp())


def test_the_weight_worked_by_hand():
    biased = torch.tensor([3.0, 1.0, 2.0, 0.0, 0.0], requires_grad=True)
    weight = relative_difficulty(biased, torch.tensor([1.0, 3.0, 2.0, 5.0, 0.0]))
    assert weight.tolist() == [0.75, 0.25, 0.5, 0.0, 0.5]
    assert not weight.requires_grad


@pytest.mark.parametrize("name", [name for name in CHECKS if name.startswith("lff_")])
def test_the_exact_claims_hold(name):
    residual, tolerance = CHECKS[name]()
    assert residual <= tolerance


# LfF, the paper's form


def test_lff_worked_by_hand():
    """Labels 0 and 1: what is easy for one network is hard for the other."""
    terms = terms_of(with_fixed_answers(["lff"], statistics_of([0, 1]), q=0.5), batch_of([0, 1]))
    whole = EASY + HARD
    assert terms["biased"].item() == pytest.approx((2 * (1 - math.sqrt(0.75)) + 2 * (1 - 0.5)) / 2)
    assert terms["cross_entropy"].item() == pytest.approx((EASY / whole * HARD + HARD / whole * EASY) / 2)


def test_an_f_b_trained_with_cross_entropy_is_the_ablation():
    terms = terms_of(with_fixed_answers(["lff"], statistics_of([0, 1]), biased_loss="ce"), batch_of([0, 0, 1]))
    assert terms["biased"].item() == pytest.approx((2 * EASY + HARD) / 3)


def test_networks_that_fail_alike_halve_the_loss():
    """At equal losses W is 1/2, so f_D's loss is half of plain training's."""
    statistics, batch = statistics_of([0, 1, 1]), batch_of([0, 1, 1])
    subject = learner_of(["lff"], statistics)
    subject.methods[0].biased.load_state_dict(subject.network.state_dict())
    plain = terms_of(learner_of(["plain"], statistics), batch)
    torch.testing.assert_close(terms_of(subject, batch)["cross_entropy"], plain["cross_entropy"] / 2)


def test_each_loss_trains_its_own_network_only():
    subject, batch = learner_of(["lff"], statistics_of([0, 1, 1])), batch_of([0, 1, 1])
    (method,), terms = subject.methods, terms_of(subject, batch)
    losses = torch.nn.functional.cross_entropy(subject.predict(batch.images), batch.labels, reduction="none")
    biased = torch.nn.functional.cross_entropy(method.heads()["biased"](batch.images), batch.labels, reduction="none")
    of_f_d = list(subject.network.parameters())
    expected = torch.autograd.grad((relative_difficulty(biased, losses) * losses).mean(), of_f_d)
    found = torch.autograd.grad(terms["cross_entropy"], of_f_d, retain_graph=True)
    torch.testing.assert_close(found, expected)
    terms["cross_entropy"].backward(retain_graph=True)
    assert all(p.grad is None for p in method.biased.parameters())
    subject.network.zero_grad(set_to_none=True)
    terms["biased"].backward()
    assert all(p.grad is None for p in of_f_d)
    assert all(p.grad is not None for p in method.biased.parameters())


def test_lff_on_label_maps_worked_by_hand():
    """Every labelled pixel counts for itself; class weights (median frequency 3/4, 3/2) are f_D's alone."""
    network = models.build("fpn", "resnet10t", 2, pretrained=False)
    statistics = Statistics(np.array([100, 50]), np.ones((2, 2), dtype=bool))
    subject = learner_of(["lff", "median_frequency"], statistics, network=network, q=1.0)
    answer_always(subject.network, 0, LOG3)
    answer_always(subject.methods[0].biased, LOG3, 0)
    labels = torch.full((2, 32, 64), IGNORE)
    labels[0, :2, :5], labels[1, 0, :6] = 0, 1  # 10 and 6 pixels
    terms = terms_of(subject, batch_of(labels, size=(32, 64)))
    assert terms["biased"].item() == pytest.approx((10 * 0.25 + 6 * 0.75) / 16)
    product = EASY * HARD / (EASY + HARD)  # W CE_D of either class
    assert terms["cross_entropy"].item() == pytest.approx(product)
    torch.nn.init.constant_(subject.methods[0].biased.classifier.bias, 0)  # now CE_B = log 2 everywhere
    parts = [0.75 * 10 * HARD / (math.log(2) + HARD), 1.5 * 6 * EASY / (math.log(2) + EASY)]
    terms = terms_of(subject, batch_of(labels, size=(32, 64)))
    assert terms["cross_entropy"].item() == pytest.approx(math.log(2) * sum(parts) / (0.75 * 10 + 1.5 * 6), rel=1e-5)
    assert subject.methods[0].heads()["biased"](torch.zeros(2, 3, 32, 64)).shape[:2] == (2, 2)


def test_a_batch_without_labels_trains_nothing():
    subject = learner_of(["lff"], statistics_of([0, 1]))
    sum(terms_of(subject, batch_of([IGNORE, IGNORE])).values()).backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in subject.parameters())


def test_groups_cover_both_networks_once_and_encoders_learn_alike():
    network = models.build("fpn", "resnet10t", 2, pretrained=False)
    subject = learner_of(["lff"], Statistics(np.ones(2), np.ones((2, 2), dtype=bool)), network=network)
    groups = subject.parameter_groups(encoder_learning_rate=0.25)
    assert sorted(id(p) for g in groups for p in g["params"]) == sorted(id(p) for p in subject.parameters())
    slow = {id(p) for g in groups if g.get("lr") == 0.25 for p in g["params"]}
    encoders = [*network.encoder_parameters(), *subject.methods[0].biased.encoder_parameters()]
    assert slow == {id(p) for p in encoders}


def test_f_b_starts_independently_of_f_d():
    subject = learner_of(["lff"], statistics_of([0, 1]))
    pairs = zip(subject.network.parameters(), subject.methods[0].biased.parameters(), strict=True)
    assert all(not torch.equal(ours, twin) for ours, twin in pairs)


# the authors' form


def slow_weights(state, losses, index, labels, all_labels):
    """W as the authors' code forms it, sample by sample and class by class; state: one dictionary a network."""
    shares = []
    for averages, of_network in zip(state, losses, strict=True):
        for i, loss in zip(index, of_network, strict=True):
            averages[i] = 0.7 * averages[i] + 0.3 * loss if i in averages else loss
        largest = [max(averages.get(i, 0) for i, c in enumerate(all_labels) if c == y) for y in labels]
        shares.append([averages[i] / m for i, m in zip(index, largest, strict=True)])
    return [b / (b + d + 1e-8) for b, d in zip(*shares, strict=True)]


def test_the_authors_form_is_their_loop():
    generator = np.random.default_rng(0)
    all_labels = generator.integers(0, 3, 20)
    subject = learner_of(["lff"], statistics_of(all_labels, count=3), 3, lff_form="authors", q=0.6).double()
    method, state = subject.methods[0], ({}, {})
    for _ in range(6):
        with torch.no_grad():  # networks that change a lot between two visits
            for parameter in subject.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        index = generator.permutation(20)[:8]
        batch = batch_of(all_labels[index], index)
        answers = method.heads()["biased"](batch.images), subject.predict(batch.images)
        losses = [torch.nn.functional.cross_entropy(z, batch.labels, reduction="none").flatten() for z in answers]
        weights = slow_weights(state, [x.tolist() for x in losses], index, all_labels[index], all_labels)
        terms = terms_of(subject, batch)
        torch.testing.assert_close(terms["cross_entropy"], (torch.tensor(weights).double() * losses[1]).mean())
        own = list(method.biased.parameters())
        as_implemented = (0.6 * (-0.6 * losses[0]).exp().detach() * losses[0]).mean()
        torch.testing.assert_close(torch.autograd.grad(terms["biased"], own), torch.autograd.grad(as_implemented, own))
    assert len(state[0]) > 8  # some images were visited more than once, some were not
    assert method.visited.nonzero().flatten().tolist() == sorted(state[0])


def test_an_image_twice_in_a_batch_counts_once():
    subject = with_fixed_answers(["lff"], statistics_of([0, 0, 1]), lff_form="authors")
    terms_of(subject, batch_of([0, 0, 0], [1, 0, 1]))
    torch.testing.assert_close(subject.methods[0].averages[:, 1], torch.tensor([EASY, HARD]))
    answer_always(subject.network, LOG3, 0)
    terms_of(subject, batch_of([0, 0], [1, 1]))
    torch.testing.assert_close(subject.methods[0].averages[1], torch.tensor([HARD, 0.7 * HARD + 0.3 * EASY, 0]))


def test_averages_know_what_other_processes_saw(monkeypatch):
    """Two processes with half a batch each keep what one keeps with the whole."""
    labels, losses = [0, 1, 0, 1], torch.tensor([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    alone, half = (learner_of(["lff"], statistics_of(labels), lff_form="authors").methods[0] for _ in range(2))
    whole = alone._averaged(losses, torch.arange(4))
    elsewhere = {torch.int64: torch.tensor([2, 3]), torch.float32: losses[:, 2:]}
    monkeypatch.setattr(lff, "gather_over_processes", lambda x: torch.cat([x, elsewhere[x.dtype]], dim=-1))
    torch.testing.assert_close(half._averaged(losses[:, :2], torch.arange(2)), whole[:, :2])
    torch.testing.assert_close(half.averages, alone.averages)
    assert half.visited.all()


def test_an_ignored_image_was_not_visited():
    subject = learner_of(["lff"], statistics_of([0, 1]), lff_form="authors")
    terms_of(subject, batch_of([0, IGNORE]))
    method = subject.methods[0]
    assert method.visited.tolist() == [True, False]
    assert (method.averages > 0).tolist() == [[True, False]] * 2


def test_a_class_that_f_b_has_learned_whole_gives_no_nan():
    """Its largest average is 0, by which the authors' code would divide; W is 0 then, as CE_B = 0 has it."""
    subject = with_fixed_answers(["lff"], statistics_of([0, 0]), lff_form="authors")
    answer_always(subject.methods[0].biased, 200, 0)
    assert terms_of(subject, batch_of([0, 0]))["cross_entropy"].item() == 0
    answer_always(subject.network, 200, 0)
    assert terms_of(subject, batch_of([0, 0]))["cross_entropy"].item() == 0


def test_the_averages_are_part_of_a_checkpoint():
    labels = [0, 1, 0, 1, 0, 1]
    subject, resumed, fresh = (learner_of(["lff"], statistics_of(labels), lff_form="authors") for _ in range(3))
    terms_of(subject, batch_of(labels))
    answer_always(subject.network, 0, LOG3)
    resumed.load_state_dict(subject.state_dict())
    fresh.load_state_dict({**fresh.state_dict(), **{k: v for k, v in subject.state_dict().items() if "network" in k}})
    later = [terms_of(one, batch_of([1, 0], [3, 2]))["cross_entropy"].item() for one in (subject, resumed, fresh)]
    assert later[0] == later[1]
    assert later[0] != later[2]


# a few steps


@pytest.fixture(scope="module")
def biased_problem():
    """90 % aligned: the colour of an image is its class; the class proper is a faint stripe, left or right."""
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 2
    values = np.where(np.arange(400) < 360, labels, 1 - labels)
    images = generator.integers(0, 60, (400, 3, 4, 4))
    images[np.arange(400), values] += 150
    images[np.arange(400), :, :, 2 * labels] += 10
    return torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels), torch.from_numpy(values)


def trained(biased_problem, methods, steps=150, **values):
    images, labels, attribute = biased_problem
    subject = learner_of(methods, statistics_of(labels.numpy(), attribute.numpy()), **values)
    optimiser = torch.optim.Adam(subject.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for iteration in range(steps):
        index = torch.randperm(len(labels), generator=generator)[:64]
        batch = Batch(images[index], labels[index].view(-1, 1, 1), index, [""] * 64)
        optimiser.zero_grad()
        sum(subject(batch, Step(iteration, steps, generator, batch)).values()).backward()
        optimiser.step()
    return subject


def accuracy_on_conflicting(subject, biased_problem):
    images, labels, values = biased_problem
    right = subject.predict(images).argmax(1).flatten() == labels
    return right[labels != values].float().mean().item()


@pytest.mark.parametrize("form", ["paper", "authors"])
def test_w_finds_the_conflicting_samples(biased_problem, form):
    images, labels, values = biased_problem
    subject = trained(biased_problem, ["lff"], lff_form=form)
    answers = subject.methods[0].heads()["biased"](images), subject.predict(images)
    losses = [torch.nn.functional.cross_entropy(z[..., 0, 0], labels, reduction="none") for z in answers]
    weight, conflicting = relative_difficulty(*losses), labels != values
    assert weight[conflicting].mean() > 0.9
    assert weight[~conflicting].mean() < 0.1
    plain = accuracy_on_conflicting(trained(biased_problem, ["plain"]), biased_problem)
    assert accuracy_on_conflicting(subject, biased_problem) > plain + 0.5


# group DRO


def test_group_dro_worked_by_hand_over_two_steps():
    """Three cells occur. Losses are log 4 for class 0 and log 4/3 for class 1; eta = 1 makes powers simple."""
    statistics = statistics_of([0, 0, 1, 0], [0, 0, 1, 1])
    subject = with_fixed_answers(["group_dro"], statistics, group_dro_step=1.0)
    weights = subject.methods[0].group_weights
    torch.testing.assert_close(weights, torch.tensor([[1 / 3, 1 / 3], [0, 1 / 3]]))
    loss = terms_of(subject, batch_of([0, 0, 1], [0, 1, 2]))["cross_entropy"].item()
    # 1/3 times 4, 1 (not in the batch) and 4/3, which add up to 19/3 times 1/3
    torch.testing.assert_close(weights, torch.tensor([[12 / 19, 3 / 19], [0, 4 / 19]]))
    assert loss == pytest.approx(12 / 19 * HARD + 4 / 19 * EASY)
    loss = terms_of(subject, batch_of([0], [3]))["cross_entropy"].item()
    torch.testing.assert_close(weights, torch.tensor([[12 / 28, 12 / 28], [0, 4 / 28]]))
    assert loss == pytest.approx(12 / 28 * HARD)


def test_group_dro_draws_all_groups_equally_often():
    labels, values = np.repeat([0, 0, 1, 1], [90, 7, 2, 40]), np.repeat([0, 1, 0, 1], [90, 7, 2, 40])
    repeats = learner_of(["group_dro"], statistics_of(labels, values)).methods[0].repeats(np.eye(2, dtype=bool)[labels])
    drawn = np.bincount(2 * labels + values, repeats)
    np.testing.assert_allclose(drawn / drawn.max(), 1, atol=1 / 8)
    assert (drawn[0], drawn[2]) == (360, 360)


def test_group_dro_draws_label_maps_as_plain_training():
    method = learner_of(["group_dro"], statistics_of([0, 1], [0, 1])).methods[0]
    assert method.repeats(np.array([[True, True], [False, True]])) is None


def test_the_gradient_of_group_dro_weighs_the_groups_means():
    statistics, batch = statistics_of([0, 0, 1], [0, 0, 1]), batch_of([0, 0, 1])
    subject = learner_of(["group_dro"], statistics)
    loss = terms_of(subject, batch)["cross_entropy"]
    losses = torch.nn.functional.cross_entropy(subject.predict(batch.images), batch.labels, reduction="none").flatten()
    q = subject.methods[0].group_weights.diagonal()
    expected = torch.autograd.grad((q * torch.stack([losses[:2].mean(), losses[2]])).sum(), subject.parameters())
    torch.testing.assert_close(torch.autograd.grad(loss, subject.parameters()), expected)


def test_group_dro_with_one_group_is_plain_training():
    statistics, batch = statistics_of([0, 0, 0], [1, 1, 1]), batch_of([0, 0, IGNORE])
    dro, plain = (terms_of(learner_of([name], statistics), batch) for name in ("group_dro", "plain"))
    torch.testing.assert_close(dro["cross_entropy"], plain["cross_entropy"])


def test_class_weights_cancel_out_in_group_dro():
    statistics, batch = statistics_of([0, 0, 1], [0, 1, 1]), batch_of([0, 0, 1])
    with_weights = terms_of(learner_of(["group_dro", "median_frequency"], statistics), batch)
    assert with_weights == terms_of(learner_of(["group_dro"], statistics), batch)


def test_group_dro_sums_groups_over_processes(monkeypatch):
    """Two processes, each with one sample of the same cell: the average of their losses is the loss of both at once."""
    statistics = statistics_of([0, 0, 1], [0, 0, 1])
    together, *apart = (learner_of(["group_dro"], statistics, group_dro_step=1.0) for _ in range(3))
    both = batch_of([0, 0])
    whole = terms_of(together, both)["cross_entropy"]
    halves = [Batch(both.images[i : i + 1], both.labels[i : i + 1], both.index[i : i + 1], [""]) for i in (0, 1)]
    losses = torch.nn.functional.cross_entropy(together.predict(both.images), both.labels, reduction="none").flatten()

    def summed(x):
        """Of counts: 2 in the one cell; of losses: what both have."""
        return torch.where(x == 0, 0, 2 if torch.equal(x, x.round()) else losses.sum()).detach()

    for module in ("segrepro.comparators", "segrepro.methods"):
        monkeypatch.setattr(f"{module}.sum_over_processes", summed)
    monkeypatch.setattr("segrepro.methods.is_distributed", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    shares = [terms_of(one, half)["cross_entropy"] for one, half in zip(apart, halves, strict=True)]
    torch.testing.assert_close(sum(shares) / 2, whole)
    torch.testing.assert_close(apart[0].methods[0].group_weights, together.methods[0].group_weights)


# REPAIR


def test_representation_bias_is_the_share_of_the_entropy_explained():
    counts = np.random.default_rng(0).integers(0, 50, (5, 4)).astype(float)
    share = counts.sum(1) / counts.sum()
    expected = mutual_info_score(None, None, contingency=counts.astype(int)) / -(share * np.log(share)).sum()
    assert representation_bias(counts)[0] == pytest.approx(expected)
    assert representation_bias(np.diag([3.0, 4.0]))[0] == pytest.approx(1)
    assert representation_bias(np.outer([1.0, 2.0], [3.0, 4.0]))[0] == pytest.approx(0, abs=1e-12)


def test_the_gradient_of_the_representation_bias():
    mass = np.random.default_rng(0).uniform(1, 2, (3, 4))
    differences = approx_fprime(mass.ravel(), lambda x: representation_bias(x.reshape(3, 4))[0], 1e-7)
    np.testing.assert_allclose(representation_bias(mass)[1].ravel() / mass.sum(), differences, atol=1e-7)


def test_repair_of_a_table_whose_answer_is_clear():
    """90 and 10 a class: an aligned sample must weigh a ninth of a conflicting one, of which none need be lost."""
    counts = np.array([[90.0, 10.0], [10.0, 90.0]])
    weights = repair_weights(counts)
    assert representation_bias(counts * weights)[0] <= comparators.REPAIR_BIAS
    np.testing.assert_allclose(weights, weights.T)
    assert weights[0, 1] > 0.95
    # At a bias of 1e-3 the masses of a class differ by a factor of at most (1 + e) / (1 - e), e^2 = 2 ln 2 1e-3.
    assert weights[0, 0] / weights[0, 1] == pytest.approx(1 / 9, rel=0.08)


def test_repair_leaves_what_is_unbiased():
    np.testing.assert_array_equal(repair_weights(np.outer([1.0, 2.0], [30.0, 40.0])), 0.5)


def test_repair_says_when_bias_is_left(monkeypatch):
    """The steps of the authors' code, at 99 % aligned; and a table in which the attribute is the class."""
    counts = np.full((10, 10), 6.0) + np.diag(np.full(10, 5940.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        repair_weights(counts)
    monkeypatch.setattr(comparators, "REPAIR_STEPS", 200)
    with pytest.warns(UserWarning, match=r"a representation bias of 0\.9"):
        repair_weights(counts)
    with pytest.warns(UserWarning, match=r"a representation bias of 1\.000 is left"):
        repair_weights(np.diag([10.0, 10.0]))


@pytest.fixture(scope="module")
def skewed():
    """Labels and values of 4000 images, 90 % of them aligned."""
    labels = np.arange(4000) % 2
    return labels, np.where(np.arange(4000) < 3600, labels, 1 - labels)


def test_repair_draws_an_unbiased_subset(skewed):
    labels, values = skewed
    statistics = statistics_of(labels, values)
    subject = learner_of(["repair"], statistics)
    torch.manual_seed(3)
    repeats = subject.methods[0].repeats(statistics.presence)
    assert set(repeats) == {0, 1}
    kept = np.array([[repeats[(labels == c) & (values == g)].sum() for g in (0, 1)] for c in (0, 1)])
    assert representation_bias(kept.astype(float))[0] < 0.02
    assert kept.sum() == pytest.approx(800, rel=0.1)  # 400 conflicting and as many aligned
    torch.manual_seed(3)
    np.testing.assert_array_equal(subject.methods[0].repeats(statistics.presence), repeats)
    torch.manual_seed(4)
    assert (subject.methods[0].repeats(statistics.presence) != repeats).any()


def test_repair_names_the_classes_it_loses(monkeypatch):
    labels, values = np.repeat([0, 1], [6, 2]), np.repeat([0, 1, 0], [3, 3, 2])
    method = learner_of(["repair"], statistics_of(labels, values), repair_strategy="threshold").methods[0]
    monkeypatch.setattr(comparators, "repair_weights", lambda counts: np.array([[0.9, 0.9], [0.1, 0.1]]))
    with pytest.warns(UserWarning, match="repair: no image of class 1 is kept, so they are not learned"):
        assert method.repeats(np.eye(2, dtype=bool)[labels]).tolist() == [1] * 6 + [0] * 2


def test_repair_by_threshold(skewed):
    labels, values = skewed
    statistics = statistics_of(labels, values)
    subject = learner_of(["repair"], statistics, repair_strategy="threshold")
    np.testing.assert_array_equal(subject.methods[0].repeats(statistics.presence), labels != values)
    even = statistics_of([0, 0, 1, 1], [0, 1, 0, 1])
    subject = learner_of(["repair"], even, repair_strategy="threshold")
    assert subject.methods[0].repeats(even.presence).tolist() == [1, 1, 1, 1]


# wrong input


@pytest.mark.parametrize(
    ("methods", "values", "says"),
    [
        (["lff"], {"q": 0.0}, "q: input should be greater than 0"),
        (["lff"], {"q": 1.5}, "q: input should be less than or equal to 1"),
        (["lff"], {"lff_form": "code"}, "lff_form: input should be 'paper' or 'authors'"),
        (["lff"], {"biased_loss": "mse"}, "biased_loss: input should be 'gce' or 'ce'"),
        (["lff", "group_dro"], {}, "lff and group_dro cannot be combined, each replaces 'main_loss'"),
        (["repair", "oversample"], {}, "each replaces 'repeats'"),
        (["group_dro"], {"group_dro_step": 0}, "group_dro_step: input should be greater than 0"),
        (["repair"], {"repair_strategy": "rank"}, "repair_strategy: input should be 'sample' or 'threshold'"),
    ],
)
def test_wrong_parameters_are_errors(methods, values, says):
    with pytest.raises(InputError, match=says):
        registry.own_parameters(methods, values)


def test_the_authors_form_needs_whole_images():
    network = models.build("fpn", "resnet10t", 2, pretrained=False)
    with pytest.raises(InputError, match="maps of many pixels. Use lff_form=paper"):
        learner_of(["lff"], statistics_of([0, 1]), network=network, lff_form="authors")


@pytest.mark.parametrize("name", ["group_dro", "repair"])
def test_a_data_set_without_a_bias_attribute_is_an_error(name):
    with pytest.raises(InputError, match=f"methods: {name} reads the bias attribute .* this data set has none"):
        learner_of([name], statistics_of([0, 1]))


def test_repair_needs_one_class_an_image():
    statistics = statistics_of([0, 1], [0, 1])
    with pytest.raises(InputError, match="images of one class each"):
        learner_of(["repair"], statistics).methods[0].repeats(np.ones((2, 2), dtype=bool))
