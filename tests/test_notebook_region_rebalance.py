"""What 02_region_rebalance shows: Remark 1 on recorded runs, gains beside the paper's, its figures."""

import itertools

import matplotlib
import numpy as np
import pandas as pd
import pytest
from factories import NAMES, make_run, texts
from matplotlib.colors import to_hex

from segrepro import claims, ledger, plots
from segrepro.analysis import imbalance, recall_precision, scores

BEFORE = [[80, 20, 0], [8, 2, 0], [10, 0, 0]]  # road, car, train: FP 18, 20, 0


def make_pair(folder, *afters):
    """Plain runs of seeds 0, 1 ... and one of seed 9, and Region Rebalance of seeds 0, 1 ... with these confusions."""
    plain = [make_run(folder, matrix=BEFORE, seed=seed) for seed in (*range(len(afters)), 9)]
    method = [make_run(folder, methods=["region_rebalance"], matrix=m, seed=seed) for seed, m in enumerate(afters)]
    return {"plain": plain, "region_rebalance": method}


# Remark 1


def test_remark_1_cases_by_hand(tmp_path):
    """Car: TP 2 to 4, so K = 1 and n = 10; IoU 2/30 to 4/(10 + FP'), which rises up to FP' = 49, the margin above 0.

    Train is never found by the baseline: no case. Road loses accuracy in the first seed.
    """
    runs = make_pair(
        tmp_path,
        [[60, 40, 0], [6, 4, 0], [10, 0, 0]],  # car's FP' 40: rises
        [[90, 0, 10], [6, 4, 0], [0, 50, 0]],  # FP' 50: falls; road rises
    )
    found = recall_precision.remark_1_cases(runs["region_rebalance"], runs["plain"])
    assert found.tolist() == [4, 3, 2, 2, 4]


def test_changes_are_of_the_seeds_that_both_have(tmp_path):
    after = [[90, 10, 0], [5, 5, 0], [0, 5, 5]]
    runs = make_pair(tmp_path, after, after)
    table = recall_precision.changes_over_seeds(runs["region_rebalance"], runs["plain"])
    assert list(table.index) == ["road", "car", "train"]
    np.testing.assert_allclose(table["ΔAcc"], [10, 30, 50])
    np.testing.assert_allclose(table["ΔFP"], [-13, -50, 0])  # 18 to 5 of 100, 20 to 15 of 10, 0
    np.testing.assert_allclose(table["ΔIoU"], [100 * (90 / 105 - 80 / 118), 100 * (5 / 25 - 2 / 30), 50])


# tables


def test_correlations_are_means_over_seeds(tmp_path):
    accuracies = ([0.9, 0.5, 0.4], [0.8, 0.7, 0.1])
    regions = np.array([[3, 1, 2], [4, 4, 4]])
    plain = [make_run(tmp_path, seed=seed, ious=of) for seed, of in enumerate(accuracies)]
    branch = make_run(tmp_path, methods=["region_rebalance"], arrays={"regions": regions})
    for run in (*plain, branch):
        run.record.image_counts = [50, 10, 5]
    table = imbalance.correlation_table({"plain": plain, "region_rebalance": [branch]})
    expected = np.mean([100 * np.corrcoef([50, 10, 5], of)[0, 1] for of in accuracies])
    assert table.loc["plain", "regions"] == pytest.approx(expected)
    assert np.isnan(table.loc["plain", "regions, region classifier"])
    expected = 100 * np.corrcoef([50, 10, 5], [0.75, 0.25, 0.5])[0, 1]
    assert table.loc["region_rebalance", "regions, region classifier"] == pytest.approx(expected)


def test_gains_by_hand(tmp_path):
    """Mean IoU 50 before; 60 and 64 after; of the rare classes, the last two, 55 and 61."""
    plain = [make_run(tmp_path, seed=seed) for seed in (0, 1, 5)]
    method = [make_run(tmp_path, methods=["dice"], seed=seed, ious=of)
              for seed, of in enumerate(([0.7, 0.6, 0.5], [0.7, 0.6, 0.62]))]  # fmt: skip
    alone = [make_run(tmp_path, methods=["balanced_softmax"], seed=3)]
    table = scores.gains({"plain": plain, "dice": method, "balanced_softmax": alone})
    assert list(table.index) == ["dice"]
    assert table.loc["dice", "ΔmIoU"] == pytest.approx(12)
    half = 12.706 * 2  # t of one degree of freedom times the standard error, |14 - 10| / 2
    np.testing.assert_allclose(table.loc["dice", ["low", "high"]].astype(float), [12 - half, 12 + half], atol=1e-3)
    assert table.loc["dice", "Δ rare mIoU"] == pytest.approx((5 + 11) / 2)
    assert table.loc["dice", "seeds"] == 2


def test_models_are_those_recorded_with_both(tmp_path, monkeypatch):
    recorded = []
    for methods, architecture, seed, iou in (
        ("plain", "fpn", 0, 0.4), ("plain", "fpn", 1, 0.9), ("region_rebalance", "fpn", 0, 0.6),
        ("plain", "pspnet", 0, 0.4), ("region_rebalance", "hrnet", 0, 0.4),
    ):  # fmt: skip
        run = make_run(tmp_path / architecture, methods=[methods], seed=seed, ious=[iou] * 3)
        run.record.parameters |= {"architecture": architecture, "encoder": "resnet10t"}
        recorded.append(run)
    monkeypatch.setattr(scores, "all_runs", lambda: iter(recorded))
    table = scores.by_model("region_rebalance")
    assert list(table.index) == [("synthetic", "fpn/resnet10t")]
    np.testing.assert_allclose(table.loc[("synthetic", "fpn/resnet10t")].astype(float), [40, 60, 20, 1])
    monkeypatch.setattr(scores, "all_runs", lambda: iter(()))
    assert scores.by_model("region_rebalance").empty


def test_printed_gains_are_those_of_the_ablations_model():
    """Each value minus the baseline's in Tables 1, 5 and 6."""
    found = ledger.printed_gains("region_rebalance")
    printed = pd.concat([claims.table("region_rebalance", number) for number in (1, 5, 6)])["value"]
    not_compared = {0.9}  # lambda = 0.2
    assert {round(value - 43.95, 2) for value in printed} == {0, *found.values()} | not_compared
    assert found["region_rebalance_weak"] == 0.66
    assert "fbnet" not in found


# figures


def test_gains_in_iou_and_accuracy(tmp_path):
    runs = make_pair(tmp_path, [[90, 10, 0], [5, 5, 0], [0, 5, 5]])
    figure = plots.class_iou_gain(runs, with_accuracy=True)
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes]
    table = recall_precision.changes_over_seeds(runs["region_rebalance"], runs["plain"])
    np.testing.assert_allclose(heights, [table["ΔIoU"], table["ΔAcc"]])
    assert {"ΔIoU (points)", "ΔAcc (points)", "IoU and Acc gained over Plain: one seed"} <= texts(figure)
    assert {"road", "car †", "train †"} <= texts(figure)


def test_arrows_lead_from_the_baseline_to_the_method(tmp_path):
    runs = make_pair(tmp_path, [[90, 10, 0], [5, 5, 0], [0, 5, 5]])
    figure = plots.iou_against_accuracy(runs)
    (axes,) = figure.axes
    arrows = [note for note in axes.texts if getattr(note, "arrow_patch", None) and not note.get_text()]
    np.testing.assert_allclose([note.xyann for note in arrows], [(0.8, 80 / 118), (0.2, 2 / 30), (0, 0)])
    np.testing.assert_allclose([note.xy for note in arrows], [(0.9, 90 / 105), (0.5, 5 / 25), (0.5, 0.5)])
    colours = [to_hex(note.arrow_patch.get_edgecolor()) for note in arrows]
    assert colours == ["#999999", *[plots.colour_of("region_rebalance")] * 2]
    assert {"Plain → Region Rebalance", "b = 0", "b = 3", "car", "train"} <= texts(figure)
    assert "road" not in texts(figure)


def test_accuracy_by_frequency(tmp_path):
    regions = np.array([[3, 1, 0], [4, 4, 0]])  # no region of the last class in validation
    plain = [make_run(tmp_path, ious=[0.9, 0.5, 0.4])]
    branch = [make_run(tmp_path, methods=["region_rebalance"], arrays={"regions": regions})]
    for run in (*plain, *branch):
        run.record.image_counts = [50, 10, 5]
    figure = plots.accuracy_by_frequency(plain, branch)
    points = [np.asarray(axes.collections[0].get_offsets()) for axes in figure.axes]
    np.testing.assert_allclose(points[0], [(1000, 90), (100, 50), (10, 40)])
    np.testing.assert_allclose(points[1], [(50, 90), (10, 50), (5, 40)])
    np.testing.assert_allclose(points[2][:2], [(50, 75), (10, 25)])
    assert [{t.get_text() for t in axes.texts} for axes in figure.axes] == [set(NAMES), set(NAMES), {"road", "car"}]
    titles = [axes.get_title() for axes in figure.axes]
    rho = 100 * np.corrcoef([50, 10, 5], [0.9, 0.5, 0.4])[0, 1]
    assert titles[1:] == [f"Pixel classifier: ρ = {rho:.0f} %", "Region classifier: ρ = 100 %"]
    assert len(plots.accuracy_by_frequency(plain).axes) == 2


def test_names_keep_clear_of_each_other_and_of_points(tmp_path):
    names = [f"class {c}" for c in range(12)]
    runs = [
        make_run(
            tmp_path, names=names, rare=[], ious=[0.9] * 6 + [0.88] * 6, pixel_counts=[1000 + c for c in range(12)]
        )
    ]
    figure = plots.accuracy_by_frequency(runs)
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [matplotlib.text.Text.get_window_extent(text) for text in axes.texts]
        assert len(boxes) == 12
        middles = [(box.y0 + box.y1) / 2 for box in boxes]
        for (a, at), (b, other) in itertools.combinations(zip(boxes, middles, strict=True), 2):
            assert abs(at - other) > 8 or a.x1 < b.x0 or b.x1 < a.x0
        for x, y in axes.transData.transform(axes.collections[0].get_offsets()):
            assert not [box for box in boxes if box.contains(x, y)]


def test_more_names_than_fit_are_left_out(tmp_path):
    names = [f"class {c}" for c in range(21)]
    figure = plots.accuracy_by_frequency([make_run(tmp_path, names=names, rare=[], pixel_counts=list(range(1, 22)))])
    assert not [text for axes in figure.axes for text in axes.texts]
