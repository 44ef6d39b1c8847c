"""From parameters to recorded runs: what is refused, what decides a key, what is found again, what is damaged."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from test_training import TINY

from segrepro import datasets, evaluation, experiment, ledger, measuring, plots, records, runs, training
from segrepro.errors import BusyError, InputError
from segrepro.experiment import Experiment
from segrepro.files import RESULTS
from segrepro.papers.dropclass import DropClass
from segrepro.parameters import Training, find_device

COMMITTED = sorted(RESULTS.glob(f"*/{runs.RECORD}"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A working folder with one finished run of DropClass."""
    folder = tmp_path_factory.mktemp("runs")
    Experiment(TINY | {"iterations": 2, "runs_dir": str(folder)}).train("dropclass", 0)
    return folder


@pytest.fixture
def finished(trained, tmp_path):
    """A copy of it that a test may spoil: the experiment and its run."""
    shutil.copytree(trained, tmp_path / "runs")
    again = Experiment(TINY | {"iterations": 2, "runs_dir": str(tmp_path / "runs")})
    (run,) = again.runs("dropclass")
    return again, run


@pytest.fixture
def nothing_recorded(tmp_path, monkeypatch):
    """No committed record, whatever the checkout holds."""
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    return str(tmp_path / "runs")


def of_camvid(**values) -> Experiment:
    """An experiment on CamVid that needs only its name, not its files."""
    chosen = Experiment({"dataset": "camvid", **values})
    chosen.__dict__["dataset"] = SimpleNamespace(
        train=SimpleNamespace(fingerprint="train"), val=SimpleNamespace(fingerprint="val")
    )
    return chosen


# What is refused


def test_an_unknown_parameter_names_the_nearest_and_lists_all():
    with pytest.raises(
        InputError, match="'alhpa'.* Did you mean 'alpha'.* Valid: aligned_ratio, alpha, .*architecture, .*val_scenes"
    ) as e:
        Experiment({"alhpa": 5})
    for name in ("seeds", "iterations", "dataset", "co_location", "val_fraction", "oversample_class", "runs_dir"):
        assert name in str(e.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"iterations": -1}, "iterations: .*greater than 0.*-1"),
        ({"iterations": 2.5}, "iterations: .*integer.*2.5"),
        ({"precision": "half"}, "precision: .*'float32', 'bf16', 'fp16' or 'float64'.*'half'"),
        ({"seeds": "a"}, "seeds: .*integer.*'a'"),
        ({"seeds": "0,-1"}, "seeds: .*greater than or equal to 0.*-1"),
        ({"seeds": ""}, "seeds: .*at least 1"),
        ({"crop_size": "12"}, "crop_size: .*height x width, e.g. 192x256.*'12'"),
        ({"crop_size": 12}, "crop_size: .*height x width, e.g. 192x256.*12"),
        ({"crop_size": "axb"}, "crop_size: .*integer.*'axb'"),
        ({"learning_rate": 0}, "learning_rate: .*greater than 0"),
        ({"momentum": 1}, "momentum: .*less than 1"),
        ({"output_stride": 4}, "output_stride: .*8 or 16.*4"),
        ({"alpha": -1}, "alpha: .*greater than or equal to 0.*-1"),
        ({"alpha": "much"}, "alpha: .*number.*'much'"),
        ({"train": "perhaps"}, "train: .*boolean.*'perhaps'"),
        ({"iterations": -1, "batch_size": 0}, "iterations: .*; batch_size: |batch_size: .*; iterations: "),
        ({"dataset": "cityscape"}, "'cityscape'.*" + ", ".join(datasets.NAMES)),
        ({"architecture": "unet"}, "architecture: unknown 'unet'; valid: deeplabv3plus, fpn, deeplabv3, hrnet"),
        ({"encoder": "resnet5O"}, "encoder: .*'resnet5O'.*resnet50"),
        ({"architecture": "hrnet"}, "encoder: architecture hrnet needs .*hrnet_w18_small"),
        ({"architecture": "fpn", "output_stride": 8}, "output_stride: .*None"),
        ({"inference": "crops"}, "inference: .*'sliding_window'.*'crops'"),
        ({"inference": "sliding_window"}, "inference: sliding_window needs crop_size"),
        ({"dataset": "bar", "inference": "multi_scale"}, "inference: multi_scale is for label maps"),
        ({"methods": ["plain", "dropclas"]}, "'dropclas'.*plain, plain_weighted, .*dropclass_without_suppression"),
        ({"methods": []}, "methods: .*at least 1"),
        ({"device": "cuda:99"}, "device: 'cuda:99' is not there; this machine has cpu"),
        ({"val_scenes": "few"}, "val_scenes: .*integer.*'few'"),
        ({"dataset": "folder", "val_fraction": 1.5}, "val_fraction: .*less than 1.*1.5"),
        ({"dataset": "folder", "severity": 3}, "severity: data set 'folder' has no such.* val_fraction, split_seed"),
    ],
    ids=str,
)
def test_a_wrong_value_is_an_error_at_once(values, says):
    with pytest.raises(InputError, match=says):
        Experiment(values)


def test_every_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert find_device("auto") == torch.device("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="device: process 2 of this machine has no GPU of its own, there are 2"):
        find_device("auto")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"co_location": 2}, "co_location is 2.0; give 0 .* to 1"),
        ({"dataset": "camvid"}, "data_root is not set: data set 'camvid' expects the folders train/"),
        ({"dataset": "camvid", "data_root": None}, "data_root is not set"),
        ({"dataset": "camvid", "data_root": "/nowhere"}, "data_root /nowhere is not a folder.* Correct data_root"),
        ({"crop_size": "70x40"}, "crop_size: .* multiples of 16, not images of 70 x 40 .*Set crop_size=64x32"),
        ({"batch_size": 1}, "batch_size: one image a process is too few .*Choose 2"),
        ({"batch_size": 1, "crop_size": "70x40", "architecture": "fpn"}, "^crop_size: "),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_data_are_an_error_before_anything_is_written(values, says, tmp_path):
    given = {"pretrained": False, "train_scenes": 4, "val_scenes": 2, "size": "64x64", "seeds": "0"}
    synthetic = given if "dataset" not in values else {}
    with pytest.raises(InputError, match=says):
        Experiment(synthetic | values | {"train": True, "runs_dir": str(tmp_path / "runs")}).runs("plain")
    assert not list(tmp_path.rglob("record.json"))


def test_a_class_may_be_called_anything(tmp_path, finished):
    """Also what looks like the end of a JSON string."""
    _, run = finished
    names = ["a,", 'b"', "c\\", "d\n"]
    record = run.record.model_copy(update={"class_names": names})
    runs.save(tmp_path / "again", record, {})
    assert runs.load(tmp_path / "again").record == record


def test_an_unknown_configuration_lists_the_ledger_s():
    with pytest.raises(
        InputError, match="no configuration 'dropclas'. Did you mean 'dropclass'.* The ledger has plain, .*dropclass"
    ):
        Experiment({}).runs("dropclas")


def test_the_lists_of_error_messages_are_complete():
    with pytest.raises(InputError) as error:
        Experiment({}).key("none", 0)
    assert set(ledger.load().configurations) <= set(str(error.value).replace(",", "").split())


# How parameters are read


def test_lists_and_sizes_may_be_strings():
    chosen = Experiment({"seeds": "0, 2,1", "crop_size": "192x256", "methods": "plain, dropclass", "train": "True"})
    assert chosen.setup.seeds == [0, 1, 2]
    assert chosen.setup.methods == ["plain", "dropclass"]
    assert chosen.training.crop_size == (192, 256)
    assert chosen.setup.train is True
    assert Experiment({"seeds": 3}).setup.seeds == [3]
    assert Experiment({"crop_size": [192, 256]}).training.crop_size == (192, 256)


def test_a_seed_given_twice_counts_once():
    assert Experiment({"seeds": "1,0,1"}).setup.seeds == [0, 1]


def test_none_is_the_data_set_s_default():
    none = dict.fromkeys(("iterations", "crop_size", "learning_rate", "optimiser", "alpha", "seeds", "device"))
    synthetic, camvid = Experiment(none).training, Experiment({"dataset": "camvid", **none}).training
    assert (synthetic.iterations, synthetic.crop_size) == (400, None)
    assert (camvid.iterations, camvid.crop_size) == (450, (192, 256))
    assert synthetic.optimiser == camvid.optimiser == "adamw" != Training().optimiser
    assert Experiment({"iterations": 7}).training.iterations == 7


def test_seeds_are_those_that_the_claims_need(monkeypatch):
    monkeypatch.setattr(ledger, "configurations_needed", lambda dataset: {"plain": 5, "oversample": 3})
    chosen = Experiment({})
    assert chosen.seeds("plain") == [0, 1, 2, 3, 4]
    assert chosen.seeds("oversample") == [0, 1, 2]
    assert Experiment({"seeds": "7"}).seeds("plain") == [7]


def test_parameters_are_picked_out_of_a_notebook_s_globals():
    of_ipython = {"__name__": "__main__", "_": 1, "In": [""], "Out": {}, "get_ipython": print}
    notebook = of_ipython | {"np": np, "Path": Path, "iterations": 5}
    assert Experiment(notebook).training.iterations == 5
    with pytest.raises(InputError, match="'iteration'.*'iterations'"):
        Experiment({"__name__": "__main__", "iteration": 5})


def test_a_notebook_s_first_cells_can_be_run_again():
    notebook = {"__name__": "__main__", "iterations": 5}
    notebook["experiment"], notebook["table"] = Experiment(notebook), [1, 2]
    notebook |= {"iterations": 6, "batch_size": 3}  # one parameter changed, one added
    again = Experiment(notebook).training
    assert (again.iterations, again.batch_size) == (6, 3)


def test_a_mapping_of_parameters_is_left_as_it_was():
    values = {"iterations": 5}
    Experiment(values)
    assert values == {"iterations": 5}


# Keys

DECIDES = [
    {"iterations": 9}, {"batch_size": 3}, {"crop_size": "32x32"}, {"learning_rate": 0.5}, {"pretrained": True},
    {"architecture": "deeplabv3plus"}, {"encoder": "resnet18"}, {"precision": "bf16"}, {"inference": "multi_scale"},
    {"evaluations": 2}, {"augmentation": "none"}, {"decay_power": 0.5}, {"input_divisor": 2},
    {"alpha": 9.5}, {"size": "48x64"}, {"co_location": 0.5},
    {"train_scenes": 7}, {"val_scenes": 3}, {"scene_seed": 1}, {"rarity": 2.0},
]  # fmt: skip
DECIDES_NOTHING = [
    {"runs_dir": "elsewhere"}, {"device": "auto"}, {"workers": 2}, {"train": True}, {"seeds": "3,4"},
    {"data_root": "x"}, {"methods": ["plain"]}, {"alpha": 10}, {"alpha": None}, {"momentum": 0.9},
    {"oversample_class": "car"}, {"co_location": 0.9}, {"size": [32, 64]},
]  # fmt: skip


def test_every_parameter_is_accounted_for():
    """A new parameter of `Training` belongs in DECIDES, unless it is like one of those that are left out here."""
    alike = {"output_stride", "optimiser", "encoder_learning_rate", "weight_decay", "momentum"}
    assert {name for values in DECIDES for name in values} >= set(Training.model_fields) - alike


@pytest.mark.parametrize("values", DECIDES, ids=str)
def test_what_decides_a_result_changes_the_key(values):
    assert Experiment(TINY | values).key("dropclass", 0) != Experiment(TINY | {}).key("dropclass", 0)


@pytest.mark.parametrize("values", DECIDES_NOTHING, ids=str)
def test_what_decides_nothing_leaves_the_key(values):
    assert Experiment(TINY | values).key("dropclass", 0) == Experiment(TINY | {}).key("dropclass", 0)


def test_seeds_configurations_and_versions_have_keys_of_their_own(monkeypatch):
    chosen = Experiment(TINY | {})
    keys = [chosen.key(name, 0) for name in ledger.load().configurations] + [chosen.key("dropclass", 1)]
    monkeypatch.setattr(DropClass, "version", 2)
    keys += [chosen.key("dropclass", 0)]
    monkeypatch.setattr(training, "VERSION", 2)
    keys += [chosen.key("dropclass", 0), chosen.key("plain", 0)]
    assert len(set(keys)) == len(keys) == len(ledger.load().configurations) + 4


def test_a_method_s_parameter_does_not_concern_others():
    one, other = (Experiment(TINY | {"alpha": alpha}) for alpha in (1, 2))
    assert one.key("plain", 0) == other.key("plain", 0)
    name = "dropclass_without_suppression"  # which says what alpha is
    assert one.key(name, 0) == other.key(name, 0)


def test_a_parameter_added_later_leaves_the_keys_of_finished_runs(monkeypatch):
    before = Experiment(TINY | {}).key("dropclass", 0)

    class More(Training):
        depth: int = 3

    class MoreOfItsOwn(DropClass.Parameters):
        width: float = 0.5

    monkeypatch.setattr(experiment, "Training", More)
    monkeypatch.setattr(DropClass, "Parameters", MoreOfItsOwn)
    assert Experiment(TINY | {"depth": 3, "width": 0.5}).key("dropclass", 0) == before
    assert Experiment(TINY | {"depth": 4}).key("dropclass", 0) != before
    assert Experiment(TINY | {"width": 0.6}).key("dropclass", 0) != before


def test_a_record_says_every_parameter_also_those_at_their_defaults(finished):
    _, run = finished
    own = DropClass.Parameters.model_fields
    data = {"size", "train_scenes", "val_scenes"}  # of the data set's options those that are not at their defaults
    assert set(run.record.parameters) == {"dataset", "methods", *data, *own, *Training.model_fields}


def test_keys_are_those_of_the_committed_records():
    """If this fails, no record made so far is found any more: defaults, scenes or the form of a key have changed."""
    assert Experiment({}).key("plain", 0) == "synthetic-plain-seed0-3832a9573102"
    assert Experiment({}).key("dropclass", 0) == "synthetic-dropclass-seed0-5346a9c19bcf"
    assert of_camvid().key("plain", 0) == "camvid-plain-seed0-fb227797e6a2"  # with the fingerprint given it above


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_every_committed_record_is_found_with_its_parameters(path):
    record = runs.load(path.parent).record
    chosen = Experiment({name: value for name, value in record.parameters.items() if name != "methods"})
    if record.parameters["dataset"] not in datasets.EMBEDDED:  # its files need not be here
        prints = (SimpleNamespace(fingerprint=text) for text in record.data_fingerprint.split("/"))
        chosen.__dict__["dataset"] = SimpleNamespace(**dict(zip(("train", "val"), prints, strict=True)))
    assert record.key == path.parent.name
    names = ledger.load().configurations | ledger.configurations_needed(record.parameters["dataset"])
    assert record.key in {chosen.key(name, record.seed) for name in names if "@" not in name}


# Finding and training


def test_a_missing_run_prints_the_command_that_records_it(nothing_recorded, monkeypatch, capsys):
    assert Experiment({"runs_dir": nothing_recorded, "seeds": "0,4"}).runs("dropclass") == []
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(
        "Not recorded with these parameters: dropclass, seeds 0, 4. Run with train=True, or .venv/bin/python -m "
    )
    assert not Path(nothing_recorded).exists()

    asked = []
    monkeypatch.setattr(Experiment, "train", lambda self, *run: asked.append((self.key(*run), *run)) or _busy())
    monkeypatch.setattr(sys, "argv", ["", *shlex.split(line.rstrip(".").partition("segrepro.records")[2])])
    records.main()
    keys = [Experiment({}).key("dropclass", seed) for seed in (0, 4)]
    assert asked == [(keys[0], "dropclass", 0), (keys[1], "dropclass", 4)]


def _busy():
    raise BusyError("so that nothing is published")


@pytest.mark.parametrize("values", [{"iterations": 9}, {"alpha": 5}, {"co_location": 0.5}], ids=str)
def test_no_command_is_printed_that_would_record_something_else(values, nothing_recorded, capsys):
    assert Experiment(values | {"runs_dir": nothing_recorded, "seeds": "0"}).runs("dropclass") == []
    assert capsys.readouterr().out == ("Not recorded with these parameters: dropclass, seeds 0. Run with train=True.\n")


def test_a_run_that_train_leaves_out_is_to_be_added_to_methods(nothing_recorded, capsys):
    chosen = Experiment({"runs_dir": nothing_recorded, "seeds": "0", "methods": ["plain"], "train": True})
    assert chosen.runs("dropclass") == []
    assert "dropclass, seeds 0. Add it to methods: train=True trains only those" in capsys.readouterr().out


def test_needed_runs_that_are_missing_are_an_error(finished):
    chosen, run = finished
    assert [found.record.key for found in chosen.needed_runs("dropclass")["dropclass"]] == [run.record.key]
    with pytest.raises(InputError, match="no runs of plain with these parameters. Run with train=True"):
        chosen.needed_runs("plain", "dropclass")


def test_configurations_that_are_not_chosen_are_not_trained(nothing_recorded, capsys):
    chosen = Experiment(TINY | {"runs_dir": nothing_recorded, "train": True, "methods": ["plain"]})
    assert chosen.runs("dropclass") == []
    assert "Not recorded" in capsys.readouterr().out


def test_a_crop_larger_than_the_images_is_padded_and_said_so(tmp_path):
    chosen = Experiment(
        TINY | {"iterations": 1, "crop_size": "64x96", "augmentation": "flip", "runs_dir": str(tmp_path)}
    )
    with pytest.warns(
        UserWarning, match=r"crop_size \(64, 96\) is larger than images .*synthetic train.*\(32, 64\).*padded"
    ):
        assert np.isfinite(chosen.train("plain", 0).record.history[-1]["loss"])


def test_a_run_that_another_process_trains_is_busy(tmp_path):
    chosen = Experiment(TINY | {"runs_dir": str(tmp_path)})
    folder = tmp_path / chosen.key("plain", 0)
    folder.mkdir()
    script = "import filelock, sys\nwith filelock.FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder / "lock")], stdin=-1, stdout=-1, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=f"{folder} is being trained by another process"):
            chosen.train("plain", 0)
        other.stdin.close()
    assert not (folder / runs.RECORD).exists()


# Stored runs


def test_a_finished_run_has_everything(finished):
    chosen, run = finished
    record = run.record
    assert sorted(path.name for path in run.folder.iterdir() if path.name != "lock") == [
        runs.ARRAYS, runs.NETWORK, runs.RECORD,
    ]  # fmt: skip
    assert (record.seed, record.key) == (0, run.folder.name)
    assert run.counts().sum() == 2 * 32 * 64
    assert run.arrays["classifier_weight"].shape == (19, chosen.learner(run).network.classifier.in_channels)
    assert sum(record.pixel_counts) == 6 * 32 * 64
    for name, head in (("val", None), ("val/plain_head", "plain_head")):
        counts = evaluation.confusion_counts(chosen.learner(run), chosen.dataset.val, device=chosen.device, head=head)
        np.testing.assert_array_equal(counts, run.counts(name))
    assert (run.counts() != run.counts("val/plain_head")).any()


def test_a_run_is_evaluated_as_inference_says(tmp_path):
    windows = {"inference": "sliding_window", "crop_size": (32, 32)}
    chosen = Experiment(TINY | windows | {"iterations": 1, "runs_dir": str(tmp_path)})
    run = chosen.train("plain", 0)
    in_windows, at_once = (
        evaluation.confusion_counts(chosen.learner(run), chosen.dataset.val, device=chosen.device, **how)
        for how in (windows, {})
    )
    np.testing.assert_array_equal(run.counts(), in_windows)
    assert (in_windows != at_once).any()


SPOILED = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "not text": lambda content: b"\xff" + content,
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_damaged_record_is_named(finished, spoil):
    chosen, run = finished
    path = run.folder / runs.RECORD
    path.write_bytes(SPOILED[spoil](path.read_bytes()))
    with pytest.raises(InputError, match=f"{path} is damaged .*Delete {run.folder} and train this run again"):
        chosen.runs("dropclass")


def test_a_record_of_another_format_is_named(finished):
    chosen, run = finished
    path = run.folder / runs.RECORD
    content = json.loads(path.read_text())
    del content["seed"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"{path} is damaged or of another format"):
        chosen.runs("dropclass")


@pytest.mark.parametrize("spoil", SPOILED)
def test_damaged_arrays_are_named(finished, spoil):
    chosen, run = finished
    path = run.folder / runs.ARRAYS
    path.write_bytes(SPOILED[spoil](path.read_bytes()))
    (again,) = chosen.runs("dropclass")
    with pytest.raises(InputError, match=f"{path} is damaged .*Delete {run.folder} and train this run again"):
        again.arrays  # noqa: B018


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_damaged_network_is_named(finished, spoil):
    chosen, run = finished
    run.network_path.write_bytes(SPOILED[spoil](run.network_path.read_bytes()))
    with pytest.raises(InputError, match=f"{run.network_path} is damaged .*Delete {run.folder} and train this run"):
        chosen.learner(run)


def test_a_network_of_another_architecture_is_named(finished):
    chosen, run = finished
    other = Experiment(TINY | {"encoder": "resnet18", "runs_dir": str(chosen.setup.runs_dir)})
    with pytest.raises(InputError, match=f"{run.folder} was trained with another encoder .resnet10t, here resnet18"):
        other.learner(run)
    with pytest.raises(InputError, match="was trained with another data .*input_divisor .1.0, here 255.0"):
        Experiment(TINY | {"input_divisor": 255, "scene_seed": 5, "runs_dir": str(chosen.setup.runs_dir)}).learner(run)


def test_published_runs_are_records_without_networks(finished, tmp_path, monkeypatch, capsys):
    chosen, run = finished
    results, weight = tmp_path / "results", run.arrays["classifier_weight"]
    runs.publish(run, results)
    monkeypatch.setattr(runs, "RESULTS", results)
    (found,) = chosen.runs("dropclass")
    assert found.folder == run.folder  # with its network
    assert [found.folder for found in runs.all_runs(chosen.setup.runs_dir, results)] == [run.folder]
    shutil.rmtree(chosen.setup.runs_dir)
    (found,) = chosen.runs("dropclass")
    assert found.folder == results / run.record.key
    assert sorted(path.name for path in found.folder.iterdir()) == [runs.ARRAYS, runs.RECORD]
    assert found.record == run.record
    assert list(runs.all_runs(results))[0].record == run.record
    np.testing.assert_array_equal(found.arrays["classifier_weight"], weight)
    with pytest.raises(InputError, match="network.safetensors is not there.* trains this run again, into"):
        chosen.learner(found)
    measuring.measure(chosen, "erasure", [found])
    assert f"{found.record.key}: there is no network" in capsys.readouterr().out
    runs.publish(found, results)  # on itself: nothing happens
    assert found.record == run.record


def test_erasure_is_measured_once(finished, monkeypatch):
    chosen, run = finished
    measuring.measure(chosen, "erasure", [run])
    (again,) = chosen.runs("dropclass")
    assert again.arrays["erasure"].shape == (19, 3, 19)
    assert "classifier_weight" in again.arrays
    monkeypatch.setitem(measuring.MEASUREMENTS, "erasure", lambda *a, **k: pytest.fail("measured again"))
    measuring.measure(chosen, "erasure", [again])


def test_examples_of_different_sizes_are_trained_on_stored_and_drawn(tmp_path):
    for i, side in enumerate((40, 50, 60, 70)):
        part, rng = ("train" if i < 2 else "val"), np.random.default_rng(i)
        for kind, array in (
            ("images", rng.integers(0, 256, (side, 48, 3))),
            ("masks", rng.integers(0, 3, (side, 48))),
        ):
            path = tmp_path / kind / part / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(path)
    own = {name: TINY[name] for name in ("architecture", "encoder", "pretrained", "batch_size", "seeds", "device")}
    chosen = Experiment(own | {"dataset": "folder", "data_root": str(tmp_path), "iterations": 1, "crop_size": "32x32",
                               "train": True, "runs_dir": str(tmp_path / "runs")})  # fmt: skip
    (run,) = chosen.runs("plain")
    columns = chosen.examples({"plain": run})
    assert [labels.shape for labels in columns["plain"]] == [(60, 48), (70, 48)]
    assert [labels.shape for labels in columns["ground truth"]] == [(60, 48), (70, 48)]
    figure = plots.segmentation_examples(columns, chosen.dataset.classes)
    assert [len(panel.images) for panel in figure.axes] == [1] * 6


def save(run, results):
    runs.save(results / run.record.key, run.record, run.arrays)


@pytest.mark.parametrize("written", [runs.publish, save])
def test_a_record_whose_arrays_are_interrupted_is_not_there(written, finished, tmp_path, monkeypatch):
    _, run = finished
    results, write = tmp_path / "results", runs.write_atomically

    def interrupted(path, content):
        if path.name == runs.ARRAYS:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(runs, "write_atomically", interrupted)
    with pytest.raises(KeyboardInterrupt):
        written(run, results)
    assert list(runs.all_runs(results)) == []
    monkeypatch.undo()
    written(run, results)
    assert [found.record for found in runs.all_runs(results)] == [run.record]


def test_a_training_whose_network_is_interrupted_leaves_no_record(tmp_path, monkeypatch):
    chosen = Experiment(TINY | {"iterations": 1, "runs_dir": str(tmp_path)})

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(safetensors.torch, "save_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        chosen.train("plain", 0)
    assert list(runs.all_runs(tmp_path)) == []
    monkeypatch.undo()
    assert chosen.train("plain", 0).network_path.exists()


def test_without_a_run_there_is_nothing_to_show():
    with pytest.raises(InputError, match="no run whose predictions"):
        Experiment(TINY).examples({})
