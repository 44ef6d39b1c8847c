"""The numbers and figures of the notebook 04_fbnet."""

import numpy as np
import pytest
from factories import NAMES, make_run, texts
from splits import ArraySplit

from segrepro import plots
from segrepro.analysis import camouflage, dilution, scores
from segrepro.datasets.base import Classes

# X_l is 2 on the 10 pixels of road, 4 on the 4 of car, 3 on the 2 of train; X_o is 1, 1 and 2.
SUMS = np.array([[20, 16, 6], [10, 4, 4], [10, 4, 2]], dtype=np.float32)


@pytest.fixture(name="runs")
def make_runs(tmp_path):
    """Plain at IoU 0.5, FBNet better by 10 and 20 points on cars and trains, for two seeds and a third one of FBNet."""
    return {
        "plain": [make_run(tmp_path, seed=seed) for seed in range(2)],
        "fbnet": [
            make_run(tmp_path, methods=["fbnet"], seed=seed, ious=[0.5, 0.6 + 0.03 * seed, 0.7],
                     arrays={"strength/res5": SUMS})
            for seed in range(3)
        ],
        "fbnet_res2": [make_run(tmp_path, methods=["fbnet"], stages=["res2"], seed=4)],
    }  # fmt: skip


# numbers


def test_pulls_by_hand():
    """The label's share of the block minus the probability against 1 minus the probability."""
    table = dilution.pulls(strides=(2, 3), probability=0.1).set_index(["stride", "pixels"])
    assert list(table.index) == [*((2, n) for n in range(1, 5)), *((3, n) for n in range(1, 10))]
    np.testing.assert_allclose(table["block-wise"], 0.9)
    np.testing.assert_allclose(table.loc[2, "point-wise"], [0.15, 0.4, 0.65, 0.9])
    assert table.loc[(3, 1), "point-wise"] == pytest.approx(1 / 9 - 0.1)


def test_scores_of_all_foreground_and_background_classes(runs):
    table = scores.of_class_sets(runs)
    assert list(table.index) == ["Plain", "FBNet", "FBNet at Res2"]
    np.testing.assert_allclose(table.loc["FBNet"], [61, 66.5, 50, 3])
    for run in (run for found in runs.values() for run in found):
        run.record.background_classes.clear()
    assert list(scores.of_class_sets(runs)) == ["mIoU", "foreground mIoU", "seeds"]


def test_gains_are_paired_by_seed(runs):
    """FBNet's third seed has no pair, and the runs at Res2 have none at all."""
    table = scores.gains(runs, subset="foreground")
    assert list(table.index) == ["fbnet"]
    row = table.loc["fbnet"]
    np.testing.assert_allclose(row[["ΔmIoU", "Δ foreground mIoU", "seeds"]].astype(float), [10.5, 15.75, 2])
    assert row["low"] < 10 < 11 < row["high"]
    assert np.isnan(scores.gains({"plain": runs["plain"], "fbnet": runs["fbnet"][:1]})["low"]).all()


def test_the_blind_answer_is_the_share_of_the_blocks(tmp_path):
    """A block of car, one of road alone and one that is ignored; the loss is recorded with lambda_1 = 2."""
    labels = np.zeros((16, 48), dtype=int)
    labels[3, 2], labels[:, 32:] = 1, -1
    np.testing.assert_array_equal(camouflage.block_shares(ArraySplit([labels]), [1, 2], 16), [0.5, 0])
    history = [{"iteration": i, "bwbce": loss} for i, loss in enumerate([4.0] * 10 + [1.0] * 10)]
    trained = make_run(tmp_path, methods=["fbnet"], bwbce_lambda=2, history=history)
    without = make_run(tmp_path, methods=["fbnet"], auxiliary="none", history=[{"iteration": 0, "loss": 1.0}])
    table = camouflage.learned_blocks({"fbnet": [trained], "fbnet_modulator_alone": [without]}, ArraySplit([labels]))
    assert list(table.index) == ["FBNet"]
    np.testing.assert_allclose(table.loc["FBNet"], [2, 0.5, 0.5, np.log(2) / 2, 1])
    everywhere = make_run(tmp_path, methods=["fbnet"], stages=["res4", "res5"], seed=1, history=history)
    table = camouflage.learned_blocks({"fbnet_everywhere": [everywhere]}, ArraySplit([labels]))
    assert table["blind"].item() == pytest.approx(np.log(2))  # this network has stride 16 at both


def test_strength_by_hand(runs):
    table = camouflage.strength([*runs["fbnet"][:1], *runs["plain"]])
    assert table["class"].tolist() == ["road", "road", "car", "car", "train", "train"]
    assert table["map"].tolist() == ["X_l", "X_o"] * 3
    assert table["percent"].tolist() == [100, 100, 200, 100, 150, 200]
    assert table["foreground"].tolist() == [False, False, True, True, True, True]
    assert camouflage.strength(runs["plain"]).empty


def test_strength_of_the_foreground_by_hand(runs):
    """X_l is 22 over 6 pixels, X_o 8 over 6, on the background 2 and 1."""
    table = camouflage.foreground_strength(runs)
    assert table.loc["FBNet"].tolist() == ["183 ± 0", "133 ± 0", 3]
    assert list(table.index) == ["FBNet"]
    assert camouflage.foreground_strength({"fbnet": runs["fbnet"][:1]}).loc["FBNet"].tolist() == ["183", "133", 1]


# figures


def test_gains_are_drawn_beside_the_paper_s(runs):
    figure = plots.gains(scores.gains(runs), {"fbnet_res2": 0.9, "fbnet": 2.9})
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["FBNet at Res2", "FBNet"]
    points = {(line.get_marker(), *line.get_xydata()[0]) for line in axes.lines if len(line.get_xydata()) == 1}
    assert {(marker, round(x, 6), y) for marker, x, y in points} == {("o", 10.5, 1), ("D", 0.9, 0), ("D", 2.9, 1)}


def test_block_pulls_have_a_panel_a_stride():
    figure = plots.block_pulls(dilution.pulls(strides=(2, 3), probability=0.1), 0.1)
    titles = {"block of 2 × 2", "block of 3 × 3"}
    assert titles | {"point-wise", "block-wise", "pull on its logit\nat probability 0.1"} <= texts(figure)
    assert [len(axes.lines[0].get_xdata()) for axes in figure.axes] == [4, 9]


def test_foreground_strength_has_a_bar_a_class_and_map(runs):
    figure = plots.foreground_strength(camouflage.strength(runs["fbnet"]))
    assert {*NAMES} <= texts(figure)
    heights = [[bar.get_height() for bar in container] for container in figure.axes[0].containers]
    np.testing.assert_allclose(heights, [[100, 200, 150], [100, 100, 200]])


def test_strength_maps_lie_on_their_pixels():
    """A map of 2 x 3 positions of 16 pixels over an image of 30 x 40 that was padded to 32 x 48."""
    classes = Classes(NAMES, ((0, 90, 120), (40, 90, 120), (80, 90, 120)))
    columns = {"image": [np.zeros((30, 40, 3), np.uint8)], "ground truth": [np.zeros((30, 40), np.int16)]}
    maps = [np.stack([np.full((2, 3), 5.0), [[1, 1, 1], [1, 1, 7]]])]
    figure = plots.strength_maps(columns, maps, classes)
    assert {"image", "ground truth", "road", "times the map's mean"} <= texts(figure)
    given, added = (axes.images[0] for axes in figure.axes[2:4])
    assert (given.get_array() == 1).all()
    assert added.get_array()[1, 2] == 3.5
    assert added.get_extent() == [-0.5, 47.5, 31.5, -0.5]
    assert figure.axes[3].get_xlim() == (-0.5, 39.5)
    assert added.get_clim() == (0, 2)
