"""ESSNet: worked by hand, in limits, against the dense softmax; the search; the loss's memory; a few training steps."""

import importlib.util
import math

import numpy as np
import pytest
import torch
from factories import make_run
from torch.nn.functional import cross_entropy, normalize

from segrepro import claims, ledger, models, neighbours, registry, softmax, training
from segrepro.analysis import scaling
from segrepro.analysis.effects import EFFECTS
from segrepro.datasets.base import IGNORE, Classes
from segrepro.datasets.batches import Batch
from segrepro.datasets.statistics import Statistics
from segrepro.errors import InputError
from segrepro.experiment import Experiment
from segrepro.methods import Step
from segrepro.models import upsample
from segrepro.neighbours import nearest
from segrepro.papers.essnet import (
    EmbeddingHead,
    max_margin,
    random_classes,
    truncated_cross_entropy,
    truncation_error,
    worst_truncation_error,
)
from segrepro.parameters import Training
from segrepro.softmax import exact_cross_entropy, has_fixed_shift

TAU = 0.05
needs_faiss = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="faiss is not installed")


def drawn(pixels=200, classes=30, d=6, length=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x, mu = (length * normalize(torch.randn(n, d, generator=generator, dtype=dtype), dim=1) for n in (pixels, classes))
    return x.requires_grad_(), mu.requires_grad_(), torch.randint(0, classes, (pixels,), generator=generator)


def dense(x, mu, y, tau=TAU):
    """-log p of every pixel from the full distance matrix."""
    return cross_entropy(-torch.cdist(x, mu).square() / tau, y, reduction="none")


def close(found, expected, tolerance=1e-10):
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


# the loss


def test_the_loss_worked_by_hand():
    """x at 0, classes at 1, 2 and 3 on a line, tau = 1: squared distances 1, 4, 9."""
    x, mu, y = torch.zeros(1, 1), torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([1])
    of = lambda others, **options: truncated_cross_entropy(x, mu, y, torch.tensor([others]), 1.0, **options).item()  # noqa: E731
    assert of([0]) == pytest.approx(math.log(1 + math.exp(4 - 1)))
    assert of([0, 1]) == pytest.approx(math.log(1 + math.exp(4 - 1)))  # the target among the neighbours counts once
    assert of([0, 2]) == pytest.approx(math.log(1 + math.exp(3) + math.exp(-5)))
    assert of([0], distance="plain") == pytest.approx(math.log(1 + math.exp(2 - 1)))


@pytest.mark.parametrize("length", [1.0, 3.0])
def test_all_neighbours_make_the_full_softmax(length):
    x, mu, y = drawn(length=length)
    losses = truncated_cross_entropy(x, mu, y, nearest(x, mu, 99), TAU)
    close(losses, dense(x, mu, y))
    found, expected = (torch.autograd.grad(values.sum(), (x, mu)) for values in (losses, dense(x, mu, y)))
    close(found[0], expected[0])
    close(found[1], expected[1])


def test_plain_distance_has_a_finite_gradient_on_a_class():
    x, mu = torch.zeros(1, 2, requires_grad=True), torch.zeros(2, 2, requires_grad=True)
    truncated_cross_entropy(x, mu, torch.tensor([0]), torch.tensor([[1]]), TAU, "plain").sum().backward()
    assert x.grad.isfinite().all()
    assert mu.grad.isfinite().all()


def test_random_classes_are_different_others_all_alike_likely():
    y = torch.arange(6).repeat(500)
    found = random_classes(y, 3, 6)
    assert not (found == y[:, None]).any()
    assert all(len(set(row)) == 3 for row in found.tolist())
    counts = torch.bincount((found - y[:, None]).remainder(6).flatten(), minlength=6)[1:]
    assert (counts - 1800).abs().max() < 150  # 9000 draws of 5 offsets; five standard deviations are about 130
    assert random_classes(y, 99, 6).shape == (3000, 5)
    assert random_classes(y[:0], 3, 6).shape == (0, 3)
    assert random_classes(torch.zeros(4, dtype=torch.int64), 3, 1).shape == (4, 0)


def test_max_margin_worked_by_hand():
    """Classes at 0, 3 and 4 on a line, m = 2: nearest at 3, 1, 1, so (0 + 1 + 1) / 3."""
    mu = torch.tensor([[0.0], [3.0], [4.0]], requires_grad=True)
    loss = max_margin(mu, 2.0)
    assert loss.item() == pytest.approx(2 / 3)
    loss.backward()  # classes 1 and 2 push each other twice, class 0 is left alone
    np.testing.assert_allclose(mu.grad.flatten(), [0, 2 / 3, -2 / 3], rtol=1e-6)
    assert max_margin(mu, 0.9).item() == 0
    assert max_margin(mu[:1], 2.0).item() == 0  # one class has no other


def test_classes_that_coincide_do_not_break_the_margin():
    mu = torch.ones(3, 2, requires_grad=True)
    loss = max_margin(mu, 0.5)
    loss.backward()
    assert loss.item() == 0.5
    assert mu.grad.isfinite().all()


def test_truncation_error_in_numbers():
    assert truncation_error(7, 19) == pytest.approx(1 / 7 - 1 / 19)
    assert worst_truncation_error(7, 19) == pytest.approx(0.268, abs=5e-4)
    assert worst_truncation_error(7, 1284) == pytest.approx(0.872, abs=5e-4)
    assert worst_truncation_error(1, 19) == 1 - 1 / 19
    assert worst_truncation_error(19, 19) == 0
    t = np.linspace(1e-4, 1, 20_000)
    for k, classes in ((2, 5), (7, 19), (7, 1284)):
        errors = [truncation_error(k, classes, value) for value in t]
        assert max(errors) <= worst_truncation_error(k, classes) + 1e-12
        assert max(errors) == pytest.approx(worst_truncation_error(k, classes), rel=1e-4)


# the exact softmax


@pytest.mark.parametrize("length", [1.0, 0.7, 3.0])
@pytest.mark.parametrize("tau", [0.05, 0.02, 1.0])
def test_the_chunked_softmax_is_the_dense_one(monkeypatch, length, tau):
    """With the fixed shift, and where the logits are too wide or the vectors too long for it; several chunks."""
    monkeypatch.setitem(softmax.ENTRIES, "cpu", 1000)
    x, mu, y = drawn(length=length)
    assert has_fixed_shift(x, mu, tau) == (length <= 1 and tau != 0.02)
    weight = torch.rand(len(y), dtype=torch.float64)
    found, expected = exact_cross_entropy(x, mu, y, tau, weight), (weight * dense(x, mu, y, tau)).sum()
    close(found, expected)
    for one, other in zip(
        torch.autograd.grad(3 * found, (x, mu)), torch.autograd.grad(3 * expected, (x, mu)), strict=True
    ):
        close(one, other)


def test_the_fixed_shift_holds_at_its_limit():
    """4 / tau = 80 and the target opposite: exp(-80) beside exp(0), in float32."""
    x, mu = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert has_fixed_shift(x, mu, TAU)
    assert exact_cross_entropy(x, mu, torch.tensor([1]), TAU).item() == pytest.approx(80)
    assert exact_cross_entropy(x, mu[1:], torch.tensor([0]), TAU).item() == pytest.approx(0, abs=1e-5)


def test_in_single_precision_the_gradients_are_close():
    x, mu, y = drawn(2000, 300, dtype=torch.float32)
    found = torch.autograd.grad(exact_cross_entropy(x, mu, y, TAU), (x, mu))
    expected = torch.autograd.grad(dense(x.double(), mu.double(), y).sum(), (x, mu))
    close(found[0], expected[0], 1e-5)
    close(found[1], expected[1], 1e-5)


def test_only_what_is_asked_for_gets_a_gradient():
    x, mu, y = drawn()
    (grad,) = torch.autograd.grad(exact_cross_entropy(x.detach(), mu, y, TAU), mu)
    close(grad, torch.autograd.grad(dense(x, mu, y).sum(), mu)[0])
    with torch.no_grad():
        close(exact_cross_entropy(x, mu, y, TAU), dense(x, mu, y).sum())


def test_a_second_backward_is_an_error_not_a_wrong_gradient():
    x, mu, y = drawn()
    loss = 2 * exact_cross_entropy(x, mu, y, TAU)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("classes", [150, 10_000])
def test_the_exact_softmax_holds_little_memory(classes):
    """Dense logits alone would be 10 000 x 4096 x 4 bytes = 156 MiB; the limit of 64 MiB is for 640 times the pixels,
    of which each may hold a few numbers.
    """
    inputs = scaling.unit_vectors(4096, classes, torch.device("cpu"))
    assert scaling.extra_bytes(scaling.LOSSES["exact"], *inputs) < 6 * 2**20
    if classes == 150:
        twice = scaling.unit_vectors(8192, classes, torch.device("cpu"))
        growth = scaling.extra_bytes(scaling.LOSSES["exact"], *twice) - scaling.extra_bytes(
            scaling.LOSSES["exact"], *inputs
        )
        assert growth <= 4096 * 4 * 4  # four numbers a pixel: 40 MiB for a batch of 10 x 512 x 512


# the search


def test_neighbours_worked_by_hand(monkeypatch):
    monkeypatch.setattr(neighbours, "ENTRIES", 4)  # several chunks
    x, mu = torch.tensor([[0.0], [2.1], [9.0]]), torch.tensor([[3.0], [1.0], [0.0]])
    for search in ("auto", "torch"):
        assert nearest(x, mu, 2, search).tolist() == [[2, 1], [0, 1], [0, 1]]
    assert nearest(x, mu, 99).shape == (3, 3)
    assert nearest(x[:0], mu, 2).shape == (0, 2)
    assert nearest(x, mu[:1], 2).tolist() == [[0]] * 3


@needs_faiss
def test_both_searches_find_the_same_neighbours():
    x, mu, _ = drawn(3000, 150, 12, dtype=torch.float32)
    ours, faiss = nearest(x, mu, 7, "torch"), nearest(x, mu, 7, "faiss")
    distances = torch.cdist(x, mu)
    torch.testing.assert_close(distances.gather(1, ours), distances.gather(1, faiss), rtol=0, atol=1e-5)  # up to ties
    assert (ours == faiss).float().mean() > 0.999


@needs_faiss
def test_faiss_takes_a_batch_of_one_and_what_is_not_contiguous():
    x, mu, _ = drawn(1, 30, 6, dtype=torch.float32)
    maps = x.detach().T.contiguous().T
    assert nearest(maps, mu, 3, "faiss").tolist() == nearest(x, mu, 3, "torch").tolist()
    assert nearest(x * torch.nan, mu, 3, "faiss").min() >= 0  # a step can then say that its loss is not finite


def test_without_faiss_torch_searches_and_forcing_it_is_an_error(monkeypatch):
    x, mu, _ = drawn()
    monkeypatch.setattr(neighbours, "faiss_serves", lambda device: False)
    assert nearest(x.float(), mu.float(), 3).shape == (200, 3)
    with pytest.raises(InputError, match=r"search: .* use search=torch, or install segrepro\[faiss-cpu\]"):
        nearest(x, mu, 3, "faiss")
    with pytest.raises(InputError, match="search: unknown 'kd-tree'; valid: auto, faiss, torch"):
        nearest(x, mu, 3, "kd-tree")


# the head and the method


@pytest.mark.parametrize("normalisation", ["after", "before", "none"])
def test_the_largest_logit_is_the_nearest_class(normalisation):
    torch.manual_seed(0)
    head = EmbeddingHead(8, 11, 3, TAU, normalisation)
    features = torch.randn(2, 8, 4, 5)
    x = head.pixel_embeddings(features, (12, 10))
    vectors = x.permute(0, 2, 3, 1).reshape(-1, 3)
    found = head.logits(x).permute(0, 2, 3, 1).reshape(-1, 11)
    assert torch.equal(found.argmax(1), torch.cdist(vectors, head.mu).argmin(1))
    distances = -torch.cdist(vectors, head.mu).square() / TAU
    torch.testing.assert_close(found.softmax(1), distances.softmax(1), rtol=1e-3, atol=1e-5)
    assert head(features).shape == (2, 11, 4, 5)
    assert head.weight.shape == (11, 3, 1, 1)
    lengths = x.norm(dim=1)
    if normalisation == "after":
        torch.testing.assert_close(lengths, torch.ones_like(lengths))
    elif normalisation == "before":
        assert lengths.max() <= 1 + 1e-6
        assert lengths.min() < 0.99
        assert torch.allclose(x, upsample(normalize(head.project(features), dim=1), (12, 10)))
    else:
        assert torch.equal(head.mu, head.class_embeddings)


def test_class_embeddings_start_between_minus_one_and_one():
    torch.manual_seed(0)
    start = EmbeddingHead(8, 1000, 6, TAU).class_embeddings.detach()
    assert start.abs().max() <= 1
    assert np.quantile(start, (0, 0.25, 0.5, 0.75, 1)) == pytest.approx([-1, -0.5, 0, 0.5, 1], abs=0.05)


def learner(*names, classes=3, **values):
    torch.manual_seed(0)
    network = models.build("fpn", "resnet10t", classes, pretrained=False)
    names = names or ("essnet",)
    labels = Classes(tuple(f"c{i}" for i in range(classes)), ((0, 0, 0),) * classes)
    statistics = Statistics(np.arange(1, classes + 1), np.ones((2, classes), dtype=bool))
    return registry.build_learner(network, labels, statistics, registry.own_parameters(names, values))


def step_for(labels, iteration=5):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (len(labels), 3, 32, 64), generator=generator).to(torch.uint8)
    batch = Batch(images, labels, torch.arange(len(labels)), ["scene"] * len(labels))
    return batch, Step(iteration, 10, torch.Generator().manual_seed(2), batch)


def random_labels(batch=2, classes=3):
    labels = torch.randint(0, classes, (batch, 32, 64), generator=torch.Generator().manual_seed(0))
    labels[:, :8] = IGNORE
    return labels


@pytest.mark.parametrize("negatives", ["nearest", "random", "all"])
@pytest.mark.parametrize(("batch", "classes", "k"), [(2, 5, 2), (2, 3, 99), (2, 1, 7)])
def test_every_size_is_defined(negatives, batch, classes, k):
    subject = learner(classes=classes, negatives=negatives, k=k)
    terms = subject(*step_for(random_labels(batch, classes)))
    sum(terms.values()).backward()
    assert all(value.isfinite() for value in terms.values())
    assert all(p.grad.isfinite().all() for p in subject.parameters())
    if classes == 1:
        assert terms["cross_entropy"].item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("negatives", ["nearest", "random", "all"])
def test_a_batch_of_one_and_a_batch_without_labels(negatives):
    subject = learner(negatives=negatives, margin=0.0).eval()
    assert subject(*step_for(random_labels(1)))["cross_entropy"] > 0
    terms = subject(*step_for(torch.full((2, 32, 64), IGNORE)))
    terms["cross_entropy"].backward()
    assert terms["cross_entropy"].item() == 0
    assert all(p.grad is None or not p.grad.any() for p in subject.parameters())


def test_the_three_losses_agree_when_nothing_is_left_out():
    """k >= C: the nearest, random and exact losses are all the dense cross-entropy of the logits that are predicted."""
    found, (batch, step) = [], step_for(random_labels())
    for negatives in ("nearest", "random", "all"):
        subject = learner(negatives=negatives, k=3, tau=0.3, normalisation="before").eval()
        found.append(subject(batch, step)["cross_entropy"].item())
        logits = subject.predict(batch.images)
    expected = cross_entropy(logits, batch.labels, ignore_index=IGNORE).item()
    assert found == pytest.approx([expected] * 3, rel=1e-4)


@pytest.mark.parametrize("values", [{"margin": 0.0}, {"negatives": "random"}])
def test_classes_are_searched_as_the_parameter_says(monkeypatch, values):
    """For the neighbours of pixels alone, and for those of classes alone."""
    monkeypatch.setattr(neighbours, "faiss_serves", lambda device: False)
    step = step_for(random_labels())
    learner(search="torch", **values)(*step)
    with pytest.raises(InputError, match="search: no faiss"):
        learner(search="faiss", **values)(*step)


@pytest.mark.parametrize("negatives", ["nearest", "random"])
def test_a_truncated_step_has_the_target_and_k_others(negatives):
    """Two of five classes beside the target, no parameter at its default: against a softmax with the rest masked."""
    subject = learner(classes=5, negatives=negatives, k=2, tau=0.3, distance="plain", margin=1.5).double().eval()
    batch, step = step_for(random_labels(classes=5))
    torch.manual_seed(4)  # for the random classes
    terms, head = subject(batch, step), subject.network.classifier
    labelled = batch.labels != IGNORE
    y = batch.labels[labelled]
    x = head.pixel_embeddings(subject.network.features(batch.images), (32, 64)).permute(0, 2, 3, 1)[labelled]
    distances = (x[:, None] - head.mu).norm(dim=2)
    torch.manual_seed(4)
    others = distances.topk(2, largest=False).indices if negatives == "nearest" else random_classes(y, 2, 5)
    kept = torch.zeros_like(distances).scatter(1, others, 1).scatter(1, y[:, None], 1).bool()
    expected = cross_entropy((-distances / 0.3).masked_fill(~kept, -torch.inf), y)
    torch.testing.assert_close(terms["cross_entropy"], expected)
    apart = (head.mu[:, None] - head.mu).norm(dim=2) + torch.diag(torch.full((5,), torch.inf))
    torch.testing.assert_close(terms["max_margin"], (1.5 - apart.amin(dim=1)).relu().mean())


def test_class_weights_weight_the_mean():
    """Pixel counts 1, 2, 3 have median-frequency weights 2, 1, 2/3."""
    batch, step = step_for(random_labels())
    for negatives in ("nearest", "all"):
        subject = learner("essnet", "median_frequency", negatives=negatives, k=3, normalisation="before").eval()
        found = subject(batch, step)["cross_entropy"].item()
        logits, weight = subject.predict(batch.images), torch.tensor([2, 1, 2 / 3])
        expected = cross_entropy(logits, batch.labels, weight, ignore_index=IGNORE).item()
        assert found == pytest.approx(expected, rel=1e-4)


def test_the_head_replaces_the_classifier():
    subject = learner(d=5)
    batch, step = step_for(random_labels())
    assert isinstance(subject.network.classifier, EmbeddingHead)
    assert subject.network.classifier.class_embeddings.shape == (3, 5)
    assert subject.predict(batch.images).shape == (2, 3, 32, 64)
    assert "plain_head" not in subject.heads  # there is no plain head beside it
    assert set(subject(batch, step)) == {"cross_entropy", "max_margin"}
    assert set(learner(margin=0.0)(batch, step)) == {"cross_entropy"}


def test_class_embeddings_have_a_group_of_their_own():
    subject = learner()
    groups = subject.parameter_groups(encoder_learning_rate=0.1)
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in subject.parameters())
    assert groups[-1]["params"] == [subject.network.classifier.class_embeddings]
    for optimiser, momentum in (("sgd", {"momentum": 0.95}), ("adamw", {"betas": (0.95, 0.999)})):
        made = training.make_optimiser(learner(), Training(optimiser=optimiser)).param_groups
        assert made[-1].items() >= ({"power": 0.95, "weight_decay": 0.0} | momentum).items()
        assert made[1]["power"] == 0.9
        assert made[-1]["lr"] == made[1]["lr"] == Training().learning_rate
        faster = training.make_optimiser(learner(embedding_learning_rate=0.5), Training(optimiser=optimiser))
        assert [group["lr"] for group in faster.param_groups[1:]] == [Training().learning_rate, 0.5]


def test_the_cosine_classifier_is_dense_and_has_all_channels():
    subject = learner("cosine_classifier")
    batch, step = step_for(random_labels())
    features = subject.network.features(batch.images)
    assert subject.network.classifier.class_embeddings.shape == (3, features.shape[1])
    cosines = torch.einsum("bkhw,ck->bchw", normalize(features, dim=1), subject.network.classifier.mu)
    close(subject.network.classifier(features) + 1 / TAU, cosines / (TAU / 2), 1e-5)
    assert subject(batch, step)["cross_entropy"].requires_grad
    assert len(training.make_optimiser(subject, Training()).param_groups) == 2
    made = training.make_optimiser(learner("cosine_classifier", embedding_learning_rate=0.5), Training()).param_groups
    assert made[-1].items() >= {"lr": 0.5, "weight_decay": 0.0}.items()
    assert [tuple(p.shape) for p in made[-1]["params"]] == [(3, features.shape[1])]


@pytest.mark.parametrize(
    ("names", "values", "says"),
    [
        (["essnet"], {"k": 0}, "k: .* greater than or equal to 1"),
        (["essnet"], {"d": 0}, "d: .* greater than or equal to 1"),
        (["essnet"], {"tau": 0}, "tau: .* greater than 0"),
        (["essnet"], {"margin": -1}, "margin: .* greater than or equal to 0"),
        (["essnet"], {"negatives": "far"}, "negatives: .*'nearest', 'random' or 'all'"),
        (["essnet"], {"negatives": "all", "distance": "plain"}, "negatives: .*distance='squared'"),
        (["essnet"], {"normalisation": "twice"}, "normalisation: .*'after', 'before' or 'none'"),
        (["essnet"], {"search": "kd"}, "search: .*'auto', 'faiss' or 'torch'"),
        (["essnet"], {"embedding_momentum": 1}, "embedding_momentum: .* less than 1"),
        (["dropclass", "essnet"], {}, "dropclass and essnet cannot be combined, each replaces 'classifier'"),
        (["dropclass", "cosine_classifier"], {}, "dropclass and cosine_classifier .* 'classifier'"),
    ],
)
def test_wrong_values_and_rivals_are_errors(names, values, says):
    with pytest.raises(InputError, match=says):
        registry.own_parameters(names, values)


@pytest.mark.parametrize("configuration", ["essnet", "essnet_random", "essnet_exact"])
def test_a_few_training_steps_lower_the_loss_and_are_recorded(tmp_path, configuration):
    values = {"architecture": "fpn", "encoder": "resnet10t", "pretrained": False, "iterations": 8, "batch_size": 2,
              "size": "32x64", "train_scenes": 2, "val_scenes": 1, "seeds": "0", "device": "cpu", "evaluations": 1,
              "runs_dir": tmp_path, "train": True}  # fmt: skip
    (run,) = Experiment(values).runs(configuration)
    assert run.record.history[-1]["loss"] < run.record.history[0]["loss"]
    assert set(run.record.evaluations) == {"val"}
    assert run.arrays["classifier_weight"].shape == (19, 6)
    stored = Experiment(values).learner(run).network.classifier.mu
    np.testing.assert_allclose(stored.detach(), run.arrays["classifier_weight"], rtol=1e-6)


# quantities and claims


def test_length_follows_frequency(tmp_path):
    vectors = np.array([[3, 0], [0, 2], [1, 0]], dtype=np.float32)
    run = make_run(tmp_path, arrays={"classifier_weight": vectors}, pixel_counts=[30, 20, 10])
    assert EFFECTS["length_follows_frequency"](run) == pytest.approx(1)
    run = make_run(tmp_path, seed=1, arrays={"classifier_weight": vectors}, pixel_counts=[10, 20, 30])
    assert EFFECTS["length_follows_frequency"](run) == pytest.approx(-1)


def test_similarity_within(tmp_path):
    """Vectors at 0, 60 and 90 degrees: cos 60 = 0.5 within, (cos 90 + cos 30) / 2 = 0.433 with the rest."""
    angles = np.radians([0, 60, 90])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32) * [[1], [5], [2]]
    run = make_run(tmp_path, arrays={"classifier_weight": vectors.astype(np.float32)})
    expected = 0.5 - math.cos(math.radians(30)) / 2
    assert EFFECTS["similarity_within"](run, classes=["road", "car"]) == pytest.approx(expected, abs=1e-6)


def printed(number, **cell):
    rows = claims.table("essnet", number)
    for name, wanted in cell.items():
        rows = rows[rows[name] == wanted]
    return rows["value"].to_numpy()


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (
            "C1",
            lambda: [
                printed(3, metric="mIoU", method="ESSNet", dataset=data, model=f"DeepLabV3+/{model}")
                - printed(3, metric="mIoU", method="Baseline", dataset=data, model=f"DeepLabV3+/{model}")
                for data, model in (
                    ("Cityscapes", "MobileNet"),
                    ("Cityscapes", "ResNet50"),
                    ("Pascal VOC", "MobileNet"),
                    ("ADE20K", "MobileNet"),
                    ("ADE20K", "ResNet50"),
                    ("COCO-Stuff10k", "ResNet50"),
                )
            ],
        ),
        ("C5", lambda: printed(1, metric="mIoU")[1:] - printed(1, metric="mIoU")[0]),
        ("C7", lambda: np.diff(printed(2, metric="mIoU"))[:1]),
        ("C8", lambda: np.diff(printed(2, metric="mIoU"))[1:2]),
        ("C9", lambda: np.diff(printed(2, metric="mIoU"))[2:]),
    ],
)
def test_the_papers_effects_are_those_of_its_tables(claim, expected):
    ours = [value for comparison in ledger.claim(f"essnet-{claim}").comparisons for value in comparison.paper]
    np.testing.assert_allclose(ours, np.ravel(expected()), atol=1e-9)


def test_the_ledger_has_all_claims_and_its_checks_hold():
    found = [c for c in ledger.load().claims.values() if c.paper == "essnet"]
    assert [c.id for c in found] == [f"essnet-C{i}" for i in range(1, 19)]
    assert {c.id for c in found if c.core} == {f"essnet-C{i}" for i in (1, 3, 5, 7, 8, 11)}
    checked = [c.id for c in found if c.check]
    assert checked == [f"essnet-C{i}" for i in (3, 4, 11, 12, 13, 14)]
    assert {claims.judge(name).outcome for name in checked} == {"reproduced"}


@pytest.mark.parametrize("loss", scaling.LOSSES)
def test_memory_follows_a_straight_line_once_the_chunks_are_full(loss, monkeypatch):
    """What is drawn on from 2000 and 4000 pixels is what is counted at 20 000."""
    classes, device = 50, torch.device("cpu")
    monkeypatch.setattr(scaling, "PIXELS", 2000)
    monkeypatch.setattr(scaling, "CHUNK", 10_000)
    monkeypatch.setattr(neighbours, "ENTRIES", 10_000)
    monkeypatch.setitem(softmax.ENTRIES, "cpu", 10_000)
    counted = scaling.extra_bytes(scaling.LOSSES[loss], *scaling.unit_vectors(20_000, classes, device))
    assert scaling.extra_bytes_at(20_000, scaling.LOSSES[loss], classes, device) == pytest.approx(counted, rel=1e-3)


def test_memory_made_by_another_library_is_counted():
    """As the neighbours that faiss finds; and what lies in an input's memory is not."""
    x, mu, y = scaling.unit_vectors(1000, 10, torch.device("cpu"))
    foreign = lambda x, mu, y: x.sum() * mu.sum() * torch.from_numpy(np.zeros(10**6, np.float32)).sum()  # noqa: E731
    assert 3.9e6 < scaling.extra_bytes(foreign, x, mu, y) < 4.1e6
    assert scaling.extra_bytes(lambda x, mu, y: x.view(-1).dot(x.T.T.view(-1)) + mu.sum(), x, mu, y) < 2 * x.nbytes


def test_the_benchmark_has_a_row_a_loss_and_number_of_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "SCALING", tmp_path / "scaling.json")
    monkeypatch.setattr(scaling, "PIXELS", 2048)
    monkeypatch.setattr(scaling, "CHUNK", 2**16)
    with pytest.raises(InputError, match=r"python -m segrepro\.analysis\.scaling"):
        scaling.recorded()
    rows = scaling.measure(pixels=512, classes=(5, 150), rounds=1)
    assert {(row["pixels"], row["memory pixels"], row["device"]) for row in rows} == {(512, 2_621_440, "cpu")}
    table = scaling.as_table(rows)
    assert table.shape == (len(scaling.LOSSES) + len(scaling.PREDICTIONS), 4)
    assert (table["milliseconds"] >= 0).all(axis=None)
    predicted = table.loc["prediction", "extra MiB"]
    assert predicted.loc["dense", 150] == pytest.approx((4 * 150 + 8) * 2.5, rel=0.05)  # logits and a class a pixel
    assert predicted.loc["nearest", 150] < 0.2 * predicted.loc["dense", 150]
    table = table.loc["training"]
    dense = table.loc["dense", "extra MiB"]
    assert dense[150] == pytest.approx(3 * 4 * 150 * 2.5, rel=0.05)  # logits, probabilities and gradient, a MiB a 2**18
    assert dense[5] < dense[150]
    assert table.loc["nearest", ("extra MiB", 150)] < dense[150]
    monkeypatch.setattr("sys.argv", ["scaling", "--pixels", "64"])
    monkeypatch.setattr(scaling, "CLASSES", (5,))
    scaling.main()
    scaling.main()  # replaces its own rows
    assert len(scaling.recorded()) == len(scaling.LOSSES) + len(scaling.PREDICTIONS)


@pytest.mark.parametrize("classes", [1, 19, 1284])
def test_what_predictions_are_timed_agree(classes):
    inputs = scaling.unit_vectors(500, classes, torch.device("cpu"))
    dense, *searched = (predict(*inputs) for predict in scaling.PREDICTIONS.values())
    assert all(torch.equal(dense, found) for found in searched)
