"""The numbers and figures of 07_confusion_matrices, 08_delta_iou and 09_class_correlation, worked by hand."""

import numpy as np
import pandas as pd
import pytest
from factories import make_run, texts
from matplotlib.colors import to_hex, to_rgba
from matplotlib.patches import Rectangle

from segrepro import claims, plots
from segrepro.analysis import confusion, correlation, delta
from segrepro.datasets.base import Classes
from segrepro.errors import InputError

NAMES = ("road", "car", "sky", "bus", "pole")
T_OF_ONE = 12.706  # the 97.5 % quantile of Student's t with one degree of freedom


def five(folder, ious=(0.5,) * 5, *, image_counts=(10, 9, 8, 7, 6), **options):
    """A run on five classes, the first the most frequent in pixels; the last two are the rare ones."""
    run = make_run(folder, names=NAMES, rare=NAMES[3:], ious=ious, **options)
    run.record.image_counts = list(image_counts)
    return run


@pytest.fixture(name="runs")
def make_runs(tmp_path):
    """Plain at 50 in seeds 0, 1 and 7; two seeds of FBNet, one of DropClass; Dice in a seed of its own."""
    return {
        "plain": [five(tmp_path, seed=seed) for seed in (0, 1, 7)],
        "fbnet": [
            five(tmp_path, (0.48, 0.5, 0.52, 0.60, 0.70), methods=["fbnet"], seed=0),
            five(tmp_path, (0.48, 0.5, 0.50, 0.64, 0.60), methods=["fbnet"], seed=1),
        ],
        "dropclass": [five(tmp_path, (0.5, 0.5, 0.5, 0.4, 0.45), methods=["dropclass"], seed=1)],
        "dice": [five(tmp_path, methods=["dice"], seed=3)],
    }


# gains


def test_gains_are_paired_by_seed(runs):
    gains = delta.paired_gains(runs["fbnet"], runs["plain"])
    assert list(gains.index) == [0, 1]
    np.testing.assert_allclose(gains, [[-2, 0, 2, 10, 20], [-2, 0, 0, 14, 10]], atol=1e-9)
    accuracy = delta.paired_gains(runs["fbnet"], runs["plain"], "Acc")  # no false positives: IoU is accuracy
    np.testing.assert_allclose(accuracy, gains, atol=1e-9)
    assert delta.paired_gains(runs["dice"], runs["plain"]).shape == (0, 5)


def test_iou_and_accuracy_differ_by_false_positives(tmp_path):
    """Car: 5 of 10 found before, 8 after, with 30 false positives more: Acc +30, IoU 5/10 to 8/40."""
    baseline = make_run(tmp_path, names=NAMES[:2], matrix=[[90, 0], [5, 5]])
    method = make_run(tmp_path, names=NAMES[:2], methods=["fbnet"], matrix=[[60, 30], [2, 8]])
    assert delta.paired_gains([method], [baseline], "Acc").loc[0, "car"] == pytest.approx(30)
    assert delta.paired_gains([method], [baseline], "IoU").loc[0, "car"] == pytest.approx(100 * (8 / 40 - 5 / 10))


def test_gains_of_each_class_with_intervals(runs):
    table = delta.class_gains(runs)
    assert list(table["configuration"].unique()) == ["fbnet", "dropclass"]  # Dice shares no seed
    rows = table[table["configuration"] == "fbnet"].set_index("class")
    assert list(rows.index) == list(NAMES)
    assert list(rows["rare"]) == [False, False, False, True, True]
    np.testing.assert_allclose(rows["value"], [-2, 0, 1, 12, 15], atol=1e-9)
    half = T_OF_ONE * 2  # |14 - 10| / 2 is the standard error
    np.testing.assert_allclose(rows.loc["bus", ["low", "high"]].astype(float), [12 - half, 12 + half], atol=1e-3)
    assert set(rows["seeds"]) == {2}
    one = table[table["configuration"] == "dropclass"]
    assert one[["low", "high"]].isna().all(axis=None)


def test_classes_are_ordered_by_pixels_or_images(runs):
    for found in runs.values():
        for run in found:
            run.record.image_counts = [5, 9, 5, 9, 8]
    table = delta.class_gains(runs, by="images")
    assert list(table["class"][:5]) == ["car", "bus", "pole", "road", "sky"]
    with pytest.raises(InputError, match="by: 'regions' is not known; classes are ordered by pixels or images"):
        delta.class_gains(runs, by="regions")


def test_nothing_to_compare_is_said(runs):
    for only in ("plain", "dice"):
        with pytest.raises(InputError, match="no configuration but 'plain' has a run with one of its seeds"):
            delta.class_gains({"plain": runs["plain"], only: runs[only]})


def test_summary_by_hand(runs):
    """Frequent half: road, car, sky; rare half: bus, pole. Gains (-2, 0, 2 | 10, 20) and (-2, 0, 0 | 14, 10)."""
    table = delta.summary(runs).set_index(["configuration", "quantity"])
    fbnet = table.loc["fbnet"]
    assert list(fbnet.index) == ["all classes", "frequent half", "rare half", delta.SHARE, delta.RHO]
    assert fbnet.loc["all classes", "value"] == pytest.approx((30 / 5 + 22 / 5) / 2)
    assert fbnet.loc["frequent half", "value"] == pytest.approx((0 - 2 / 3) / 2)
    assert fbnet.loc["rare half", "value"] == pytest.approx((15 + 12) / 2)
    half = T_OF_ONE * 1.5
    np.testing.assert_allclose(fbnet.loc["rare half", ["low", "high"]].astype(float), [13.5 - half, 13.5 + half], 1e-4)
    assert fbnet.loc[delta.SHARE, "value"] == 100
    # the first seed's gains rise as frequency falls; the second's have ranks 1, 2.5, 2.5, 5, 4 against 5 ... 1
    assert fbnet.loc[delta.RHO, "value"] == pytest.approx((-1 - 8.5 / np.sqrt(10 * 9.5)) / 2)
    assert fbnet.loc[delta.RHO, "low"] == -1  # not below
    assert table.loc[("dropclass", "rare half"), "value"] == pytest.approx(-7.5)
    assert table.loc[("dropclass", delta.SHARE), "value"] == 0


def test_the_rare_set_is_shown_where_it_is_not_the_rare_half(runs):
    runs["plain"][0].record.rare_classes = ["pole"]
    table = delta.summary(runs).set_index(["configuration", "quantity"])
    assert table.loc[("fbnet", "rare set"), "value"] == pytest.approx(15)


def test_a_class_without_a_score_is_left_out_of_means(tmp_path):
    """The last class is in neither labels nor predictions."""
    before, after = np.diag([50, 50, 50, 50, 0]), np.diag([50, 50, 50, 50, 0])
    before[3, 0] = 50
    runs = {
        name: [make_run(tmp_path, names=NAMES, rare=[], methods=[name], matrix=matrix)]
        for name, matrix in (("plain", before), ("fbnet", after))
    }
    table = delta.summary(runs).set_index("quantity")["value"]
    assert table["rare half"] == pytest.approx(50)
    assert table["all classes"] == pytest.approx((50 + 50) / 4)  # road loses its 50 false positives
    assert table[delta.SHARE] == 100


def test_intervals_as_text(runs):
    table = delta.with_intervals(delta.summary(runs))
    assert list(table.index) == ["fbnet", "dropclass"]
    assert table.loc["fbnet", "rare half"] == "+13.5 [-5.6, +32.6]"
    assert table.loc["fbnet", delta.SHARE] == "100 [100, 100]"
    assert table.loc["dropclass", "rare half"] == "-7.5"
    assert table.loc["dropclass", "frequent half"] == "+0.0"
    assert list(table["seeds"]) == [2, 1]


def test_boxes_are_where_the_first_errs_alone():
    labels = np.zeros((9, 16), dtype=np.int16)
    labels[0] = -1  # not counted
    first, second = np.zeros_like(labels), np.zeros_like(labels)
    first[5:8, 10:14] = 1
    second[1:4, 0:4] = 2
    first[0], second[0] = 3, 0
    columns = {"ground truth": [labels, labels], "a": [first, second], "b": [second, first]}
    table = delta.telling_boxes(columns, "a", "b")
    assert table[["top", "left", "height", "width"]].to_numpy().tolist() == [[5, 10, 3, 4], [1, 0, 3, 4]]
    np.testing.assert_allclose(table[["a", "b"]], 100 * 12 / 128)
    columns["b"][0] = first  # both err in the same places
    assert delta.telling_boxes(columns, "a", "b").loc[0, ["a", "b"]].tolist() == [0, 0]


def test_gain_matrix_has_the_best_on_top_and_bold_what_is_clear(runs, tmp_path):
    clear = [five(tmp_path, (0.6, 0.5, 0.5, 0.3 - s / 1000, 0.5), methods=["essnet"], seed=s)
             for s in (0, 1, 7)]  # fmt: skip
    runs = runs | {"essnet": clear}
    figure = plots.gain_matrix(delta.class_gains(runs), delta.summary(runs))
    axes = figure.axes[0]
    figure.canvas.draw()
    assert [t.get_text() for t in axes.get_yticklabels()] == ["FBNet (2)", "ESSNet (3)", "DropClass (1)"]
    assert [t.get_text() for t in axes.get_xticklabels()] == [
        "road", "car", "sky", "bus †", "pole †", "rare half", "all classes"]  # fmt: skip
    cells = np.array([t.get_text() for t in axes.texts]).reshape(3, 7)
    assert cells[0, [0, 1, 2, 3, 4, 6]].tolist() == ["-2.0", "0.0", "1.0", "12", "15", "5.2"]
    bold = np.array([t.get_weight() == "bold" for t in axes.texts]).reshape(3, 7)
    assert bold.tolist() == [
        [True, *[False] * 6],  # road: -2 in both seeds
        [True, False, False, True, False, True, True],
        [False] * 7,  # one seed
    ]


def test_every_configuration_has_a_row_of_gains(runs):
    tables = {score: delta.class_gains(runs, score=score) for score in ("IoU", "Acc")}
    figure = plots.class_gains(tables)
    axes = np.reshape(figure.axes, (2, 2))
    for row, name in zip(axes, ("fbnet", "dropclass"), strict=True):
        for panel in row:
            expected = tables["IoU"].query("configuration == @name")["value"]
            np.testing.assert_allclose([bar.get_height() for bar in panel.patches], expected)
            assert {to_hex(bar.get_facecolor()) for bar in panel.patches} == {plots.colour_of(name).lower()}
    (segments,) = [c.get_segments() for c in axes[0, 0].collections]
    table = tables["IoU"].query("configuration == 'fbnet'")
    np.testing.assert_allclose([s[:, 1] for s in segments], table[["low", "high"]])
    low, high = axes[0, 0].get_ylim()
    assert low < -10  # the least mean, DropClass's
    assert 15 < high < table["high"].max()  # means decide, not the intervals of two seeds
    assert {"ΔIoU (points)", "ΔAcc (points)", "FBNet (2)", "DropClass (1)", "bus †"} <= texts(figure)


def test_halves(runs):
    figure = plots.frequency_halves(delta.summary(runs))
    axes = figure.axes[0]
    dots = {(round(float(x), 6), line.get_markerfacecolor()) for line in axes.lines if line.get_marker() == "o"
            for x in line.get_xdata()}  # fmt: skip
    rare = {(13.5, plots.colour_of("fbnet")), (-7.5, plots.colour_of("dropclass"))}
    assert rare <= dots
    assert {(-0.333333, "white"), (0.0, "white")} <= dots
    assert [t.get_text() for t in axes.get_yticklabels()] == ["FBNet (2)", "DropClass (1)"]


def test_boxes_are_drawn_in_every_picture():
    classes = Classes(NAMES[:2], ((0, 90, 120), (40, 90, 120)))
    labels = np.zeros((2, 6, 8), dtype=np.int16)
    columns = {"image": np.zeros((2, 6, 8, 3), np.uint8), "ground truth": labels, "dropclass": labels}
    boxes = pd.DataFrame({"top": [1, 3], "left": [2, 0], "height": [2, 2], "width": [3, 3]}, index=[5, 9])
    figure = plots.boxed_examples(columns, classes, boxes)
    for row, expected in zip(np.reshape(figure.axes, (2, 3)), [(1.5, 0.5), (-0.5, 2.5)], strict=True):
        for panel in row:
            frames = [patch for patch in panel.patches if isinstance(patch, Rectangle)]
            assert {frame.get_xy() for frame in frames} == {expected}
            assert {(frame.get_width(), frame.get_height()) for frame in frames} == {(3, 2)}


# class vectors


def with_weights(folder, weight, **options):
    return five(folder, arrays={"classifier_weight": np.asarray(weight, dtype=np.float32)}, **options)


@pytest.fixture(name="vectors")
def make_vectors(tmp_path):
    """Plain: bus and pole the same, the others orthogonal to all. DropClass, in two seeds: all orthogonal."""
    plain = np.eye(5)
    plain[4] = 3 * plain[3]
    return {
        "plain": [with_weights(tmp_path, plain)],
        "dropclass": [with_weights(tmp_path, np.eye(5), methods=["dropclass"], seed=seed) for seed in range(2)],
    }


def test_random_vectors_spread_as_they_must():
    """Standard deviation of a row sum sqrt((C - 1) / K); a mean row sum's is sqrt(2 (C - 1) / (C K))."""
    table = correlation.null(19, 256)
    np.testing.assert_allclose(
        table.loc["row sum"], [-1.96 * np.sqrt(18 / 256), 0, 1.96 * np.sqrt(18 / 256)], atol=0.06
    )
    np.testing.assert_allclose(table.loc["mean row sum"], [-0.169, 0, 0.169], atol=0.03)
    np.testing.assert_allclose(table.loc["ρ with frequency"], [-0.456, 0, 0.456], atol=0.05)
    assert table.loc["closest pair", "50 %"] > 2 / 16  # of 171 pairs one is beyond two standard deviations
    short = correlation.null(19, 6)
    assert short.loc["closest pair", "50 %"] > 0.8
    assert short.loc["row sum", "97.5 %"] == pytest.approx(1.96 * np.sqrt(18 / 6), rel=0.1)


@pytest.mark.filterwarnings("ignore:An input array is constant")  # the row sums of orthogonal vectors
def test_summary_of_similarities(vectors):
    table = correlation.summary(vectors).set_index(["configuration", "quantity"])
    plain = table.loc["plain", "value"]
    assert plain["mean row sum"] == pytest.approx(2 / 5)
    assert plain["mean cosine, rare half"] == pytest.approx(1)
    assert plain["mean cosine, frequent half"] == pytest.approx(0)
    assert plain["closest pair"] == pytest.approx(1)
    assert plain["ρ with frequency"] == pytest.approx(-np.sqrt(3) / 2)  # ranks 5 4 3 2 1 against 2 2 2 4.5 4.5
    assert table.loc["plain", "low"].isna().all()
    alike = table.loc[("dropclass", "mean row sum")]
    assert (alike["value"], alike["low"], alike["high"], alike["seeds"]) == (0, 0, 0, 2)
    chance = table.loc[("random vectors of 5 numbers", "closest pair")]
    assert chance["low"] == correlation.null(5, 5).loc["closest pair", "2.5 %"]
    assert list(table.index.get_level_values(0).unique()) == ["plain", "dropclass", "random vectors of 5 numbers"]
    assert delta.with_intervals(table.reset_index(), digits=2).loc["plain", "mean row sum"] == "+0.40"


def test_pairs_of_classes(vectors):
    table = correlation.of_pairs(vectors, [("pole", "bus"), ("road", "car"), ("road", "tram")])
    np.testing.assert_allclose(table, [[1, 0], [0, 0], [np.nan, np.nan]])
    closest = correlation.closest_pairs(vectors, count=2)
    assert list(closest.index) == [("bus", "pole"), ("road", "car")]
    assert list(closest.columns) == ["plain", "dropclass"]


def test_the_papers_pairs_are_those_of_the_ledger():
    """Its note on C9: three pairs survive, all lower by 0.11 to 0.14."""
    printed = claims.table("dropclass", "fig3").pivot(index=["class", "setting"], columns="method", values="value")
    change = printed["DropClass"] - printed["Baseline"]
    assert sorted(change.round(2)) == [-0.14, -0.12, -0.11]
    assert "0.11" in claims.ledger.claim("dropclass-C9").note


def test_row_sums_are_drawn_over_the_band_of_random_vectors(vectors):
    figure = plots.row_sums(vectors)
    for panel, sums in zip(figure.axes, ([0, 0, 0, 1, 1], [0] * 5), strict=True):
        dots = [line for line in panel.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(dots[0].get_ydata(), sums, atol=1e-6)
        grey = panel.lines[0]  # the baseline
        np.testing.assert_allclose(grey.get_ydata(), [0, 0, 0, 1, 1], atol=1e-6)
        band = panel.patches[0]
        low, high = correlation.null(5, 5).loc["row sum", ["2.5 %", "97.5 %"]]
        assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((low, high))
    assert {"Plain: 5 numbers a class, one seed", "DropClass: 5 numbers a class, 2 seeds", "pole †"} <= texts(figure)


def test_matrices_of_three_configurations_share_a_scale():
    """It ends at the median panel's largest cosine."""
    matrices = {name: np.array([[1, cosine], [cosine, 1]])
                for name, cosine in (("plain", 0.3), ("dropclass", -0.4), ("essnet", 0.9))}  # fmt: skip
    figure = plots.correlation_matrices(matrices, ["road", "car"])
    shown = [axes for axes in figure.axes if axes.collections][:3]
    assert [axes.get_title() for axes in shown] == ["Plain", "DropClass", "ESSNet"]
    assert {axes.collections[0].get_clim() for axes in shown} == {(-40, 40)}
    assert {"30", "-40", "90"} <= texts(figure)
    assert all([t.get_text() for t in axes.get_xticklabels()] == ["road", "car"] for axes in shown)


# confusions


def matrix_run(folder, matrix, **options):
    return make_run(folder, names=("road", "car", "pole"), rare=["pole"], matrix=np.asarray(matrix), **options)


@pytest.fixture(name="confused")
def make_confused(tmp_path):
    """Of 10 poles, plain takes 6 then 4 for road and FBNet 5 then 1; a third seed of plain has all right."""

    def matrix(to_road, to_car=0):
        return [[90, 10, 0], [0, 20, 0], [to_road, to_car, 10 - to_road - to_car]]

    return {
        "plain": [matrix_run(tmp_path, matrix(n, 2), seed=s) for s, n in enumerate((6, 4))]
        + [matrix_run(tmp_path, matrix(0), seed=2)],
        "fbnet": [matrix_run(tmp_path, matrix(n), methods=["fbnet"], seed=s) for s, n in enumerate((5, 1))],
    }  # fmt: skip


def test_counts_are_of_the_seeds_that_all_have(confused):
    counts = confusion.of_shared_seeds(confused)
    assert counts["plain"][2].tolist() == [10, 4, 6]
    assert counts["fbnet"][2].tolist() == [6, 0, 14]
    with pytest.raises(InputError, match="no seed is recorded for all of plain, fbnet"):
        confusion.of_shared_seeds({"plain": confused["plain"][2:], "fbnet": confused["fbnet"]})


def test_largest_confusions_of_all_configurations(confused):
    counts = confusion.of_shared_seeds(confused) | {"dice": np.diag([5, 5, 5])}
    table = confusion.largest_confusions(counts, ("road", "car", "pole"))
    assert list(table.index) == [("pole", "road"), ("pole", "car"), ("road", "car")]
    np.testing.assert_allclose(table["plain"], [50, 20, 10])
    np.testing.assert_allclose(table[["fbnet", "Δ fbnet"]], [[30, -20], [0, -20], [10, 0]])
    np.testing.assert_allclose(table[["dice", "Δ dice"]], [[0, -50], [0, -20], [0, -10]])


def test_taken_for_the_background_by_hand(confused):
    sets = {"pole": ["pole"], "both": ["pole", "car"]}
    table = confusion.taken_for(confused["fbnet"], confused["plain"], sets, ["road"])
    np.testing.assert_allclose(table.loc["pole", ["baseline", "method", "change"]].astype(float), [50, 30, -20])
    half = T_OF_ONE * 10  # -10 and -30: standard error 10
    np.testing.assert_allclose(table.loc["pole", ["low", "high"]].astype(float), [-20 - half, -20 + half], atol=1e-2)
    assert table.loc["both", "change"] == pytest.approx(-20 / 3)  # of 30 pixels
    others = confusion.taken_for(confused["fbnet"], confused["plain"], {"pole": ["pole"]}, ["car", "road"])
    assert others.loc["pole", "baseline"] == pytest.approx(70)
    assert others.loc["pole", "mostly"] == "road"


def test_taken_for_says_what_is_wrong(confused):
    with pytest.raises(InputError, match="no class wall; the data set has road, car, pole"):
        confusion.taken_for(confused["fbnet"], confused["plain"], {"wall": ["wall"]}, ["road"])
    with pytest.raises(InputError, match="no seed in common"):
        confusion.taken_for(confused["fbnet"], confused["plain"][2:], {"pole": ["pole"]}, ["road"])


def test_what_is_taken_for_background_is_drawn_before_and_after(confused):
    sets = {"car": ["car"], "pole": ["pole"]}
    tables = {"fbnet": confusion.taken_for(confused["fbnet"], confused["plain"], sets, ["road"])}
    axes = plots.taken_for(tables).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["pole", "car"]
    before, after = [line for line in axes.lines if line.get_marker() == "o"]
    assert before.get_xdata().tolist() == [50, 0]
    assert after.get_xdata().tolist() == [30, 0]
    assert to_rgba(after.get_color()) == to_rgba(plots.colour_of("fbnet"))
    (segment, _) = axes.collections[0].get_segments()
    assert segment[:, 0].tolist() == [0, 100]  # as wide as two seeds make it, but no share is below 0
