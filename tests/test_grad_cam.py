"""Class-activation maps: networks whose maps are known, sums worked by hand, the claim, 11_grad_cam on tiny runs."""

import re

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from factories import make_run
from matplotlib.text import Text
from splits import ArraySplit
from torch import nn

from segrepro import claims, grad_cam, ledger, plots, registry
from segrepro.analysis import activation
from segrepro.analysis.effects import EFFECTS, NotJudged
from segrepro.batch import NOTEBOOKS
from segrepro.datasets.base import Classes
from segrepro.datasets.statistics import Statistics
from segrepro.errors import InputError
from segrepro.experiment import Experiment
from segrepro.grad_cam import class_activation
from segrepro.measuring import MEASUREMENTS
from segrepro.methods import Learner
from segrepro.models import Network, Stage, build

CPU = torch.device("cpu")
STREET = ("road", "motorcycle", "bicycle", "truck", "train", "bus")
TINY = {"architecture": "fpn", "encoder": "resnet10t", "pretrained": False, "dataset": "synthetic", "size": "32x64",
        "train_scenes": 8, "val_scenes": 24, "iterations": 2, "batch_size": 2, "evaluations": 1, "seeds": "0,1",
        "device": "cpu"}  # fmt: skip


def learner_of(network, methods=("plain",), classes=2, **own):
    kinds = Classes(tuple(f"class {c}" for c in range(classes)), ((0, 0, 0),) * classes)
    statistics = Statistics(np.ones(classes, dtype=np.int64), np.ones((1, classes), dtype=bool))
    return registry.build_learner(network, kinds, statistics, registry.own_parameters(methods, own)).eval()


def tiny_network(stage=False, multiple=1):
    """A = the image's red and green, or ReLU of both less 10 (stage res4: before the ReLU); W = (1, -1), (-1, 2)."""
    body = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
    with torch.no_grad():
        body[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]]).view(2, 3, 1, 1))
        body[0].bias.fill_(-10.0 if stage else 0.0)
    stages = {"res4": Stage(body[0], None, 2, 1)}
    unit = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}
    network = Network(body, stages, width=2, classes=2, multiple=multiple, **unit)
    with torch.no_grad():
        network.classifier.weight.copy_(torch.tensor([[1.0, -1], [-1, 2]]).view(2, 2, 1, 1))
        network.classifier.bias.copy_(torch.tensor([100.0, -100]))
    return network


def image_of(red, green):
    return torch.from_numpy(np.array([red, green, np.zeros_like(red)], dtype=np.uint8))


RED, GREEN = [[3, 0], [8, 5]], [[1, 4], [8, 0]]


# maps


def test_the_maps_of_a_tiny_network():
    """Bias plays no part; what speaks against a class is cut off."""
    maps = class_activation(learner_of(tiny_network()), image_of(RED, GREEN)[None], [0, 1])
    np.testing.assert_allclose(maps[0], [[[2, 0], [0, 5]], [[0, 8], [8, 0]]], atol=1e-5)
    assert not maps.requires_grad
    (only,) = class_activation(learner_of(tiny_network()), image_of(RED, GREEN)[None], [1])
    np.testing.assert_array_equal(only[0], maps[0, 1])


def test_a_deeper_gradient_depends_on_the_image():
    """Red passes the ReLU in 3 of 4 pixels, green in 2: alpha of the classes is (3/4, -2/4) and (-3/4, 4/4)."""
    red, green = [[14, 0], [16, 12]], [[11, 2], [18, 0]]  # less 10: 4, -10, 6, 2 and 1, -8, 8, -10
    learner = learner_of(tiny_network(stage=True))
    maps = class_activation(learner, image_of(red, green)[None], [0, 1], layer="res4")
    expected = [[[2.5, 0], [0.5, 6.5]], [[0, 0], [3.5, 0]]]
    np.testing.assert_allclose(maps[0], expected, atol=1e-5)
    assert not learner.network.body[0]._forward_hooks  # nothing stays behind


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "fpn"])
@pytest.mark.parametrize("method", ["plain", "dropclass"])
def test_at_a_1x1_classifier_the_map_is_the_rectified_logit_without_bias(architecture, method):
    torch.manual_seed(0)
    network = build(architecture, "resnet10t", 5, pretrained=False)
    nn.init.normal_(network.classifier.bias)
    learner = learner_of(network, [method], classes=5)
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        logits = learner.methods[0].predict(network.features(images), (64, 96))
    expected = torch.relu(logits - network.classifier.bias.view(1, -1, 1, 1)).detach()
    assert expected.max() > 0
    maps = class_activation(learner, images, range(5))
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


@pytest.mark.parametrize("methods", [["essnet"], ["cosine_classifier"], ["fbnet"], ["lff"]])
@pytest.mark.parametrize("layer", ["features", "res4"])
def test_every_method_has_maps(methods, layer):
    torch.manual_seed(0)
    learner = learner_of(build("hrnet", "hrnet_w18_small", 3, pretrained=False), methods, classes=3)
    images = torch.randint(0, 256, (1, 3, 32, 64), dtype=torch.uint8)
    maps = class_activation(learner, images, [0, 2], layer=layer)
    assert maps.shape == ((1, 2, 8, 16) if layer == "features" else (1, 2, 2, 4))
    assert maps.isfinite().all()
    assert maps.max() > 0


def test_what_has_no_maps_is_said():
    mlp = learner_of(build("mlp", "none", 2, pretrained=False, size=(4, 4)))
    with pytest.raises(InputError, match="classifies whole images has no maps"):
        class_activation(mlp, torch.zeros(1, 3, 4, 4, dtype=torch.uint8), [0])
    with pytest.raises(InputError, match="no stage 'res9' in this network; it has res4"):
        class_activation(learner_of(tiny_network()), image_of(RED, GREEN)[None], [0], layer="res9")


# sums


def test_pair_sums_by_hand():
    """Image 0 has classes 0 and 1, image 1 has 0 and 2."""
    on = np.zeros((2, 3, 3))
    on[0, 0], on[0, 1] = [5, 1, 2], [1, 7, 3]
    on[1, 0], on[1, 2] = [4, 2, 1], [1, 1, 9]
    present = np.array([[True, True, False], [True, False, True]])
    sums = activation.Sums(*activation.pair_sums(on, present))
    np.testing.assert_array_equal(sums.images, [[2, 1, 1], [0, 1, 1], [0, 1, 1]])
    # the image with 0 and without 2 is the first, that with 0 and without 1 the second
    assert (sums.of_a[0, 2], sums.of_b[0, 2]) == (6, 5)
    assert (sums.of_a_on_a[0, 2], sums.of_b_on_a[0, 2]) == (5, 2)
    assert (sums.of_a[0, 1], sums.of_b[0, 1], sums.of_b_on_a[0, 1]) == (5, 3, 2)
    assert sums.of_a[0, 0] == sums.of_b[0, 0] == 6 + 5  # the diagonal: all images with the class
    assert sums.of_a_on_a[0, 0] == 5 + 4
    assert (sums.of_a[1, 0], sums.of_b[1, 0]) == (0, 0)  # no image has 1 and lacks 0


def test_sums_over_a_split_leave_unlabelled_pixels_and_padding_out():
    """Maps of class 0: 2 0 / 0 5, of class 1: 0 8 / 8 0; labels 0 0 / 0 -1; a third row and column are padded."""
    image = image_of(RED, GREEN).permute(1, 2, 0).numpy()
    split = ArraySplit([[[0, 0], [0, -1]], [[0, 1], [1, 1]]], [image, image], classes=2)
    sums = activation.Sums(*grad_cam.activation_sums(learner_of(tiny_network(multiple=3)), split, device=CPU))
    np.testing.assert_allclose(sums.images, [[2, 1], [0, 1]])
    np.testing.assert_allclose(sums.of_a, [[2 + 7, 2], [0, 16]], atol=1e-4)
    np.testing.assert_allclose(sums.of_b[0, 1], 16, atol=1e-4)
    np.testing.assert_allclose(sums.of_a_on_a, [[2 + 2, 2], [0, 16]], atol=1e-4)


def test_many_classes_are_refused(monkeypatch):
    monkeypatch.setattr(grad_cam, "MOST_CLASSES", 1)
    split = ArraySplit([np.zeros((2, 2))], classes=2)
    with pytest.raises(InputError, match="2 classes have 4 pairs.* at most 1 classes"):
        grad_cam.activation_sums(learner_of(tiny_network()), split, device=CPU)


def test_kept_maps_are_over_the_image_and_small(monkeypatch):
    image = image_of(RED, GREEN).permute(1, 2, 0).numpy()
    split = ArraySplit([[[0, 0], [0, 0]]], [image], classes=2)
    wanted = {split.classes.names: 0}
    learner = learner_of(tiny_network(multiple=3))
    arrays = grad_cam.activation_maps(learner, split, wanted, device=CPU, layers=["features"])
    assert sorted(arrays) == ["activation/features/0/0", "activation/features/0/1"]
    np.testing.assert_allclose(arrays["activation/features/0/0"], [[2, 0], [0, 5]])
    assert arrays["activation/features/0/0"].dtype == np.float16
    monkeypatch.setattr(grad_cam, "MOST_POSITIONS", 1)
    arrays = grad_cam.activation_maps(learner, split, wanted, device=CPU, layers=["features"])
    np.testing.assert_allclose(arrays["activation/features/0/1"], [[4]])
    assert set(activation.stored_maps(arrays)) == {(0, 0), (0, 1)}
    assert activation.stored_maps(arrays, "res4") == {}


def test_the_telling_image_has_most_of_one_class_and_none_of_the_other():
    labels = [[[0, 1, 2, 2]], [[0, 0, 2, 2]], [[0, 2, 2, 2]], [[1, 1, 1, 1]], [[-1, -1, 2, 2]]]
    split = ArraySplit(labels, classes=4)
    found = activation.telling_images(split, [("class 2", "class 1"), ("class 0", "class 1"), ("class 3", "class 0")])
    assert found == {("class 2", "class 1"): 2, ("class 0", "class 1"): 1}


# tables


def street_run(folder, leaks=(20, 40, 60), own=50, images=20, **options):
    """Each of Figure 4's pairs at its leak over the image (percent), half of it on the class's pixels, which hold `own`
    percent of the activation of 100 of the class that is there.
    """
    sums = np.zeros((5, 6, 6), dtype=np.float32)
    for (a, b), percent in zip(activation.PAIRS, leaks, strict=True):
        place = STREET.index(a), STREET.index(b)
        sums[(slice(None), *place)] = images, 100, percent, own, percent / 2 * own / 100
        sums[(slice(None), place[0], place[0])] = images, 100, 100, own, own
    return make_run(folder, names=STREET, rare=STREET[1:], arrays={"activation": sums}, **options)


def test_leaks_by_hand(tmp_path):
    run = street_run(tmp_path)
    over_image = activation.leak(run, activation.PAIRS)
    assert list(over_image.index) == ["motorcycle → bicycle", "truck → train", "bus → truck", "all pairs"]
    np.testing.assert_allclose(over_image, [20, 40, 60, 40])
    np.testing.assert_allclose(activation.leak(run, activation.PAIRS, activation.WHERE[1]), [10, 20, 30, 20])
    assert np.isnan(activation.leak(run, [("bicycle", "motorcycle")]).iloc[0])
    np.testing.assert_allclose(activation.on_target(run, ["bus", "truck"]), [50, 50, 50])
    assert activation.images(run, activation.PAIRS).tolist() == [20, 20, 20]
    table = activation.matrix([run, street_run(tmp_path, (40, 60, 80), seed=1)])
    assert table[5, 3] == pytest.approx(35)
    assert np.isnan(table[3, 5])
    assert np.isnan(table.diagonal()).all()
    assert activation.leakiest([run], 2) == [("bus", "truck"), ("truck", "train")]
    assert activation.leakiest([street_run(tmp_path, images=9, seed=2)]) == activation.leakiest([]) == []


def test_classes_that_are_hardly_found_have_no_leaks_in_the_matrix(tmp_path, capsys):
    """Two seeds in the mean: bus at 4 % is left out, truck at 5 % is not."""
    ious = ([0.5, 0.5, 0.5, 0.02, 0.5, 0.02], [0.5, 0.5, 0.5, 0.08, 0.5, 0.06])
    runs = [street_run(tmp_path, seed=seed, ious=of) for seed, of in enumerate(ious)]
    table = activation.matrix(runs)
    assert np.isnan(table[5]).all()
    assert table[3, 4] == pytest.approx(20)
    unable = {"dropclass": [street_run(tmp_path, seed=2, ious=[0.04] * 6)]}
    assert list(activation.matrices({"plain": runs} | unable)) == ["plain"]
    assert capsys.readouterr().out.startswith("Without dropclass: no class has an IoU of 5 %")


def test_seeds_are_paired_and_averaged(tmp_path):
    plain = [street_run(tmp_path, (30, 30, 30), seed=0), street_run(tmp_path, (50, 50, 50), seed=1)]
    dropclass = [street_run(tmp_path, (20, 20, 20), seed=seed, methods=["dropclass"]) for seed in (1, 2)]
    runs = {"plain": plain, "dropclass": dropclass}
    table = activation.leaks(runs, activation.PAIRS[:1])
    assert len(table) == 4 * 2 * 2
    means = activation.with_intervals(table).set_index(["configuration", "where", "pair"])
    row = means.loc[("plain", "the image", "motorcycle → bicycle")]
    assert (row["value"], row["seeds"]) == (pytest.approx(40), 2)
    assert row["low"] == pytest.approx(40 - 12.706 * 10, abs=0.01)
    gains = activation.differences(table, "plain").set_index(["where", "pair"])
    assert gains.loc[("the image", "all pairs"), ["value", "seeds"]].tolist() == [pytest.approx(-30), 1]
    text = activation.as_text(activation.differences(table, "plain"), signed=True)
    assert text.loc["motorcycle → bicycle", ("dropclass", "the image")] == "-30.0"
    assert activation.as_text(activation.with_intervals(table)).loc["all pairs", ("plain", "the image")].startswith(
        "40.0 [-87.1")  # fmt: skip


def test_pairs_are_read_and_those_that_the_data_lack_are_named(capsys):
    assert activation.pairs_of(STREET) == list(activation.PAIRS)
    assert capsys.readouterr().out == ""
    assert activation.pairs_of(["bus", "truck"]) == [("bus", "truck")]
    assert "Without motorcycle:bicycle, truck:train: the data set lacks" in capsys.readouterr().out
    assert activation.pairs_of(STREET, ["road:bus"]) == [("road", "bus")]
    with pytest.raises(InputError, match="pairs: no class tram; the data set has road, motorcycle"):
        activation.pairs_of(STREET, ["bus:tram"])
    assert Experiment({"pairs": "road : bus, car:truck"}).setup.pairs == ["road:bus", "car:truck"]
    for wrong in ("road", "road:road", "a:b:c", "road:"):
        with pytest.raises(InputError, match=f"pairs: '{wrong}' is no pair.* e.g. motorcycle:bicycle"):
            Experiment({"pairs": wrong})


def test_records_without_activations_are_named(tmp_path, capsys):
    bare = make_run(tmp_path, names=STREET)
    assert activation.measured({"plain": [bare]}) == {}
    assert "Not in (all) records of plain: class-activation maps" in capsys.readouterr().out
    with pytest.raises(InputError, match="has no 'activation'. Measure it"):
        activation.of_run(bare)


# the claim


def test_the_claim_is_about_the_leak_and_what_stays(tmp_path):
    claim = ledger.claim("dropclass-C11")
    assert [c.effect for c in claim.comparisons] == ["activation_leak", "activation_off_target"]
    assert [c.of for c in claim.comparisons] == [["dropclass", "plain"]] * 2
    less = [street_run(tmp_path, (20, 40, 60 + s), seed=s) for s in range(3)]
    less += [street_run(tmp_path, (10, 20, 30), seed=s, methods=["dropclass"]) for s in range(3)]
    verdict = claims.judge("dropclass-C11", less)
    assert verdict.outcome == "reproduced"
    np.testing.assert_allclose(verdict.comparisons["effect"], [20 - (40 + 1 / 3), 0], atol=1e-5)
    weaker = [run for run in less if run.record.parameters["methods"] == ["plain"]]
    weaker += [street_run(tmp_path / "weaker", (10, 20, 30), own=20 + s, seed=s, methods=["dropclass"])
               for s in range(3)]  # fmt: skip
    assert claims.judge("dropclass-C11", weaker).outcome == "not reproduced"  # the class itself is no longer found


def test_the_claim_needs_a_pair_that_the_data_have(tmp_path):
    with pytest.raises(NotJudged, match="one of DropClass's pairs, such as motorcycle and bicycle"):
        EFFECTS["activation_leak"](make_run(tmp_path, arrays={"activation": np.zeros((5, 3, 3))}))
    dark = make_run(tmp_path, names=STREET, arrays={"activation": np.zeros((5, 6, 6), dtype=np.float32)})
    for name in ("activation_leak", "activation_off_target"):
        with pytest.raises(NotJudged, match="images that contain one class of a pair and lack the other"):
            EFFECTS[name](dark)


# figures, and the notebook on tiny runs


def texts(figure):
    figure.canvas.draw()
    return {text.get_text() for text in figure.findobj(Text) if text.get_text() and text.get_visible()}


def test_maps_are_drawn_beside_the_image_with_the_class_outlined():
    mask = np.zeros((8, 16), dtype=bool)
    mask[2:5, 3:8] = True
    maps = {"plain": np.stack([np.eye(4), 2 * np.eye(4)]), "dropclass": np.stack([np.eye(4), 0 * np.eye(4)])}
    row = activation.Picture(("bus", "truck"), np.zeros((8, 16, 3), np.uint8), mask, maps)
    figure = plots.activation_maps([row, row])
    expected = {"bus, no truck", "Plain: bus", "DropClass: bus", "Plain: truck", "DropClass: truck"}
    assert expected <= texts(figure)
    panels = figure.axes[:10]
    for panel, (name, side) in zip(panels[1:5], [(n, s) for s in (0, 1) for n in maps], strict=True):
        np.testing.assert_array_equal(panel.images[0].get_array(), maps[name][side])
        assert panel.images[0].get_clim() == (0, 1)
    assert all(panel.collections for panel in panels)


def test_leaks_are_drawn_with_seeds_and_means(tmp_path):
    runs = {"plain": [street_run(tmp_path, seed=s) for s in (0, 1)],
            "dropclass": [street_run(tmp_path, (10, 10, 10), methods=["dropclass"])]}  # fmt: skip
    figure = plots.activation_leaks(activation.leaks(runs, activation.PAIRS))
    assert {"leak over the image (%)", "all pairs", "Plain", "DropClass"} <= texts(figure)
    large = [line for line in figure.axes[0].lines if line.get_markersize() == 7]
    np.testing.assert_allclose(large[0].get_xdata(), [20, 40, 60, 40])
    np.testing.assert_allclose(large[1].get_xdata(), [10, 10, 10, 10])


def test_the_matrix_leaves_out_classes_without_a_value(tmp_path):
    runs = {"plain": [street_run(tmp_path)], "dropclass": [street_run(tmp_path, (10, 10, 10), methods=["dropclass"])]}
    figure = plots.leak_matrices({name: activation.matrix(found) for name, found in runs.items()}, STREET)
    first = figure.axes[0]
    assert [t.get_text() for t in first.get_yticklabels()] == ["motorcycle", "truck", "bus"]
    assert [t.get_text() for t in first.get_xticklabels()] == ["bicycle", "truck", "train"]
    assert {"10", "20", "30", "5"} <= texts(figure)


@pytest.fixture(name="trained", scope="module")
def make_trained(tmp_path_factory):
    values = TINY | {"runs_dir": str(tmp_path_factory.mktemp("grad_cam")), "train": True}
    experiment = Experiment(values)
    return values, {name: experiment.runs(name) for name in ("plain", "dropclass")}


@pytest.fixture(name="cells", scope="module")
def read_cells():
    notebook = nbformat.read(NOTEBOOKS / "11_grad_cam.ipynb", as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def run_notebook(cells, **values):
    """The namespace and what was shown, after all cells in order."""
    shown, space = [], {"__name__": "__main__"}
    space["display"] = shown.append
    for cell in cells:
        exec(compile(cell.source, "cell", "exec"), space)
        if "parameters" in cell.metadata.get("tags", []):
            space.update(values)
    return space, shown


def test_a_tiny_run_is_measured_and_the_notebook_shows_it(trained, cells, capsys):
    values, runs = trained
    space, _ = run_notebook(cells, **values)
    found = space["runs"]["dropclass"][0]
    assert found.arrays["activation"].shape == (5, 19, 19)
    assert found.arrays["activation"].dtype == np.float32
    kept = sum(array.nbytes for name, array in found.arrays.items() if name.startswith("activation"))
    assert 5 * 19 * 19 * 4 < kept < 60_000
    sums, again = activation.of_run(found), MEASUREMENTS["activation"]
    assert sums.images[0, 18] == sum(0 in labels and 18 not in labels for labels in labels_of(space))
    experiment = space["experiment"]
    repeated = again(experiment.learner(found), experiment.dataset.val, device=CPU)
    np.testing.assert_array_equal(repeated["activation"], found.arrays["activation"])
    assert "dropclass-C11 on synthetic" in capsys.readouterr().out
    assert list(space["leaks"].columns) == ["configuration", "seed", "where", "pair", "value"]
    assert runs["plain"][0].record.key == space["runs"]["plain"][0].record.key


def labels_of(space):
    val = space["experiment"].dataset.val
    return [val.labels(i) for i in range(len(val))]


def test_other_pairs_and_one_configuration_alone(trained, cells):
    values, _ = trained
    space, _ = run_notebook(cells, **values, pairs=["car:truck"], methods=["plain"])
    assert space["chosen"] == [("car", "truck")]
    car, truck = space["experiment"].dataset.classes.indices(("car", "truck"))
    assert {c for _, c in activation.stored_maps(space["runs"]["plain"][0].arrays)} >= {car, truck}
    assert {row.pair for row in space["rows"]} == {("car", "truck")}


def test_records_that_are_not_measured_are_said_to_be(trained, cells, capsys, tmp_path):
    values, runs = trained
    for run in (run for found in runs.values() for run in found):
        target = tmp_path / run.record.key
        target.mkdir()
        (target / "record.json").write_bytes((run.folder / "record.json").read_bytes())
    run_notebook(cells, **values | {"runs_dir": str(tmp_path), "train": False})
    out = capsys.readouterr().out
    assert "Not in (all) records of plain, dropclass: class-activation maps" in out
    assert re.search(
        r"dropclass-C11 on synthetic \(.*iterations 2.*\): not judged; needs records that hold 'activ", out
    )


def test_the_notebook_has_a_quick_section():
    values = pd.Series(__import__("yaml").safe_load((NOTEBOOKS / "quick.yaml").read_text()))
    assert values["11_grad_cam"]["methods"] == ["plain", "dropclass"]


def test_learners_keep_their_mode():
    learner = learner_of(tiny_network()).train()
    split = ArraySplit([np.zeros((2, 2))], classes=2)
    grad_cam.activation_sums(learner, split, device=CPU)
    assert learner.training
    assert isinstance(learner, Learner)
