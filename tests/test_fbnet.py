"""FBNet: worked by hand, in limits, and in a few steps of training."""

import math

import numpy as np
import pytest
import torch
from factories import make_run
from splits import ArraySplit
from torch.nn.functional import cross_entropy

from segrepro import claims, evaluation, ledger, models, registry
from segrepro.analysis.effects import EFFECTS, NotJudged
from segrepro.analysis.operations import flops
from segrepro.datasets.base import IGNORE, Classes
from segrepro.datasets.batches import Batch
from segrepro.datasets.statistics import Statistics
from segrepro.errors import InputError
from segrepro.experiment import Experiment
from segrepro.methods import Step
from segrepro.papers.fbnet import DualFeatureModulator, block_targets, block_wise_bce

CLASSES = Classes(("road", "car", "sky", "pole"), ((0, 0, 0),) * 4, background=("road", "sky"))
STATISTICS = Statistics(np.array([100, 50, 20, 5]), np.ones((2, 4), dtype=bool))
FOREGROUND = [1, 3]


def network(architecture="fpn", encoder="resnet10t"):
    torch.manual_seed(0)
    return models.build(architecture, encoder, len(CLASSES), pretrained=False)


def learner(*names, of=None, classes=CLASSES, **values):
    names = names or ("fbnet",)
    own = registry.own_parameters(names, values)
    torch.manual_seed(1)
    return registry.build_learner(network() if of is None else of, classes, STATISTICS, own)


def batch_of(height=32, width=64):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=generator)
    labels = torch.randint(IGNORE, len(CLASSES), (2, height, width), generator=generator)
    return Batch(images, labels, torch.arange(2), ["scene"] * 2)


def losses(subject, batch):
    torch.manual_seed(3)  # for dropout
    return subject(batch, Step(0, 10, torch.Generator().manual_seed(2), batch))


# the targets, Eqs. (1) and (2)


def test_a_block_has_the_classes_of_its_pixels():
    labels = torch.tensor([[[0, 0, 0, 3],
                            [0, 1, 0, 1],
                            [2, 2, 3, 3],
                            [2, 2, 3, 3]]])  # fmt: skip
    car, pole = block_targets(labels, FOREGROUND, stride=2)[0]
    assert car.tolist() == [[1, 1], [0, 0]]
    assert pole.tolist() == [[0, 1], [0, 1]]


def test_a_class_on_the_border_of_two_blocks_is_in_both():
    labels = torch.zeros(1, 4, 8, dtype=torch.long)
    labels[0, 0, 3:5] = 1  # the last column of the first block and the first of the second
    assert block_targets(labels, [1], stride=4).tolist() == [[[[1, 1]]]]
    labels[0, 0, 4] = 0
    assert block_targets(labels, [1], stride=4).tolist() == [[[[1, 0]]]]


def test_sides_that_are_no_multiple_of_the_stride_end_in_smaller_blocks():
    labels = torch.zeros(1, 5, 7, dtype=torch.long)
    labels[0, 4, 6] = 3  # the one pixel of the last block, of 1 x 1
    targets = block_targets(labels, FOREGROUND, stride=3)
    assert targets.shape == (1, 2, 2, 3)
    assert targets.nonzero().tolist() == [[0, 1, 1, 2]]


def test_ignored_pixels_set_no_class():
    assert not block_targets(torch.full((1, 4, 4), IGNORE), FOREGROUND, stride=2).any()
    labels = torch.tensor([[[IGNORE, 1], [IGNORE, IGNORE]]])
    assert block_targets(labels, FOREGROUND, stride=2).flatten().tolist() == [1, 0]


# the loss, Eqs. (3) and (4)


def test_block_wise_bce_by_hand():
    """Two blocks, two classes; of the first block car occurs, in the second neither."""
    labels = torch.tensor([[[0, 1, 0, 0], [0, 0, 0, 0]]])
    logits = torch.tensor([[[[2.0, -1.0]], [[0.0, 3.0]]]], requires_grad=True)
    terms = [math.log1p(math.exp(-2)), math.log1p(math.exp(-1)), math.log(2), math.log1p(math.exp(3))]
    loss = block_wise_bce(logits, labels, FOREGROUND, stride=2)
    assert loss.item() == pytest.approx(sum(terms) / 4)
    loss.backward()
    wanted = (logits.detach().sigmoid() - torch.tensor([[[[1.0, 0.0]], [[0.0, 0.0]]]])) / 4  # P - Y'
    torch.testing.assert_close(logits.grad, wanted)


def test_blocks_without_a_label_do_not_count():
    labels = torch.tensor([[[1, IGNORE], [0, 0]]]).repeat_interleave(2, 2)  # (1, 2, 4): no block is wholly ignored
    logits = torch.randn(1, 2, 1, 2)
    both = block_wise_bce(logits, labels, FOREGROUND, stride=2)
    labels[0, :, 2:] = IGNORE
    first = block_wise_bce(logits[..., :1], labels[..., :2], FOREGROUND, stride=2)
    assert block_wise_bce(logits, labels, FOREGROUND, stride=2) == first != both
    nothing = block_wise_bce(logits.requires_grad_(), torch.full_like(labels, IGNORE), FOREGROUND, stride=2)
    nothing.backward()
    assert nothing.item() == 0
    assert not logits.grad.any()


def test_blocks_of_one_pixel_are_point_wise_binary_cross_entropy():
    """A limit: at stride 1 and two classes, both foreground, the two logits tell one class against the other."""
    labels, logit = torch.randint(0, 2, (2, 3, 5)), torch.randn(2, 3, 5)
    loss = block_wise_bce(torch.stack([-logit, logit], dim=1), labels, [0, 1], stride=1)
    torch.testing.assert_close(loss, cross_entropy(torch.stack([-logit / 2, logit / 2], dim=1), labels))


def test_one_pixel_pulls_as_much_as_a_full_block_only_block_wise():
    """Figure 4's case, s = 3, worked by hand: 1/9 of the gradient against all of it."""
    for pixels in (1, 9):
        labels = (torch.arange(9) < pixels).long().view(1, 3, 3)
        logits = torch.tensor([50.0, 0.0]).view(1, 2, 1, 1).requires_grad_()  # background for sure
        (pointwise,) = torch.autograd.grad(cross_entropy(logits.expand(1, 2, 3, 3), labels), logits)
        assert pointwise[0, 1].item() == pytest.approx(-pixels / 9)
        (blockwise,) = torch.autograd.grad(block_wise_bce(logits[:, 1:], labels, [1], stride=3), logits)
        assert blockwise[0, 1].item() == pytest.approx(0.5 - 1)


def test_sizes_that_do_not_fit_are_an_error():
    with pytest.raises(InputError, match="9 x 8 pixels make 3 x 2 blocks of 4 x 4, but this network has 2 x 2 pos"):
        block_wise_bce(torch.zeros(1, 1, 2, 2), torch.zeros(1, 9, 8, dtype=torch.long), [1], stride=4)


# the modulator, Eqs. (5)-(7)


def test_the_modulator_by_hand():
    """Two channels, two positions: x = (1, 3) and (2, 4)."""
    modulator, x = DualFeatureModulator(2), torch.tensor([[[[1.0, 3.0]], [[2.0, 4.0]]]])
    with torch.no_grad():
        modulator.spatial.weight.copy_(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))
        modulator.spatial.bias.fill_(-1.0)  # 1 - 1 and 3 - 1, so S_s = 1/2 and sigmoid(2)
        modulator.channel.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))  # of the means (2, 3): 2 and 0
        modulator.channel.bias.zero_()  # so S_c = sigmoid(2) and 1/2
    first, second = modulator(x)[0]
    of_2 = 1 / (1 + math.exp(-2))
    torch.testing.assert_close(first, torch.tensor([[1 / 2, 3 * of_2]]) * of_2)
    torch.testing.assert_close(second, torch.tensor([[2 / 2, 4 * of_2]]) / 2)


def test_a_modulator_that_lets_all_through_doubles_its_stage():
    """A limit: both sensors at 1 make X_o = X_l, and the fusion 2 X_l."""
    subject, x = learner(), batch_of().images
    modulator, seen = subject.methods[0].modulators["res5"], []
    subject.network.modify_stage("res5", lambda x: seen.append(x) or x)
    subject.eval()
    with torch.no_grad():
        for sensor in (modulator.spatial, modulator.channel):
            sensor.weight.zero_()
            sensor.bias.fill_(50.0)
        subject.network.features(x)
        plain = learner("plain").eval()
        plain.network.modify_stage("res5", lambda x: seen.append(x) or x)
        plain.network.features(x)
    torch.testing.assert_close(seen[0], 2 * seen[1])


# where it goes


def test_a_module_at_res2_changes_all_deeper_stages_and_the_logits():
    batch, seen = batch_of(), {}
    for name, subject in (("without", learner("plain")), ("with", learner(stages="res2"))):
        subject.eval()
        for stage in models.STAGES:
            subject.network.modify_stage(stage, lambda x, key=(name, stage): seen.update({key: x}) or x)
        seen[name, "logits"] = subject.predict(batch.images)
    for place in (*models.STAGES, "logits"):
        assert not torch.equal(seen["without", place], seen["with", place]), place


def test_a_module_at_res4_leaves_the_stages_before_it():
    batch, seen = batch_of(), []
    for subject in (learner("plain"), learner(stages=["res4"])):
        subject.eval().network.modify_stage("res3", lambda x: seen.append(x) or x)
        subject.predict(batch.images)
    assert torch.equal(*seen)


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [
        ("fcn", "resnet10t"), ("pspnet", "mobilenetv2_100"), ("deeplabv3plus", "tf_efficientnet_lite0"),
        ("upernet", "resnet10t"), ("deeplabv3", "mobilenet_v3_large"), ("hrnet", "hrnet_w18_small"),
    ],
)  # fmt: skip
def test_it_goes_into_every_network_and_learns_at_every_stage(architecture, encoder):
    subject = learner(of=network(architecture, encoder), stages="res2,res3,res4,res5")
    sum(losses(subject, batch_of(64, 64)).values()).backward()
    for name, parameter in subject.methods[0].named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if architecture != "hrnet" or "heads" in name:
            assert parameter.grad.any(), name


def test_images_whose_sides_are_no_multiple_of_the_stride_are_trained_on():
    subject = learner(of=network("fcn"), stages="res4")
    assert math.isfinite(losses(subject, batch_of(52, 75))["bwbce"].item())


def test_the_loss_is_the_sum_over_stages_of_that_on_x_o_times_its_weight():
    subject, batch, x_o = learner(stages="res4,res5", bwbce_lambda=2.0), batch_of(), {}
    left, right = batch.labels.chunk(2, dim=2)
    left[left == 3], right[right == 1] = 0, 0  # no two classes are in the same blocks
    (method,) = subject.methods
    for stage, modulator in method.modulators.items():
        modulator.register_forward_hook(lambda _module, _inputs, output, stage=stage: x_o.update({stage: output}))
    found = losses(subject, batch)["bwbce"]
    terms = [
        block_wise_bce(method.auxiliary_heads[stage](x_o[stage]), batch.labels, FOREGROUND, stride)
        for stage, stride in (("res4", 16), ("res5", 32))
    ]
    torch.testing.assert_close(found, 2 * sum(terms))


# each part alone, and what replaces it (Table 4)


def test_without_its_parts_it_is_plain_training():
    batch, plain = batch_of(), learner("plain")
    subject = learner(modulator="none", auxiliary="none")
    assert losses(subject, batch) == losses(plain, batch)
    assert not list(subject.methods[0].parameters())


def test_the_loss_alone_leaves_prediction_as_it_is():
    subject, plain = learner(modulator="none"), learner("plain")
    assert torch.equal(subject.eval().predict(batch_of().images), plain.eval().predict(batch_of().images))
    assert set(losses(subject.train(), batch_of())) == {"cross_entropy", "bwbce"}


def test_the_modulator_alone_has_no_loss_of_its_own_but_learns():
    subject = learner(auxiliary="none")
    terms = losses(subject, batch_of())
    assert set(terms) == {"cross_entropy"}
    terms["cross_entropy"].backward()
    assert all(parameter.grad.any() for parameter in subject.methods[0].parameters())


def test_the_point_wise_loss_is_cross_entropy_of_all_classes_on_x_o():
    subject, batch = learner(auxiliary="pointwise", modulator="none", stages="res4"), batch_of()
    seen = []
    subject.network.modify_stage("res4", lambda x: seen.append(x) or x)
    terms = losses(subject, batch)
    logits = subject.methods[0].auxiliary_heads["res4"](seen[0])
    assert logits.shape[1] == len(CLASSES)
    wanted = cross_entropy(models.upsample(logits, (32, 64)), batch.labels, ignore_index=IGNORE)
    torch.testing.assert_close(terms["pointwise"], wanted)


def test_a_convolution_in_place_of_the_modulator_is_added_too():
    subject, plain, seen = learner(modulator="convolution"), learner("plain"), []
    for each in (subject, plain):
        each.eval().network.modify_stage("res5", lambda x: seen.append(x) or x)
        each.predict(batch_of().images)
    x_l = seen[1]
    torch.testing.assert_close(seen[0], x_l + subject.methods[0].modulators["res5"](x_l))


# training only, prediction, and what a record keeps


def test_the_blocks_may_start_from_another_probability():
    features = torch.zeros(1, learner().network.stage("res5").width, 1, 1)
    head = learner(bwbce_prior=0.05).methods[0].auxiliary_heads["res5"]
    torch.testing.assert_close(head(features).sigmoid(), torch.full((1, 2, 1, 1), 0.05))
    usual = learner(auxiliary="pointwise", bwbce_prior=0.05).methods[0].auxiliary_heads["res5"].bias
    assert usual.abs().max() < 1  # which is another loss


def test_the_head_is_for_training_only():
    """At prediction it is neither called nor are its inputs kept."""
    subject = learner().eval()
    method = subject.methods[0]
    method.auxiliary_heads["res5"].register_forward_hook(lambda *_: pytest.fail("the head was called"))
    with torch.no_grad():
        subject.predict(batch_of().images)
    assert not method._outputs


def test_flops_by_hand():
    """At res5 of PSPNet with stride 8: 8 x 16 positions of 512 channels in a 64 x 128 image."""
    positions, width, size = 8 * 16, 512, (64, 128)
    sensors = 2 * width * positions + 2 * width * width
    added = flops("pspnet", "resnet18", ["fbnet"], size) - flops("pspnet", "resnet18", ["plain"], size)
    assert added == sensors
    training = {"training": True, "output_stride": 16}
    added = flops("pspnet", "resnet18", ["fbnet"], size, **training)
    added -= flops("pspnet", "resnet18", ["plain"], size, **training)
    assert added == sensors - 2 * width * positions * 3 // 4 + 2 * 14 * width * positions // 4


def test_strength_by_hand():
    """X_l is 1 where the image is dark and 3 where it is bright, X_o a half and a half of it."""
    subject = learner(stages="res5", modulator="convolution", of=network("fcn"))
    maps = torch.ones(1, 512, 4, 4)
    maps[..., 2:] = 3.0
    with torch.no_grad():
        method = subject.methods[0]
        method.modulators["res5"].weight.copy_(torch.eye(512).view(512, 512, 1, 1) / 2)
        method.modulators["res5"].bias.zero_()
        method.network.features = lambda images: method._modulate("res5", maps)
        labels = torch.tensor([[1, 1, 2, IGNORE]] * 4)[None]
        sums = method.measure(Batch(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), labels, torch.zeros(1), [""]))
    assert sums["strength/res5"].tolist() == [[0, 8, 12, 0], [0, 4, 6, 0], [0, 8, 4, 0]]


def test_measurements_are_summed_over_the_split():
    generator = np.random.default_rng(0)
    labels = [generator.integers(IGNORE, 4, (32, 64)) for _ in range(3)]
    images = [generator.integers(0, 256, (32, 64, 3), dtype=np.uint8) for _ in range(3)]
    split = ArraySplit(labels, images, classes=4)
    found = evaluation.measurements(learner(stages="res4,res5"), split, device=torch.device("cpu"), batch_size=2)
    assert set(found) == {"strength/res4", "strength/res5"}
    counts = np.bincount(np.concatenate([array.ravel() for array in labels]) + 1, minlength=5)[1:]
    assert found["strength/res5"][2].tolist() == counts.tolist()
    assert (found["strength/res5"][0] > found["strength/res5"][1]).all()  # both sensors are below 1
    assert evaluation.measurements(learner("plain"), split, device=torch.device("cpu")) == {}


def test_maps_of_examples_cover_the_padded_image():
    images = [np.full((40, 64, 3), 50 * i, dtype=np.uint8) for i in range(3)]
    split = ArraySplit([np.zeros((40, 64))] * 3, images, classes=4)
    subject, device = learner(stages="res4,res5").eval(), torch.device("cpu")
    found = evaluation.example_maps(subject, split, [0, 2], device=device)
    assert {name: array.shape for name, array in found.items()} == {
        "maps/0/strength/res4": (2, 4, 4), "maps/0/strength/res5": (2, 2, 2),
        "maps/2/strength/res4": (2, 4, 4), "maps/2/strength/res5": (2, 2, 2),
    }  # fmt: skip
    padded = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    padded[:, :, :40] = 100
    with torch.inference_mode():
        expected = subject.methods[0].maps(padded)["strength/res5"][0]
    kept = evaluation.stored_maps(found, "strength/res5")
    assert list(kept) == [0, 2]
    np.testing.assert_allclose(kept[2], expected, rtol=2e-3)
    assert evaluation.example_maps(learner("plain"), split, [0], device=device) == {}


# the strong baseline (claim C12)


def test_hard_examples_by_hand():
    """Pixels are right with probability 0.9, 0.6, 0.3: with a threshold of 0.5 the last alone counts; two thirds at
    least are the last two, and all of them are plain cross-entropy.
    """
    labels = torch.tensor([[[0, 0, 1, IGNORE]]])
    logits = torch.tensor([[0.9, 0.6, 0.7, 0.5], [0.1, 0.4, 0.3, 0.5]]).log().view(1, 2, 1, 4)
    batch = Batch(torch.zeros(1, 3, 1, 4, dtype=torch.uint8), labels, torch.zeros(1), [""])

    def loss(**values):
        subject = learner("hard_examples", **values)
        method = subject.methods[0]
        subject.network.classifier = torch.nn.Identity()
        step = Step(0, 1, torch.Generator(), batch)
        return math.exp(-method.main_loss(logits, labels, step)["cross_entropy"])

    assert loss(ohem_threshold=0.5, ohem_share=0.1) == pytest.approx(0.3)
    assert loss(ohem_threshold=0.0, ohem_share=0.3) == pytest.approx(0.3)  # of three labelled pixels, not of four
    assert loss(ohem_threshold=0.5, ohem_share=0.5) == pytest.approx((0.6 * 0.3) ** (1 / 2))
    assert loss(ohem_threshold=0.65, ohem_share=0.1) == pytest.approx((0.6 * 0.3) ** (1 / 2))
    assert loss(ohem_threshold=0.0, ohem_share=1.0) == pytest.approx((0.9 * 0.6 * 0.3) ** (1 / 3))


def test_hard_examples_of_nothing_are_nothing():
    subject, batch = learner("hard_examples"), batch_of()
    batch.labels.fill_(IGNORE)
    assert losses(subject, batch)["cross_entropy"].item() == 0


def test_the_strong_baseline_combines_all_three_with_fbnet():
    configuration = ledger.configuration("fbnet_balanced")
    subject = learner(*configuration.methods, oversample_class="pole")
    assert subject.class_weights.tolist() == pytest.approx([0.35, 0.7, 1.75, 7.0])
    assert subject.methods[2].repeats(np.eye(4, dtype=bool)).tolist() == [1, 1, 1, 2]
    assert set(losses(subject, batch_of())) == {"cross_entropy", "bwbce"}


# parameters


def test_the_foreground_is_all_but_the_background():
    assert learner().methods[0].foreground == FOREGROUND
    assert learner(foreground="sky, pole,sky").methods[0].foreground == [2, 3]
    assert learner(foreground=["road"]).methods[0].auxiliary_heads["res5"].out_channels == 1


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"stages": "res6"}, "stages: .*no stage res6; valid: res2, res3, res4, res5"),
        ({"stages": []}, "stages: .* should have at least 1 item.*one or more of res2, res3, res4, res5"),
        ({"foreground": []}, "foreground: .* should have at least 1 item.*classes that the blocks are searched for"),
        ({"foreground": "tram"}, "foreground: no class tram; valid: road, car, sky, pole"),
        ({"bwbce_lambda": -0.1}, "bwbce_lambda: input should be greater than or equal to 0"),
        ({"auxiliary": "dice"}, "auxiliary: input should be 'bwbce', 'pointwise' or 'none'"),
        ({"modulator": "attention"}, "modulator: input should be 'dfm', 'convolution' or 'none'"),
    ],
)
def test_wrong_parameters_are_errors_with_the_valid_ones(values, says):
    with pytest.raises(InputError, match=says):
        learner(**values)


def test_a_data_set_of_background_only_is_an_error():
    with pytest.raises(InputError, match="foreground: every class is background; name one or more of road"):
        learner(classes=Classes(CLASSES.names, CLASSES.colours, background=CLASSES.names))


def test_stages_are_kept_in_order_and_once():
    own = [registry.own_parameters(["fbnet"], {"stages": s})["fbnet"] for s in ("res5,res2,res5", ["res2", "res5"])]
    assert own[0] == own[1]
    assert own[0].stages == ["res2", "res5"]


# training


def test_a_few_steps_lower_both_losses():
    subject, batch = learner(), batch_of()
    batch.labels[:] = torch.arange(64) // 16  # each class in a stripe of its own
    optimiser = torch.optim.AdamW(subject.parameters(), lr=1e-3)
    history = []
    for _ in range(8):
        terms = losses(subject, batch)
        history.append({name: term.item() for name, term in terms.items()})
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
    assert all(history[-1][name] < history[0][name] for name in ("cross_entropy", "bwbce"))


def test_an_experiment_records_the_strength(tmp_path):
    small = {"architecture": "fpn", "encoder": "resnet10t", "pretrained": False, "iterations": 2, "batch_size": 2}
    scenes = {"dataset": "synthetic", "size": "32x64", "train_scenes": 4, "val_scenes": 2, "seeds": [0]}
    experiment = Experiment({**small, **scenes, "runs_dir": str(tmp_path), "train": True})
    (run,) = experiment.runs("fbnet")
    assert {"bwbce", "cross_entropy"} <= set(run.record.history[-1])
    assert run.record.evaluations["val"]["matrix"]
    assert run.arrays["strength/res5"].shape == (3, 19)
    np.testing.assert_array_equal(run.arrays["strength/res5"][2], run.counts().sum(axis=1))  # pixels of each class
    assert {i: maps.shape for i, maps in evaluation.stored_maps(run.arrays, "strength/res5").items()} == {
        0: (2, 1, 2), 1: (2, 1, 2)
    }  # fmt: skip
    again = experiment.learner(run)
    assert again.methods[0].maps(torch.zeros(1, 3, 32, 64, dtype=torch.uint8))["strength/res5"].shape == (1, 2, 1, 2)


# claims and quantities


def printed(number, **cell):
    """The values of an FBNet table where all of `cell` holds."""
    rows = claims.table("fbnet", number)
    for name, wanted in cell.items():
        rows = rows[rows[name].isin(wanted) if isinstance(wanted, tuple) else rows[name] == wanted]
    return rows["value"].to_numpy()


def gains(number, **cell):
    """FBNet minus the baseline, one a model."""
    return printed(number, method="FBNet", **cell) - printed(number, method="Baseline", **cell)


BACKGROUND = ("road", "sidewalk", "building", "vegetation", "sky")
TABLE4 = [printed(4, metric="mIoU", setting=f"aux_loss={loss};fm={module}").item() for loss, module in (
    ("none", "none"), ("BwBCE", "none"), ("none", "DFM"), ("BwBCE", "DFM"))]  # fmt: skip


def table1(background):
    rows = claims.table("fbnet", 1)
    names = rows[rows["metric"] == "IoU"]["class"].unique()
    chosen = tuple(name for name in names if (name in BACKGROUND) == background)
    return gains(1, metric="IoU", **{"class": chosen}).reshape(2, -1)


def injected(*settings):
    return [printed(3, metric="mIoU", setting=f"inject={setting}").item() for setting in settings]


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("C1", lambda: [gains(1, metric="mIoU"), gains(1, metric="f-mIoU") - gains(1, metric="mIoU")]),
        ("C2", lambda: [table1(background=False).min(1), table1(background=True).mean(1)]),
        ("C3", lambda: [printed(2, metric=f"delta_{metric}") for metric in ("mIoU", "f-mIoU")]),
        ("C5", lambda: [-np.diff(injected("res5", "res2")), -np.diff(injected("res2+res3+res4+res5", "res5"))]),
        ("C6", lambda: [[TABLE4[1] - TABLE4[0]], [TABLE4[2] - TABLE4[0]]]),
        ("C7", lambda: [[TABLE4[3] - TABLE4[1] - TABLE4[2] + TABLE4[0]]]),
        ("C12", lambda: [gains(1, metric="mIoU"), gains(1, metric="f-mIoU")]),
    ],
)
def test_the_papers_effects_are_those_of_its_tables(claim, expected):
    ours = [comparison.paper for comparison in ledger.claim(f"fbnet-{claim}").comparisons]
    np.testing.assert_allclose(ours, expected(), atol=1e-9)


def test_the_ledger_has_all_claims_of_fbnet():
    found = [claim for claim in ledger.load().claims.values() if claim.paper == "fbnet"]
    assert [claim.id for claim in found] == [f"fbnet-C{i}" for i in range(1, 16)]
    assert {claim.id for claim in found if claim.core} == {f"fbnet-C{i}" for i in (1, 2, 4, 5, 7, 9, 10)}
    assert [claim.id for claim in found if claim.check] == [f"fbnet-C{i}" for i in (4, 9, 10, 11)]


@pytest.mark.parametrize("claim", [4, 9, 10, 11])
def test_what_needs_no_training_is_reproduced(claim):
    assert claims.judge(f"fbnet-C{claim}").outcome == "reproduced"


def test_class_iou_is_one_value_a_class(tmp_path):
    run, baseline = (make_run(tmp_path, seed=s, ious=ious) for s, ious in enumerate(([0.5, 0.6, 0.8], [0.5, 0.7, 0.4])))
    difference = EFFECTS["class_iou"](run, baseline, classes="foreground")  # all but the first
    assert list(difference.index) == ["car", "train"]
    np.testing.assert_allclose(difference, [-10, 40])


def test_taken_for_building_counts_pixels_of_all_the_classes(tmp_path):
    """Of 10 pixels of wall and 30 of pole, 4 and 2 are taken for building: 15 percent."""
    matrix = [[50, 0, 0], [4, 6, 0], [2, 3, 25]]
    run = make_run(tmp_path, names=("building", "wall", "pole"), matrix=np.array(matrix))
    assert EFFECTS["taken_for_building"](run, classes=["wall", "pole"]) == pytest.approx(15)
    with pytest.raises(NotJudged, match="the class building"):
        EFFECTS["taken_for_building"](make_run(tmp_path, seed=1), classes=["car"])


def test_foreground_strength_by_hand(tmp_path):
    """X_l is 2 on the background's 10 pixels, and 3 on average on the foreground's; X_o is 1 and 2."""
    sums = np.array([[20, 24, 6], [10, 15, 5], [10, 8, 2]], dtype=np.float32)
    run = make_run(tmp_path, arrays={"strength/res5": sums})
    assert EFFECTS["foreground_strength"](run) == pytest.approx(100)
    assert EFFECTS["foreground_strength_gained"](run) == pytest.approx(100 * (2 - 1.5))
    with pytest.raises(NotJudged, match="strength/res5"):
        EFFECTS["foreground_strength"](make_run(tmp_path, seed=1))
