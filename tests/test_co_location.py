"""10_co_location_bias: scenes without a class, who needs whom, Table 4 over seeds, and its figures."""

from types import SimpleNamespace

import filelock
import numpy as np
import pandas as pd
import pytest
from factories import make_run, texts
from splits import ArraySplit
from test_evaluation import CPU, Colours, assert_as_made
from test_training import TINY

from segrepro import claims, evaluation, ledger, measuring, plots, records
from segrepro.analysis import erasure
from segrepro.datasets.base import IGNORE
from segrepro.datasets.synthetic import SyntheticScenes
from segrepro.errors import InputError
from segrepro.experiment import Experiment
from segrepro.measuring import MEASUREMENTS
from segrepro.runs import Run

NAMES = ("road", "car", "train", "sky", "pole")
T_OF_ONE = 12.706  # the 97.5 % quantile of Student's t with one degree of freedom


# counts on scenes without a class


def colours_of(labels: np.ndarray) -> np.ndarray:
    """The image in which every pixel shows its class."""
    return (200 * np.eye(3)[np.maximum(labels, 0)]).astype(np.uint8)


class Behind(ArraySplit):
    """Images that show the classes; where one is left out there is the next one."""

    def __init__(self, labels, images=None):
        super().__init__(labels, images or [colours_of(array) for array in labels])

    def without(self, name: str) -> "Behind":
        gone = self.classes.names.index(name)
        return Behind([np.where(array == gone, (gone + 1) % 3, array) for array in self.arrays])


LABELS = [
    np.array(rows) for rows in ([[0, 0, 1], [1, 2, IGNORE]], [[0, 0, 0], [0, 2, 2]], [[1, 1, 1, 1], [0, 0, 0, 1]])
]


def test_who_predicts_the_truth_loses_nothing_but_the_removed_pixels():
    """The last image has another size, the second lacks class 1; sides are no multiples of 4."""
    learner = Colours()
    counts = evaluation.counterfactual_counts(learner, Behind(LABELS), device=CPU, batch_size=2)
    pixels = np.array([2 + 4 + 3, 2 + 0 + 5, 1 + 2 + 0])
    np.testing.assert_array_equal(counts[:, 0], pixels * (1 - np.eye(3, dtype=int)))
    assert counts[:, 1:].sum() == 0
    assert_as_made(learner)


def test_the_network_sees_the_new_scene_and_is_scored_where_the_old_one_had_other_classes():
    """By hand, with scores averaged over 3 x 3 pixels: without class 0 all pixels look like class 1."""
    split = Behind([np.array([[0, 0, 0, 1, 1]] * 4)])
    learner = Colours(context=1)
    ordinary = evaluation.confusion_counts(learner, split, device=CPU)
    assert ordinary.tolist() == [[12, 0, 0], [0, 8, 0], [0, 0, 0]]
    counts = evaluation.counterfactual_counts(learner, split, device=CPU)
    assert counts[0].tolist() == [[0, 8, 0], [0, 0, 0], [0, 0, 0]]  # TP, FP, FN
    assert counts[1].tolist() == [[12, 0, 0], [0, 0, 0], [0, 0, 0]]  # class 2 behind class 1 is not scored
    images = np.stack([colours_of(array) for array in split.without("class 0").arrays])
    assert any(np.array_equal(seen.permute(0, 2, 3, 1)[:, :, :5], images) for seen in learner.seen)


def test_a_class_that_never_occurs_changes_nothing():
    labels = [np.minimum(array, 1) for array in LABELS]
    noise = np.random.default_rng(0)
    split = Behind(labels, [noise.integers(0, 256, (*array.shape, 3)).astype(np.uint8) for array in labels])
    matrix = evaluation.confusion_counts(Colours(), split, device=CPU)
    hits = matrix.diagonal()
    for measure in MEASUREMENTS["erasure"], MEASUREMENTS["erasure/counterfactual"]:
        of = measure(Colours(), split, device=CPU)[2]
        np.testing.assert_array_equal(of, [hits, matrix.sum(0) - hits, matrix.sum(1) - hits])


def test_erasing_and_drawing_again_are_scored_on_the_same_pixels():
    split, learner = SyntheticScenes(count=3, size=(32, 64)), Colours()
    learner.predict = lambda images, head=None: images.float().repeat(1, 7, 1, 1)[:, :19]
    erased, absent = (measure(learner, split, device=CPU) for measure in
                      (evaluation.erasure_counts, evaluation.counterfactual_counts))  # fmt: skip
    np.testing.assert_array_equal(erased[:, 0] + erased[:, 2], absent[:, 0] + absent[:, 2])  # TP + FN
    np.testing.assert_array_equal(erased, absent)  # pixel by pixel there is no context to miss


def test_images_in_files_cannot_lack_a_class():
    with pytest.raises(InputError, match="array 0: images in files cannot be drawn again .* Use the data set 'synth"):
        evaluation.counterfactual_counts(Colours(), ArraySplit(LABELS), device=CPU)


def test_predictions_of_images_of_any_size():
    found = evaluation.predictions(Colours(), [colours_of(array) for array in LABELS], device=CPU)
    for labels, prediction in zip(LABELS, found, strict=True):
        np.testing.assert_array_equal(prediction, np.maximum(labels, 0))


# measuring and recording


@pytest.fixture(name="trained", scope="module")
def train_two(tmp_path_factory):
    """A working folder with a run of plain training and one of DropClass, both measured."""
    folder = tmp_path_factory.mktemp("runs")
    chosen = Experiment(TINY | {"iterations": 2, "runs_dir": str(folder), "train": True})
    found = {name: chosen.runs(name) for name in ("plain", "dropclass")}
    for array in ("erasure", erasure.COUNTERFACTUAL):
        measuring.measure(chosen, array, [run for those in found.values() for run in those])
    return chosen, found


def test_an_unknown_measurement_is_an_error(trained):
    with pytest.raises(InputError, match="no measurement 'erasures'; there are erasure, erasure/counterfactual"):
        measuring.measure(trained[0], "erasures", [])


def test_what_is_recorded_of_a_configuration():
    scenes = SimpleNamespace(setup=SimpleNamespace(dataset="synthetic"))
    scenes.dataset = SimpleNamespace(val=SyntheticScenes(count=1))
    assert {"erasure", erasure.COUNTERFACTUAL} <= {*records.arrays_needed(scenes, "dropclass")}
    assert erasure.COUNTERFACTUAL not in records.arrays_needed(scenes, "oversample")
    scenes.dataset = SimpleNamespace(val=ArraySplit(LABELS))
    assert erasure.COUNTERFACTUAL not in records.arrays_needed(scenes, "dropclass")


def test_a_published_record_is_complete_with_all_its_arrays(trained, monkeypatch, tmp_path):
    """One that lacks an array is measured and published again, and not trained again."""
    chosen, found = trained
    (run,) = found["plain"]
    asked = []
    monkeypatch.setattr(ledger, "configurations_needed", lambda dataset, array=None: {"plain": 1})
    monkeypatch.setattr(records, "Experiment", lambda values: chosen)
    monkeypatch.setattr(Experiment, "train", lambda self, name, seed: asked.append(name) or run)
    monkeypatch.setattr(measuring, "measure", lambda where, array, runs: asked.append(array))
    monkeypatch.setattr(records.runs, "publish", lambda run: asked.append("published"))
    options = SimpleNamespace(dataset="synthetic", data_root=None, seeds=None, runs_dir="", device="cpu", only=None)
    published = SimpleNamespace(arrays=dict.fromkeys(MEASUREMENTS))
    monkeypatch.setattr(records.runs, "find", lambda key, folder: published)
    records.record(options)
    assert asked == []
    del published.arrays[erasure.COUNTERFACTUAL]
    records.record(options)
    assert asked == ["plain", *sorted(MEASUREMENTS), "published"]


# analysis, by hand


def found_exactly(folder, erased, absent=None, *, seed=0, methods=("plain",)):
    """IoU 80 % for every class, no false alarms; without class [column] it is lower by `erased` (C, C) and `absent`
    thousandths for class [row].
    """
    arrays = {}
    for name, losses in (("erasure", erased), (erasure.COUNTERFACTUAL, absent)):
        if losses is not None:
            hits = 800 - np.array(losses)
            arrays[name] = np.stack([hits, np.zeros_like(hits), 1000 - hits], axis=1).transpose(2, 1, 0)
    return make_run(folder, names=NAMES, seed=seed, methods=methods, ious=[0.8] * 5, arrays=arrays)


def test_false_alarms_on_the_removed_class_leave_the_reference_too(tmp_path):
    """Of 1000 cars 200 are taken for train: train's IoU is 800 / 1200, but 800 / 1000 where there are no cars."""
    matrix = 800 * np.eye(5, dtype=int) + 200 * np.roll(np.eye(5, dtype=int), 1, axis=1)
    run = make_run(tmp_path, names=NAMES, matrix=matrix)
    kept = erasure.kept_iou(run)
    assert kept[2, 1] == pytest.approx(0.8)
    assert kept[2, 0] == pytest.approx(800 / 1200)
    assert kept[1, 2] == pytest.approx(800 / 1200)  # its misses count wherever they go
    assert np.isnan(np.diagonal(kept)).all()


LOSSES = np.array(
    [
        [0, 10, 20, 30, 40],
        [600, 0, 50, 40, 10],
        [0, 100, 0, 10, -10],
        [10, 12, 11, 0, 13],
        [20, 30, 0, 10, 0],
    ]
)


@pytest.fixture(name="reference_of_80")
def _reference(monkeypatch):
    """Without false alarms the reference is the IoU on whole images, 80 %, for every pair."""
    whole = np.where(np.eye(5, dtype=bool), np.nan, 0.8)
    monkeypatch.setattr(erasure, "kept_iou", lambda run: whole)


@pytest.mark.usefixtures("reference_of_80")
def test_needs_have_the_class_in_the_row(tmp_path):
    run = found_exactly(tmp_path, LOSSES)
    matrix = erasure.needs(run)
    assert matrix[1, 0] == pytest.approx(60)  # car without road
    assert matrix[2, 4] == pytest.approx(-1)  # train does better without poles
    assert np.isnan(np.diagonal(matrix)).all()
    other = found_exactly(tmp_path, LOSSES // 2, seed=1)
    assert erasure.mean_needs([run, other])[1, 0] == pytest.approx(45)
    with pytest.raises(InputError, match="no record has 'erasure/counterfactual'. It can be measured with train=True"):
        erasure.mean_needs([run], erasure.COUNTERFACTUAL)


@pytest.mark.usefixtures("reference_of_80")
def test_pairs_of_classes_largest_first(tmp_path):
    run = found_exactly(tmp_path, LOSSES, LOSSES // 10)
    only_erased = found_exactly(tmp_path, LOSSES * 0, seed=1)  # is left out
    table = erasure.class_pairs([run, only_erased])
    assert len(table) == 20
    assert table.iloc[0].to_list() == ["car", "road", pytest.approx(60), pytest.approx(6)]
    assert table.iloc[1][["class", "without"]].to_list() == ["train", "car"]
    with pytest.raises(InputError, match="no record has 'erasure' and 'erasure/counterfactual'"):
        erasure.class_pairs([only_erased])
    assert list(erasure.class_pairs([run, only_erased], ["erasure"])["erasure"][:2]) == pytest.approx([30, 5])


def test_what_is_measured_and_what_is_not(tmp_path, capsys):
    runs = {name: [found_exactly(tmp_path, LOSSES, absent, seed=seed, methods=[name]) for seed, absent in rows]
            for name, rows in (("plain", [(0, LOSSES), (1, None)]), ("dropclass", [(0, None)]))}  # fmt: skip
    scenes = SyntheticScenes(count=1)
    assert erasure.tests(runs, scenes) == {"erased": "erasure"}
    assert "Records without 'erasure/counterfactual': 1 of plain and 1 of dropclass. It can" in capsys.readouterr().out
    del runs["dropclass"]
    assert erasure.tests(runs, scenes) == {"erased": "erasure", "not in the scene": erasure.COUNTERFACTUAL}
    capsys.readouterr()
    assert list(erasure.tests(runs, ArraySplit(LABELS))) == ["erased"]
    assert capsys.readouterr().out == ""


def test_table_4_over_seeds_by_hand(tmp_path):
    """Road's influencers are pole, sky, train in both seeds, with drops of 3 points; twice that in the second."""
    baselines = [found_exactly(tmp_path, LOSSES * factor, seed=seed) for seed, factor in ((0, 1), (1, 2), (7, 1))]
    baselines[1].record.evaluations["val"] = {"tp": [900] * 5, "fp": [0] * 5, "fn": [100] * 5}
    less = LOSSES.copy()
    less[0] = [0, 700, 10, 10, 10]  # the method needs cars instead: not among the baseline's influencers
    methods = [found_exactly(tmp_path, less, seed=seed, methods=["dropclass"]) for seed in (0, 1)]
    table = erasure.table_4(methods, baselines)
    assert list(table.index)[:3] == ["car", "train", "road"]
    road = table.loc["road"]
    assert road["baseline", "influencers"] == "pole 2, sky 2, train 2"
    assert road["baseline", "I"] == pytest.approx(85)
    assert road["baseline", "I*"] == pytest.approx((77 + 74) / 2)
    assert road["baseline", "I*-I"] == pytest.approx(-9.5)  # -3 and 74 - 90 = -16
    half = T_OF_ONE * 6.5
    assert road["baseline", "low"] == pytest.approx(-9.5 - half, abs=1e-2)
    assert road["method", "I*-I"] == pytest.approx(-1)
    assert road["difference", "I*-I"] == pytest.approx(8.5)
    assert road["difference", "high"] == pytest.approx(8.5 + half, abs=1e-2)
    with pytest.raises(InputError, match="no seed has 'erasure/counterfactual' in the records of both"):
        erasure.table_4(methods, baselines, erasure.COUNTERFACTUAL)


def test_what_the_paper_s_table_comes_to():
    """Its printed means are -8.0 and -7.1; over its true nine, with sidewalk in place of pole, -13.7 and -11.8."""
    printed = claims.table("dropclass", 4)
    table = erasure.printed_table_4(printed)
    assert set(erasure.PRINTED_VULNERABLE) ^ set(erasure.vulnerable(table)) == {"pole", "sidewalk"}
    nine = table.loc[list(erasure.PRINTED_VULNERABLE)].mean()
    assert nine["baseline", "I*-I"].round(1) == -13.3
    assert nine["method", "I*-I"] == pytest.approx(-11.7, abs=0.1)


def test_influencers_chosen_on_one_network_hurt_another_less(tmp_path):
    """Two seeds that lose the same, each in other company."""
    losses = np.zeros((5, 5), dtype=int)
    losses[0, 1:] = 0, 0, 0, 90  # road loses 9 points without pole, in the other seed to car
    other = np.zeros_like(losses)
    other[0, 1:] = 90, -30, -30, -30
    seeds = [found_exactly(tmp_path, of, seed=seed) for seed, of in enumerate((losses, other))]
    drop = erasure.drops(seeds, seeds, claims.table("dropclass", 4)).loc["drop, all classes"]
    assert drop["difference"] == 0
    # of the first seed's triple, pole, car, train, the second loses (90 - 30 - 30) / 3; the second's is car, train, sky
    assert drop["by selection"] == pytest.approx(((30 - 10) / 10 + (10 - 0) / 10) / 5 / 2)


def test_drops_by_hand_and_beside_the_paper_s(tmp_path):
    less = LOSSES // 2
    baselines = [found_exactly(tmp_path, LOSSES, seed=seed) for seed in (0, 1)]
    methods = [found_exactly(tmp_path, less, seed=seed, methods=["dropclass"]) for seed in (0, 1)]
    table = erasure.drops(methods, baselines, claims.table("dropclass", 4))
    mean = -np.mean([9, 69, 11, 3.6, 6]) / 3  # the three largest of each row
    drop = table.loc["drop, all classes"]
    assert drop["baseline"] == pytest.approx(mean)
    assert drop["low"] == drop["high"] == pytest.approx(drop["difference"])
    assert drop["by selection"] == 0  # the seeds are the same
    assert table.loc["drop, most vulnerable", "baseline"] == pytest.approx(-(69 + 11) / 6)
    assert table.loc["drop, classes that both find", "baseline"] == pytest.approx(mean)
    assert table.loc["share of mIoU lost (%)", "baseline"] == pytest.approx(-mean / 0.8)
    papers = table[["paper: baseline", "paper: DropClass"]].round(1)
    assert papers.loc["mIoU(I*)"].to_list() == [68.9, 70.9]
    assert papers.loc["drop, all classes"].to_list() == pytest.approx([-8.0, -7.1], abs=0.11)
    assert papers.loc["drop, most vulnerable"].to_list() == pytest.approx([-13.7, -11.8], abs=0.11)
    beside = erasure.beside_paper(erasure.table_4(methods, baselines), claims.table("dropclass", 4))
    assert list(beside.index) == ["train", "pole", "sky", "car", "road"]
    assert beside.loc["train", ("paper", "baseline")] == pytest.approx(-13.9)
    assert beside.loc["car", ("ours", "baseline")] == pytest.approx(-23)


@pytest.mark.usefixtures("reference_of_80")
def test_agreement_by_hand(tmp_path):
    """The counterfactual is a tenth of erasing in one seed, its opposite in the other."""
    runs = [found_exactly(tmp_path, LOSSES * 10, LOSSES * sign, seed=seed) for seed, sign in ((0, 1), (1, -1))]
    table = erasure.agreement(runs[:1])
    assert table.loc["ρ, all pairs", "value"] == pytest.approx(1)
    assert table.loc["ρ, within a class", "value"] == pytest.approx(1)
    assert table.loc["influencers in common, of 3", "value"] == 3
    assert 9 / 4 > table.loc["influencers in common, of 3", "chance"] > 1
    assert table.loc[["ρ, all pairs", "ρ, erasing in two seeds"], "low"].isna().all()
    both = erasure.agreement(runs)
    assert both.loc["ρ, all pairs", ["value", "low", "high"]].to_list() == pytest.approx([0, -1, 1])
    assert both.loc["ρ, erasing in two seeds", "value"] == pytest.approx(1)
    assert both.loc["ρ, counterfactual in two seeds", "value"] == pytest.approx(-1)
    assert both.loc["influencers in common, of 3", "value"] < 3


def test_classes_with_nothing_to_lose_are_left_out_of_the_agreement(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(erasure, "kept_iou", lambda run: np.full((5, 5), 0.8))
    nothing = dict.fromkeys(("rho", "other rho", "common", "other"), 0.0)
    monkeypatch.setattr(erasure, "_row_agreement", lambda erased, absent, rows: seen.append(list(rows)) or nothing)
    run = found_exactly(tmp_path, LOSSES, LOSSES)
    run.record.evaluations["val"] = {"tp": [800, 40, 60, 0, 800], "fp": [0] * 5, "fn": [200, 960, 940, 1000, 200]}
    erasure.agreement([run])
    assert seen == [[0, 2, 4]]


# figures


def test_a_scene_in_its_versions():
    split = SyntheticScenes(count=6, size=(32, 64))
    shown = erasure.versions(split, "road", "car", fill=(1, 2, 3))
    (image, labels), (erased, known), (drawn, absent) = (shown[kind] for kind in ("scene", "erased", "counterfactual"))
    road = split.classes.names.index("road")
    gone = labels == road
    assert gone.any()
    assert (erased[gone] == [1, 2, 3]).all()
    assert (known[gone] == IGNORE).all()
    assert not (absent == road).any()
    np.testing.assert_array_equal(drawn[~gone], image[~gone])
    assert list(erasure.versions(ArraySplit(LABELS), "class 0", "class 1")) == ["scene", "erased"]
    with pytest.raises(InputError, match="no class lorry; the data set has road"):
        erasure.versions(split, "lorry", "car")


def test_scenes_are_drawn_with_and_without_predictions():
    split = SyntheticScenes(count=2, size=(32, 64))
    rows = {f"no {gone}": erasure.versions(split, gone, "car") for gone in ("road", "sky")}
    figure = plots.scene_versions(rows, split.classes)
    assert [len(panel.images) for panel in figure.axes] == [1] * 6
    assert {"scene", "erased", "counterfactual", "no road", "no sky"} <= texts(figure)
    predicted = {title: [np.full((32, 64), 2)] * 3 for title in rows}
    figure = plots.scene_versions(rows, split.classes, predicted)
    assert [len(panel.images) for panel in figure.axes] == [1] * 12
    assert {"building", "prediction"} <= texts(figure)
    assert "sky" not in texts(figure)  # the legend has what is predicted


def test_pairs_are_drawn_and_those_of_note_named():
    table = pd.DataFrame(
        [
            ["bus", "road", 19.0, 2.0],
            ["train", "road", 1.0, 9.0],
            ["car", "sky", 0.1, 0.1],
            ["car", "bus", np.nan, 1.0],
        ],
        columns=["class", "without", "erasure", "erasure/counterfactual"],
    )
    figure = plots.erased_or_absent(table, named=2)
    assert {"bus | road", "train | road"} <= texts(figure)
    assert "car | sky" not in texts(figure)


def test_table_4_is_drawn(tmp_path):
    runs = [[found_exactly(tmp_path, LOSSES, seed=s, methods=[m]) for s in (0, 1)] for m in ("dropclass", "plain")]
    figure = plots.erasure_table(erasure.table_4(*runs), "dropclass")
    assert {"DropClass", "Plain", "car", "IoU (%)", "drop I* − I (points), 95 % interval"} <= texts(figure)
    levels, drops = figure.axes
    assert [patch.get_width() for patch in drops.patches][0] == pytest.approx(-23)
    assert levels.lines[0].get_xdata().tolist() == pytest.approx([80] * 5)


def test_from_trained_runs_to_tables_and_figures(trained):
    """All that the notebook calls, on networks of two steps: few classes have an IoU, and nothing fails for it."""
    chosen, found = trained
    printed = claims.table("dropclass", 4)
    for evaluation_name in ("erasure", erasure.COUNTERFACTUAL):
        table = erasure.table_4(found["dropclass"], found["plain"], evaluation_name)
        assert len(table) == 19
        erasure.drops(found["dropclass"], found["plain"], printed, evaluation_name)
        plots.erasure_table(table, "dropclass").canvas.draw()
    pairs = erasure.class_pairs(found["plain"])
    plots.erased_or_absent(pairs).canvas.draw()
    assert list(erasure.agreement(found["plain"])["seeds"].unique()) == [1]
    matrices = {"erased": erasure.mean_needs(found["plain"])}
    plots.erasure_matrices(matrices, chosen.dataset.classes.names).canvas.draw()


def test_while_a_run_is_measured_no_other_process_takes_it(trained, monkeypatch):
    """And what another process measured of it before is kept."""
    chosen, found = trained
    (run,) = found["plain"]
    locked = []

    def measure(where, array, runs):
        try:
            with filelock.FileLock(run.folder / "lock", timeout=0):  # as another process would
                locked.append(False)
        except filelock.Timeout:
            locked.append(True)
        Run(run.folder, run.record).add_arrays(**{array: np.arange(3)})

    monkeypatch.setattr(ledger, "configurations_needed", lambda dataset, array=None: {"plain": 1})
    monkeypatch.setattr(records, "Experiment", lambda values: chosen)
    monkeypatch.setattr(measuring, "measure", measure)
    monkeypatch.setattr(records.runs, "publish", lambda run: None)
    options = SimpleNamespace(dataset="synthetic", data_root=None, seeds=None, runs_dir="", device="cpu", only=None)
    before = dict(run.arrays)  # read, so cached, before the others are added
    records.record(options)
    assert locked == [True] * len(MEASUREMENTS)
    run.add_arrays(more=np.arange(2))
    assert {*run.arrays} == {*before, *MEASUREMENTS, "more"}


def test_records_that_nobody_planned_are_an_error():
    options = SimpleNamespace(dataset="cityscapes", only=[])
    with pytest.raises(InputError, match="plans no records on cityscapes, only on synthetic, .*Say with --only"):
        records.record(options)
