"""The loop: it learns, it resumes bit-identically after being killed, it works the same on two processes, it stops on
NaN.
"""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

from segrepro import registry, training
from segrepro.comparators import Oversample, dice_loss
from segrepro.datasets.base import IGNORE, Classes, Groups
from segrepro.datasets.batches import Batch, evaluation_batches, training_batches
from segrepro.datasets.statistics import Statistics
from segrepro.errors import InputError
from segrepro.experiment import Experiment
from segrepro.methods import Step, pixel_cross_entropy
from segrepro.papers.dropclass import suppression_loss
from segrepro.papers.essnet import EmbeddingHead
from segrepro.papers.fbnet import block_wise_bce
from segrepro.papers.lff import generalised_cross_entropy
from segrepro.papers.region_rebalance import region_features

TINY = {
    "architecture": "fpn",
    "encoder": "resnet10t",
    "pretrained": False,
    "iterations": 8,
    "batch_size": 2,
    "size": "32x64",
    "train_scenes": 6,
    "val_scenes": 2,
    "seeds": "0",
    "device": "cpu",
}


def run_script(script: str, *arguments: str, environment: dict | None = None) -> subprocess.CompletedProcess:
    """A real process that trains; its code is `script` after these names are imported."""
    head = """
        import os, sys, time, torch
        from segrepro import training, files
        from segrepro.experiment import Experiment
        training.CHECKPOINT_SECONDS = 0.0
        torch.set_num_threads(1)
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(script), *arguments],
        env={**os.environ, "SEGREPRO_PROGRESS": "0", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_a_killed_run_resumes_and_ends_with_the_same_bits(tmp_path):
    """Killed after the 3rd and 6th step, and in the middle of writing the checkpoint after the 5th.

    Each time some losses are read that are not averaged yet, and some of the intermediate evaluations are done.
    """
    values = TINY | {"evaluations": 5}
    script = f"""
        values = {values!r} | {{"runs_dir": sys.argv[1]}}
        training.HISTORY_POINTS = 2
        kill = dict(part.split("=") for part in sys.argv[2:])
        step, replace = training._step, os.replace

        def counted(model, optimiser, accelerator, batch, now):
            if str(now.iteration) == kill.get("step"):
                os.kill(os.getpid(), 9)
            counted.iteration = now.iteration
            return step(model, optimiser, accelerator, batch, now)

        def half_written(source, target):
            if str(target).endswith("checkpoint.pt") and str(counted.iteration) == kill.get("checkpoint"):
                os.truncate(source, os.path.getsize(source) // 2)
                os.kill(os.getpid(), 9)
            return replace(source, target)

        training._step, files.os.replace = counted, half_written
        Experiment(values).train("dropclass", 0)
    """
    undisturbed = run_script(script, str(tmp_path / "a"))
    assert undisturbed.returncode == 0, undisturbed.stderr
    for kill in ("step=3", "checkpoint=5", "step=6"):
        assert run_script(script, str(tmp_path / "b"), kill).returncode == -signal.SIGKILL
    resumed = run_script(script, str(tmp_path / "b"))
    assert resumed.returncode == 0, resumed.stderr

    (one,), (other,) = (list((tmp_path / name).glob("synthetic-dropclass-*")) for name in "ab")
    assert one.name == other.name
    assert (one / "network.safetensors").read_bytes() == (other / "network.safetensors").read_bytes()
    assert (one / "arrays.safetensors").read_bytes() == (other / "arrays.safetensors").read_bytes()
    first, second = (
        Experiment(values | {"runs_dir": str(tmp_path / name)}).runs("dropclass")[0].record for name in "ab"
    )
    assert [entry["iteration"] for entry in first.history] == [4, 8]
    assert first.history == second.history
    assert [point["iteration"] for point in first.curve] == [1, 3, 4, 6]
    assert first.curve == second.curve
    assert first.evaluations == second.evaluations
    assert not (other / "checkpoint.pt").exists()


DIGITS = {"dataset": "colored_digits", "aligned_ratio": 0.95, "iterations": 8, "seeds": "0", "device": "cpu"}


@pytest.mark.parametrize(
    ("values", "methods", "own"), [(TINY, ["dropclass"], {}), (DIGITS, ["lff"], {"lff_form": "authors"})]
)
def test_two_processes_train_like_one(tmp_path, values, methods, own):
    """gloo on the CPU, the same global batch, BatchNorm and dropout frozen: the same losses to 1e-5."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(f"""
        import json, sys, torch
        from accelerate import Accelerator
        from segrepro import processes, training
        from segrepro.experiment import Experiment

        accelerator = Accelerator(cpu=True)
        experiment = Experiment({values!r} | {{"batch_size": 4, "runs_dir": sys.argv[1]}})
        learner = experiment._new_learner({methods!r}, {own!r}, 0)
        learner.eval()
        learner.train = lambda mode=True: learner  # the loop may not thaw BatchNorm and dropout
        history, *_ = training.train(learner, experiment.dataset.train, experiment.training, seed=0, folder=sys.argv[1],
                                    accelerator=accelerator)
        if accelerator.is_main_process:
            print(json.dumps([entry["loss"] for entry in history]))
        processes.leave_group()
    """))  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SEGREPRO_PROGRESS": "0", "CUDA_VISIBLE_DEVICES": ""}

    def losses(*launcher):
        command = [sys.executable, *launcher, str(script), str(tmp_path / f"runs{len(launcher)}")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return np.array(eval(done.stdout.strip().splitlines()[-1]))

    one, two = losses(), losses("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    assert len(one) == values["iterations"]
    assert one.std() > 0
    np.testing.assert_allclose(two, one, rtol=1e-5)


def test_processes_share_a_method_s_draws_and_have_dropout_of_their_own():
    def draws(process, iteration):
        accelerator = SimpleNamespace(process_index=process, device=torch.device("cpu"))
        step = training._seeded_step(0, iteration, 10, None, accelerator)
        return torch.rand(3, generator=step.generator).tolist(), torch.rand(3).tolist()

    with torch.random.fork_rng(devices=[]):
        (shared, own), (also_shared, other), (later, own_later) = draws(0, 4), draws(1, 4), draws(0, 5)
        assert draws(1, 4) == (also_shared, other)
    assert shared == also_shared != later
    assert len({tuple(drawn) for drawn in (shared, own, other, later, own_later)}) == 5


def test_the_loss_falls(tmp_path):
    values = TINY | {"runs_dir": str(tmp_path), "iterations": 40, "train_scenes": 4, "learning_rate": 1e-2}
    history = Experiment(values).train("plain", 0).record.history
    assert len(history) == 40
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]


def test_poly_decay_and_groups(tmp_path):
    values = TINY | {
        "runs_dir": str(tmp_path),
        "learning_rate": 0.02,
        "encoder_learning_rate": 0.001,
        "optimiser": "sgd",
    }
    experiment = Experiment(values)
    learner = experiment._new_learner(["plain"], {}, 0)
    optimiser = training.make_optimiser(learner, experiment.training)
    assert [group["lr"] for group in optimiser.param_groups] == [0.001, 0.02]
    rates = [entry["learning_rate"] for entry in experiment.train("plain", 0).record.history]
    np.testing.assert_allclose(rates, [0.02 * (1 - i / 8) ** 0.9 for i in range(8)])


@pytest.mark.parametrize(("name", "said"), [("sgd", {"momentum": 0.5}), ("adamw", {"betas": (0.5, 0.999)})])
def test_the_optimiser_s_parameters_reach_every_group(name, said, tmp_path):
    own = {"optimiser": name, "momentum": 0.5, "weight_decay": 0.25, "decay_power": 2.0, "runs_dir": str(tmp_path)}
    experiment = Experiment(TINY | own)
    groups = training.make_optimiser(experiment._new_learner(["plain"], {}, 0), experiment.training).param_groups
    assert len(groups) == 2
    for group in groups:
        expected = said | {"weight_decay": 0.25, "power": 2.0}
        assert {key: group[key] for key in expected} == expected


def test_losses_are_means_over_windows_of_iterations():
    """Read two iterations late; a term that is not always there counts 0 where it is missing."""
    log, entries = training._LossLog(every=3, lag=2), []
    for i in range(7):
        log.add(i, 0.5**i, {"a": torch.tensor(float(i))} | ({"b": torch.tensor(6.0)} if i == 1 else {}), ())
        entries.append(len(log.history) + len(log.window))
    assert entries == [0, 0, 1, 1, 1, 2, 2]
    log.flush()
    assert log.history == [
        {"iteration": 3, "learning_rate": 0.25, "loss": 3.0, "a": 1.0, "b": 2.0},
        {"iteration": 6, "learning_rate": 0.03125, "loss": 4.0, "a": 4.0},
    ]
    assert log.window == [{"a": 6.0}]


def test_images_are_drawn_as_often_as_a_method_says(tmp_path, monkeypatch):
    monkeypatch.setattr(Oversample, "repeats", lambda self, presence: np.eye(len(presence), dtype=int)[3])
    drawn, step = [], training._step
    monkeypatch.setattr(training, "_step", lambda *args: drawn.append(args[-1].batch.index) or step(*args))
    Experiment(TINY | {"iterations": 2, "runs_dir": str(tmp_path)}).train("oversample", 0)
    assert torch.cat(drawn).tolist() == [3] * 4


def test_a_loss_that_is_not_finite_names_step_term_and_files(tmp_path, monkeypatch):
    experiment = Experiment(TINY | {"runs_dir": str(tmp_path)})
    step = training._step

    def spoiled(model, optimiser, accelerator, batch, now):
        terms = step(model, optimiser, accelerator, batch, now)
        return terms | {"suppression": torch.tensor(float("nan"))} if now.iteration == 2 else terms

    monkeypatch.setattr(training, "_step", spoiled)
    with pytest.raises(FloatingPointError, match=r"'suppression' is nan at iteration 2.*synthetic train scene"):
        experiment.train("dropclass", 0)
    assert not list(tmp_path.glob("*/record.json"))


def test_a_damaged_checkpoint_is_named(tmp_path):
    experiment = Experiment(TINY | {"runs_dir": str(tmp_path)})
    folder = tmp_path / experiment.key("plain", 0)
    folder.mkdir()
    (folder / "checkpoint.pt").write_bytes(b"PK no checkpoint")
    with pytest.raises(InputError, match="checkpoint.pt is damaged .* Delete it"):
        experiment.train("plain", 0)
    names = ("learner", "optimiser", "scaler", "iteration", "history", "window", "curve", "seconds")
    torch.save(dict.fromkeys(names, {}), folder / "checkpoint.pt")
    with pytest.raises(InputError, match=r"checkpoint.pt is of another network .*Missing key.* Delete it"):
        experiment.train("plain", 0)


def test_a_checkpoint_is_not_called_damaged_when_memory_runs_out(tmp_path, monkeypatch):
    experiment = Experiment(TINY | {"runs_dir": str(tmp_path)})
    folder = tmp_path / experiment.key("plain", 0)
    folder.mkdir()
    (folder / "checkpoint.pt").write_bytes(b"whole")
    monkeypatch.setattr(torch, "load", lambda *a, **k: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        experiment.train("plain", 0)


def test_interruption_keeps_the_checkpoint_and_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    experiment = Experiment(TINY | {"runs_dir": str(tmp_path)})
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    step = training._step

    def interrupted(model, optimiser, accelerator, batch, now):
        if now.iteration == 4:
            raise KeyboardInterrupt
        return step(model, optimiser, accelerator, batch, now)

    monkeypatch.setattr(training, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        experiment.train("plain", 0)
    assert "goes on from there" in capsys.readouterr().out
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 1e9)
    with pytest.raises(KeyboardInterrupt):
        experiment.train("dropclass", 0)
    assert "There is no checkpoint yet: the same command starts from the beginning" in capsys.readouterr().out
    folder = tmp_path / experiment.key("plain", 0)
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["iteration"] == 4
    assert not (folder / "record.json").exists()


def test_golden_training_in_float64(tmp_path):
    """A short training whose losses are compared with what the recorded results were made by.

    If this fails, the loop or DropClass computes something else than before: raise `training.VERSION` or the method's
    `version`, so that old records are not taken for new ones, and store the new numbers here.
    """
    experiment = Experiment(TINY | {"runs_dir": str(tmp_path), "precision": "float64", "iterations": 4})
    losses = [entry["loss"] for entry in experiment.train("dropclass", 0).record.history]
    np.testing.assert_allclose(losses, GOLDEN, rtol=1e-8)


GOLDEN = [4.033624753101196, 2.2233399024836817, 2.857555942401266, 3.4165229770111907]


# Mixed precision


def test_bf16_is_used_where_it_is_asked_for(tmp_path):
    losses = {}
    for precision in ("bf16", "float32"):
        values = TINY | {"precision": precision, "iterations": 2, "runs_dir": str(tmp_path)}
        losses[precision] = [entry["loss"] for entry in Experiment(values).train("plain", 0).record.history]
    assert losses["bf16"] != losses["float32"]
    np.testing.assert_allclose(losses["bf16"], losses["float32"], rtol=0.005)


@pytest.mark.parametrize("name", registry.METHODS)
def test_every_loss_is_float32_under_mixed_precision(name, tmp_path):
    values = DIGITS if name in ("group_dro", "repair") else TINY
    experiment = Experiment(values | {"runs_dir": str(tmp_path)})
    split = experiment.dataset.train
    (batch,) = training_batches(split, augmentation="none", crop_size=None, batch_size=4, seed=0, start=0, stop=1)

    def terms(mixed):
        learner = experiment._new_learner([name], {}, 0)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            return learner(batch, Step(5, 10, torch.Generator().manual_seed(0), batch))

    mixed, full = terms(True), terms(False)
    assert {term.dtype for term in mixed.values()} == {torch.float32}
    assert mixed.keys() == full.keys()
    for term in full:
        torch.testing.assert_close(mixed[term], full[term], rtol=0.02, atol=0)


LABELS = torch.randint(IGNORE, 3, (2, 32, 32), generator=torch.Generator().manual_seed(0))
LOGITS = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)).bfloat16()


def of_logits(method, **own):
    """The main loss of a method in front of which there is no classifier: its features are the logits."""
    groups = Groups(("red", "green"), np.array([0, 1]), np.eye(3, 2, dtype=bool))
    statistics = Statistics(np.ones(3, dtype=np.int64), np.ones((2, 3), dtype=bool), groups)
    network, kind = SimpleNamespace(classifier=torch.nn.Identity()), registry.METHODS[method]
    batch = Batch(None, LABELS, torch.arange(2), [""] * 2)

    def loss(logits):
        subject = kind(network, Classes(("a", "b", "c"), ((0, 0, 0),) * 3), statistics, kind.Parameters(**own))
        return subject.main_loss(logits, LABELS, Step(5, 10, None, batch))["cross_entropy"]

    return loss


TAKEN = {
    "pixel_cross_entropy": lambda x: pixel_cross_entropy(x, LABELS),
    "dice_loss": lambda x: dice_loss(x, LABELS),
    "hard_examples": of_logits("hard_examples", ohem_threshold=0, ohem_share=0.5),
    "group_dro": of_logits("group_dro"),
    "suppression_loss": lambda x: suppression_loss(x, 1),
    "block_wise_bce": lambda x: block_wise_bce(x, LABELS, range(3), 2),
    "generalised_cross_entropy": lambda x: generalised_cross_entropy(x, LABELS, 0.7),
    "region_features": lambda x: region_features(x, LABELS, 3)[0],
    "pixel_embeddings": lambda x: EmbeddingHead(3, 3, None, 0.05).pixel_embeddings(x, (32, 32)),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_half_precision_gives_is_taken_at_full_precision(name):
    found, expected = TAKEN[name](LOGITS), TAKEN[name](LOGITS.float())
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_predictions_and_measurements_of_half_precision_are_float32(tmp_path):
    experiment = Experiment(TINY | {"runs_dir": str(tmp_path)})
    learner = experiment._new_learner(["fbnet"], {}, 0).bfloat16().eval()
    batch = next(evaluation_batches(experiment.dataset.val, batch_size=2, multiple=32))
    assert learner.predict(batch.images).dtype == torch.float32
    assert {sums.dtype for sums in learner.methods[0].measure(batch).values()} == {torch.float32}


def test_essnet_s_distances_are_not_taken_at_half_precision(tmp_path):
    learner = Experiment(TINY | {"runs_dir": str(tmp_path)})._new_learner(["essnet"], {}, 0)
    learner.network.classifier.project = torch.nn.Identity()  # the one layer that may be
    x = torch.randn(2, 6, 32, 32, generator=torch.Generator().manual_seed(0))

    def found(mixed):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            terms = learner.methods[0].main_loss(x, LABELS, Step(5, 10, None, None))
            return [*terms.values(), learner.methods[0].predict(x, (32, 32))]

    assert all(torch.equal(mixed, full) for mixed, full in zip(found(True), found(False), strict=True))


def test_a_run_is_trained_once_and_found_again(tmp_path, monkeypatch):
    experiment = Experiment(TINY | {"runs_dir": str(tmp_path), "train": True})
    (run,) = experiment.runs("plain")
    monkeypatch.setattr(training, "train", lambda *a, **k: pytest.fail("trained again"))
    (again,) = experiment.runs("plain")
    assert again.record == run.record
    learner = experiment.learner(run)
    weight = safetensors.torch.load_file(run.network_path)["network.classifier.weight"]
    assert torch.equal(learner.network.classifier.weight.cpu(), weight)
    assert Path(run.folder).parent == tmp_path
