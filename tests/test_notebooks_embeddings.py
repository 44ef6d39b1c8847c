"""What the notebooks on class embeddings and on many classes show: trees, pixel embeddings, batches, their figures."""

import numpy as np
import pandas as pd
import pytest
import torch
from factories import NAMES, make_run, texts
from matplotlib.colors import to_hex
from test_training import TINY

from segrepro import evaluation, measuring, plots, runs
from segrepro.analysis import correlation, embeddings, footprint, scaling
from segrepro.datasets import many_classes
from segrepro.datasets.base import Classes
from segrepro.datasets.camvid import CLASSES as CAMVID
from segrepro.datasets.cityscapes_classes import CITYSCAPES_CLASSES
from segrepro.errors import InputError
from segrepro.experiment import Experiment

PAIRS = np.array([[1, 0.9, 0, 0], [0.9, 1, 0, 0], [0, 0, 1, 0.6], [0, 0, 0.6, 1]])  # cosines of two pairs of classes
FOUR = ("car", "bus", "road", "sidewalk")


def with_vectors(folder, vectors, **options):
    return make_run(folder, arrays={"classifier_weight": np.asarray(vectors, dtype=np.float32)}, **options)


# trees and groupings


def test_a_tree_joins_by_mean_distance():
    links = embeddings.tree(PAIRS)
    np.testing.assert_allclose(links[:, 2], [0.1, 0.4, 1])  # 1 - cosine; the last the mean of four ones
    assert {frozenset(pair) for pair in links[:2, :2].astype(int).tolist()} == {frozenset((0, 1)), frozenset((2, 3))}


def test_a_tree_of_equal_vectors_has_height_0():
    assert (embeddings.tree(correlation.similarity(np.full((5, 3), 0.1)))[:, 2] < 1e-12).all()


def test_known_groups(tmp_path):
    streets = make_run(tmp_path, names=CITYSCAPES_CLASSES.names)
    groups = dict(zip(CITYSCAPES_CLASSES.names, embeddings.known_groups(streets.record), strict=True))
    assert [name for name, group in groups.items() if group == "human"] == ["person", "rider"]
    assert set(groups.values()) == set(embeddings.CATEGORIES)
    assert embeddings.known_groups(make_run(tmp_path, names=CAMVID.names, dataset="camvid").record)
    assert embeddings.known_groups(make_run(tmp_path, names=["road", "wombat"]).record) is None
    assert embeddings.known_groups(make_run(tmp_path, names=["road", "car"]).record) is None, "all different"
    assert embeddings.known_groups(make_run(tmp_path, names=["bus", "car"]).record) is None, "all the same"


def test_the_groups_of_many_classes_are_the_patterns_that_are_drawn(tmp_path):
    classes = 60
    run = make_run(tmp_path, dataset="many_classes", names=[f"class {c}" for c in range(classes)])
    groups = embeddings.known_groups(run.record)
    assert len(set(groups)) == 9
    scenes = many_classes.load(classes=classes, train_scenes=1, val_scenes=1, size=(64, 64)).train
    colours, period, direction = many_classes._appearance()
    image, labels = scenes[0]
    for c in np.unique(labels):
        number, _, kind = groups[c].split()
        row, column = {"rows": (1, 0), "columns": (0, 1), "diagonals": (1, 1)}[kind]
        at = np.argwhere(labels == c)
        second = (at * [row, column]).sum(1) % int(number) >= int(number) // 2
        means = [image[labels == c][second == part].astype(float) for part in (False, True)]
        for part, found in enumerate(means):  # noise is -16 .. 15 and colours end at 0 and 255
            assert (np.abs(found - colours[c, part]) <= 16).all()


def test_agreement_with_groups_by_hand():
    """Heights 0.1, 0.4 within the groups and 1 across: the correlation with 0, 0, 1, 1, 1, 1."""
    trees = [embeddings.tree(PAIRS)]
    found = embeddings.group_agreement(trees, ["vehicle", "vehicle", "flat", "flat"])
    expected = np.corrcoef([0.1, 0.4, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1])[0, 1]
    np.testing.assert_allclose(found.seeds, [expected])
    assert found.shuffled.max() == pytest.approx(expected)
    assert found.p == pytest.approx(1 / 3)  # of the 24 orders, all done, 8 keep the two pairs


def test_agreement_is_averaged_over_seeds_and_shuffled_alike():
    crossed = PAIRS[np.ix_([0, 2, 1, 3], [0, 2, 1, 3])]  # pairs 0, 2 and 1, 3
    found = embeddings.group_agreement([embeddings.tree(PAIRS), embeddings.tree(crossed)], [0, 0, 1, 1])
    one, other = found.seeds
    assert one > 0.9
    assert other < 0
    assert found.p == pytest.approx(2 / 3)  # pairing by either tree agrees as well, the third pairing does not


def test_agreement_tells_groups_from_noise():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(5), 6)
    noise = rng.normal(size=(30, 12))
    grouped = noise + 2 * rng.normal(size=(5, 12))[groups]
    found = {name: embeddings.group_agreement([embeddings.tree(correlation.similarity(v))], groups)
             for name, v in (("noise", noise), ("grouped", grouped))}  # fmt: skip
    assert found["grouped"].p == pytest.approx(1 / (embeddings.SHUFFLES + 1))
    assert found["grouped"].seeds[0] > 0.8
    assert found["noise"].p > 0.05
    assert abs(found["noise"].shuffled.mean()) < 0.02


def test_the_table_of_agreements(tmp_path):
    vectors = np.array([[1, 0, 0, 0], [0.9, 0.1, 0, 0], [0, 0, 1, 0], [0, 0, 0.9, 0.4]])
    found = [with_vectors(tmp_path, vectors * (s + 1), names=FOUR, seed=s) for s in range(2)]
    table = embeddings.agreement_table({"plain": found, "essnet": [], "dropclass": found[:1]}, list("aabb"))
    assert list(table.index) == ["Plain", "DropClass"]
    assert list(table["seeds"]) == [2, 1]
    assert table.loc["Plain", "agreement"].endswith(" ± 0.00")
    assert "±" not in table.loc["DropClass", "agreement"]
    assert float(table.loc["Plain", "distances kept"]) > 0.99
    assert table.loc["Plain", "p"] == "0.333"


# pixel embeddings


def test_projection_keeps_distances_and_adds_axes_that_are_missing():
    rng = np.random.default_rng(0)
    pixels, mu = rng.normal(size=(4, 5, 2)), rng.normal(size=(3, 2))
    points, stars, shares = embeddings.project(pixels, mu)
    assert points.shape == (4, 5, 3)
    assert (points[..., 2] == 0).all()
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(np.linalg.norm(points[0, 0] - stars, axis=1), np.linalg.norm(pixels[0, 0] - mu, axis=1))
    assert points.reshape(-1, 3).var(0)[0] / points.reshape(-1, 3).var(0).sum() == pytest.approx(shares[0])


def test_colours_are_grey_at_the_mean_and_of_one_scale():
    projected = np.zeros((10, 10, 3))
    projected[0] = [2, -1, 0]
    colours = embeddings.as_colours(projected)
    np.testing.assert_allclose(colours[5, 5], 0.5)
    np.testing.assert_allclose(colours[0, 0], [1, 0.25, 0.5])
    np.testing.assert_allclose(embeddings.as_colours(np.zeros((2, 2, 3))), 0.5)


def test_separation_by_hand():
    """Classes at -1 and 1, their pixels 0.1 off: variance 1 between them, 0.01 within."""
    pixels = np.array([[-1.1], [-0.9], [0.9], [1.1]], dtype=np.float16)
    found = embeddings.separation(pixels, np.array([0, 0, 1, 1]), np.array([[-1.0], [1.0], [4.0]]))
    np.testing.assert_allclose(found, [1 / 1.01, 0.1, 2.0], atol=2e-3)


def test_places_are_the_centres_of_cells():
    rows, columns = evaluation.places((8, 10), (2, 3))
    assert rows.ravel().tolist() == [2, 6]
    assert columns.ravel().tolist() == [1, 5, 8]
    whole = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(whole[evaluation.places((3, 4), (3, 4))], whole)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A working folder with a run of ESSNet and one of plain training."""
    folder = tmp_path_factory.mktemp("runs")
    chosen = Experiment(TINY | {"iterations": 1, "runs_dir": str(folder), "train": True})
    return chosen, {name: chosen.train(name, 0) for name in ("essnet", "plain")}


def test_pixel_embeddings_are_recorded_once_and_agree_with_the_prediction(trained, monkeypatch, capsys):
    chosen, found = trained
    run = found["essnet"]
    monkeypatch.setattr(evaluation, "EMBEDDING_LIMIT", 2000)
    measuring.measure_embeddings(chosen, [run])
    stored = evaluation.stored_embeddings(runs.load(run.folder).arrays)
    assert list(stored) == sorted(evaluation.stored_examples(run.arrays))[:2]
    mu = run.arrays["classifier_weight"]
    for index, pixels in stored.items():
        assert pixels.dtype == np.float16
        assert pixels.nbytes <= 2000
        assert pixels.nbytes > 1000
        np.testing.assert_allclose(np.linalg.norm(pixels.astype(float), axis=2), 1, atol=2e-3)
        prediction = evaluation.stored_examples(run.arrays)[index]
        own = prediction[evaluation.places(prediction.shape, pixels.shape[:2])]
        distances = np.linalg.norm(pixels[:, :, None].astype(float) - mu, axis=-1)
        chosen_class = np.take_along_axis(distances, own[..., None].astype(int), axis=2)[..., 0]
        assert (chosen_class <= distances.min(axis=2) + 2e-3).all()
    monkeypatch.setattr(evaluation, "example_embeddings", lambda *a, **k: pytest.fail("measured again"))
    measuring.measure_embeddings(chosen, [run])
    assert capsys.readouterr().out == ""


def test_where_pixel_embeddings_cannot_be_had_it_is_said(trained, tmp_path, capsys):
    chosen, found = trained
    measuring.measure_embeddings(chosen, [found["plain"]])
    assert f"{found['plain'].record.key}: its method has no pixel embeddings. Use essnet." in capsys.readouterr().out
    record = make_run(tmp_path, methods=["essnet"])
    measuring.measure_embeddings(chosen, [record])
    assert f"{record.record.key}: there is no network" in capsys.readouterr().out
    assert evaluation.stored_embeddings(record.arrays) == {}


# figures


def test_trees_in_rows_have_names_and_branches_in_the_groups_colours(tmp_path):
    record = make_run(tmp_path, names=FOUR).record
    links = embeddings.tree(PAIRS)
    figure = plots.class_trees({"essnet": links, "plain": links}, record, ["vehicle"] * 2 + ["flat"] * 2)
    assert {*FOUR, "ESSNet", "Plain", "vehicle", "flat", "1 − cosine"} <= texts(figure)
    colours = {label.get_text(): to_hex(label.get_color()) for label in figure.axes[0].get_yticklabels()}
    flat, vehicle = (colour.lower() for colour in plots.GROUPS[:2])
    assert colours == {"car": vehicle, "bus": vehicle, "road": flat, "sidewalk": flat}
    lines = figure.axes[0].collections[0]
    drawn = {to_hex(colour): path.vertices[:, 0].max() for colour, path in
             zip(lines.get_colors(), lines.get_paths(), strict=True)}  # fmt: skip
    assert drawn == pytest.approx({vehicle: 0.1, flat: 0.4, plots.DARK: 1})
    assert "vehicle" not in texts(plots.class_trees({"essnet": links}, record))


@pytest.mark.parametrize("classes", [19, 150, 1284])
def test_names_of_leaves_do_not_overlap(classes, tmp_path):
    """Neighbours are as far apart as the letters are high, in rows and around a circle, in a figure of usual width."""
    names = [f"class {c}" for c in range(classes)]
    vectors = np.random.default_rng(0).standard_normal((classes, 12))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    record = make_run(tmp_path, names=names, ious=[0.5] * classes, pixel_counts=range(1, classes + 1)).record
    figure = plots.class_trees({"essnet": embeddings.tree(vectors @ vectors.T)}, record)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    labels = axes.get_yticklabels() if classes == 19 else axes.texts
    assert len(labels) == min(classes, 150)
    where = np.array([label.get_transform().transform(label.get_position()) for label in labels])
    apart = np.linalg.norm(where - np.roll(where, 1, axis=0), axis=1)
    letters = labels[0].get_fontsize() * figure.dpi / 72
    assert apart.min() >= 0.95 * letters
    assert labels[0].get_fontsize() >= 6


def test_large_trees_are_cut_and_name_the_most_frequent_class(tmp_path, monkeypatch):
    monkeypatch.setattr(plots.embeddings, "LEAVES", 2)
    monkeypatch.setattr(plots.embeddings, "IN_ROWS", 3)
    record = make_run(tmp_path, names=FOUR, pixel_counts=[1, 5, 3, 2]).record
    shown = texts(plots.class_trees({"essnet": embeddings.tree(PAIRS)}, record))
    assert {"bus +1", "road +1"} <= shown
    assert not {"car", "bus", "road", "sidewalk"} & shown
    monkeypatch.setattr(plots.embeddings, "LEAVES", 4)
    figure = plots.class_trees({"essnet": embeddings.tree(PAIRS)}, record)
    assert set(FOUR) <= texts(figure)
    radii = [path.vertices[:, 1] for path in figure.axes[0].collections[0].get_paths()]
    assert sorted(r.min() for r in radii) == pytest.approx([0, 0.6, 0.9])  # 1 - height / the root's
    assert max(r.max() for r in radii) == 1


def test_pixel_embeddings_as_a_figure():
    classes = Classes(NAMES, ((10, 20, 30), (200, 0, 0), (0, 0, 200)))
    labels = np.array([[0, 1], [1, -1]])
    pixels, mu = np.array([[[1, 0, 0], [0, 1, 0]], [[0, 0.5, 0], [5, 5, 5]]]), np.eye(3)
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    figure = plots.pixel_embeddings(image, labels, np.clip(labels, 0, None), pixels, mu, classes)
    assert {"image", "ground truth", "prediction", "pixel embeddings", "road", "car"} <= texts(figure)
    assert "train" not in texts(figure)  # not in the image
    points, stars = figure.axes[4].collections
    assert len(points.get_offsets()) == 3, "the pixel without a label is left out"
    projected, on_plane, _ = embeddings.project(pixels, mu)
    np.testing.assert_allclose(stars.get_offsets(), on_plane[:2, :2])
    np.testing.assert_allclose(figure.axes[3].images[0].get_array(), embeddings.as_colours(projected))


# memory and batches


def made_up(times, memory=(1.0,) * 5, device="cpu"):
    """Rows of a recording, made up: dense and nearest at 10 and 1000 classes, both passes alike."""
    return [
        {"pass": kind, "loss": loss, "classes": count, "pixels": 100, "milliseconds": times[loss][i],
         "memory pixels": 512 * 512, "extra MiB": memory[i], "device": device}
        for kind in scaling.PASSES for loss in times for i, count in enumerate((10, 1000))
    ]  # fmt: skip


def test_crossover_on_straight_lines_in_logarithms():
    """Dense grows from 1 to 100 and the other stays at 10: they meet half-way between 10 and 1000, at 100."""
    rows = pd.DataFrame(made_up({"dense": (1, 100), "nearest": (10, 10), "slow": (2, 200), "fast": (0.5, 0.5)}))
    found = footprint.crossover(rows[rows["pass"] == "training"], "milliseconds")
    assert found.to_dict() == pytest.approx({"nearest": 100, "slow": np.inf, "fast": 10})


def test_the_meta_device_counts_what_a_training_step_holds(monkeypatch):
    """The same in real memory, and every new embedding channel adds three numbers a pixel: up-sampled, of unit length,
    its gradient.
    """
    monkeypatch.setattr(footprint, "IMAGE", (64, 64))
    few = footprint.network_bytes("fpn", "resnet10t", 7, embeds=True)
    monkeypatch.setattr(footprint, "CHANNELS", footprint.CHANNELS + 10)
    more = footprint.network_bytes("fpn", "resnet10t", 7, embeds=True)
    assert more.at_loss - few.at_loss == 3 * 10 * 64 * 64 * 4
    on_meta = footprint.network_bytes("fpn", "resnet10t", 7, embeds=False)
    assert on_meta.at_loss < on_meta.peak
    monkeypatch.setattr(torch, "device", lambda name, real=torch.device: real("cpu" if name == "meta" else name))
    assert footprint.network_bytes("fpn", "resnet10t", 7, embeds=False) == pytest.approx(on_meta, rel=0.02)


def test_largest_batches_share_out_the_budget(monkeypatch):
    """Weights of 1 GiB; an image of 1 GiB and its loss of 0.5 or 3 GiB into 12 GiB: 11 / 1.5 and 11 / 4 images."""
    gib = 2**30
    network = footprint.NetworkBytes(weights=gib, at_loss=gib, peak=5 * gib // 4)
    monkeypatch.setattr(footprint, "network_bytes", lambda *a, **k: network)
    rows = pd.DataFrame(made_up({"dense": (1, 1), "nearest": (1, 1)}, memory=(512.0, 3072.0)))
    table = footprint.largest_batches(rows, 12, "fpn", "resnet10t")
    assert list(table["images"]) == [7, 2, 7, 2]
    assert list(table["loss MiB"]) == [512, 3072, 512, 3072]
    assert list(table["most MiB"]) == [1536, 4096, 1536, 4096]
    rows["extra MiB"] = 1.0  # then the network's own peak decides: 11 / 1.25
    assert set(footprint.largest_batches(rows, 12, "fpn", "resnet10t")["images"]) == {8}
    assert set(footprint.largest_batches(rows, 0.5, "fpn", "resnet10t")["images"]) == {0}
    for wrong in ("many", 0, -1.0):
        with pytest.raises(InputError, match=f"memory_gib: '{wrong}' is no number above 0"):
            footprint.largest_batches(rows, wrong, "fpn", "resnet10t")


def test_an_unknown_network_is_refused():
    rows = pd.DataFrame(made_up({"dense": (1, 1)}))
    with pytest.raises(InputError, match="architecture"):
        footprint.largest_batches(rows, 12, "transformer", "resnet50")


def test_the_papers_tables_by_number_of_classes():
    batches, seconds = footprint.printed(4)["train_batch_size"], footprint.printed(5)["inference_s_per_image"]
    assert batches.to_dict() == {"Baseline": {19: 14, 150: 8, 1284: 2}, "ESSNet": {19: 10, 150: 10, 1284: 10}}
    assert seconds.loc[1284].to_dict() == {"Baseline": 0.049, "ESSNet": 0.036}


def test_rows_of_a_device_are_those_of_the_most_pixels(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scaling, "SCALING", tmp_path / "scaling.json")
    assert scaling.of_device("cpu").empty
    assert "python -m segrepro.analysis.scaling --device cpu" in capsys.readouterr().out
    rows = pd.DataFrame(made_up({"dense": (1, 2)}))
    pd.concat([rows, rows.assign(pixels=7)]).to_json(tmp_path / "scaling.json", orient="records")
    assert set(scaling.of_device("cpu")["pixels"]) == {100}
    assert len(scaling.of_device("cpu")) == 4
    assert scaling.of_device("cuda").empty
    with pytest.raises(InputError, match="device: 'gpu' is no type of device"):
        scaling.of_device("gpu")


def test_scaling_as_a_figure():
    times = {name: (1 + i, 10 + i) for i, name in enumerate(plots.LOSSES)}
    rows = pd.DataFrame(made_up(times, memory=(1024.0, 2048.0)))
    batches = pd.DataFrame([(name, count, 5) for name in times for count in (10, 1000)],
                           columns=["loss", "classes", "images"])  # fmt: skip
    figure = plots.scaling_curves(rows, batches, footprint.printed(4), 12)
    assert {"Largest batch in 12 GiB", "ms for 100 pixels", "k nearest", "the paper's, k nearest"} <= texts(figure)
    memory, images, *_ = figure.axes
    np.testing.assert_allclose(memory.lines[0].get_ydata(), [1, 2])
    assert to_hex(memory.lines[0].get_color()) == plots.COLOURS["plain"]
    np.testing.assert_allclose(images.lines[-1].get_xydata(), [(19, 10), (150, 10), (1284, 10)])


def test_every_loss_that_is_measured_has_a_line():
    assert set(plots.LOSSES) == set(scaling.LOSSES) | set(scaling.PREDICTIONS)
