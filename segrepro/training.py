"""The one training loop. It knows no paper: a `Learner` says what a step minimises.

Interrupted at any moment, a training goes on from its last checkpoint and ends with the same bits as an undisturbed one
(on CPU): every random draw is seeded by (seed, iteration), so there is no generator state to carry over.
"""

import io
import pickle
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor
from tqdm.auto import tqdm

from segrepro.datasets.base import Split
from segrepro.datasets.batches import Batch, training_batches
from segrepro.errors import InputError
from segrepro.files import write_atomically
from segrepro.methods import Learner, Step
from segrepro.parameters import Training
from segrepro.processes import is_distributed
from segrepro.progress import SHOW_PROGRESS

VERSION = 1  # raised by hand when the same parameters give other results than before
CHECKPOINT = "checkpoint.pt"
CHECKPOINT_SECONDS = 30.0
HISTORY_POINTS = 100  # a run's loss curves have about this many points, each the mean since the one before


def make_accelerator(device: torch.device, precision: str) -> Accelerator:
    """Device, precision and processes from accelerate. In one process every run may choose anew.

    Raises InputError for half precision where the device lacks it.
    """
    if not is_distributed():  # joined processes keep their state; alone, each run may choose device and precision anew
        AcceleratorState._reset_state(reset_partial_state=True)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if precision == "fp16" and device.type == "cpu":
        raise InputError("precision: fp16 needs a GPU; use bf16 or float32 on the CPU")
    mixed = precision if precision in ("bf16", "fp16") else "no"
    return Accelerator(mixed_precision=mixed, cpu=device.type == "cpu")


def make_optimiser(learner: Learner, parameters: Training) -> torch.optim.Optimizer:
    """SGD or AdamW over the learner's groups, each with its own learning rate; `momentum` is AdamW's beta1."""
    groups = learner.parameter_groups(parameters.encoder_learning_rate or parameters.learning_rate)
    for group in groups:
        group.setdefault("power", parameters.decay_power)
        if parameters.optimiser == "adamw" and "momentum" in group:
            group["betas"] = (group.pop("momentum"), 0.999)
    # fused: one pass over the parameters, a fifth of a small network's step
    shared = {"lr": parameters.learning_rate, "weight_decay": parameters.weight_decay, "fused": True}
    if parameters.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=parameters.momentum, **shared)
    return torch.optim.AdamW(groups, betas=(parameters.momentum, 0.999), **shared)


def train(learner: Learner, split: Split, parameters: Training, *, seed: int, folder: Path, accelerator: Accelerator,
          repeats: np.ndarray | None = None, workers: int = 0, evaluate: Callable[[Learner], dict] | None = None,
          description: str = "training") -> tuple[list[dict], list[dict], float]:  # fmt: skip
    """Train `learner` in place; returns the loss history, what `evaluate` gave at the intermediate evaluations, and the
    seconds it took, those before an interruption included.

    folder: where the checkpoint lies; one found there is continued. repeats (N,): how often an epoch shows each image.
    Raises InputError for a damaged checkpoint, FloatingPointError when a loss is not finite.
    """
    if parameters.precision == "float64":
        learner.double()
    learner.to(memory_format=torch.channels_last)  # the order convolutions are fastest in
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        learner = torch.nn.SyncBatchNorm.convert_sync_batchnorm(learner)
    optimiser = make_optimiser(learner, parameters)
    model, optimiser = accelerator.prepare(learner, optimiser)
    base_rates = [group["lr"] for group in optimiser.param_groups]
    path = Path(folder) / CHECKPOINT
    log = _LossLog(
        every=max(1, parameters.iterations // HISTORY_POINTS), lag=0 if accelerator.device.type == "cpu" else 20
    )
    start, log.history, log.window, curve, seconds = _resume(path, accelerator, learner, optimiser)
    evaluate_at = {parameters.iterations * (i + 1) // parameters.evaluations for i in range(parameters.evaluations - 1)}
    batches = training_batches(split, augmentation=parameters.augmentation, crop_size=parameters.crop_size,
                               batch_size=parameters.batch_size, seed=seed, start=start, stop=parameters.iterations,
                               repeats=repeats, rank=accelerator.process_index, world=accelerator.num_processes,
                               workers=workers, pin_memory=accelerator.device.type == "cuda")  # fmt: skip
    bar = tqdm(batches, initial=start, total=parameters.iterations, desc=description, unit="it",
               disable=not (accelerator.is_main_process and SHOW_PROGRESS))  # fmt: skip
    learner.train()
    saved_at = time.monotonic()
    began = saved_at - seconds
    try:
        for iteration, batch in enumerate(bar, start):
            for group, rate in zip(optimiser.param_groups, base_rates, strict=True):
                group["lr"] = rate * (1 - iteration / parameters.iterations) ** group["power"]
            terms = _step(
                model,
                optimiser,
                accelerator,
                batch,
                _seeded_step(seed, iteration, parameters.iterations, batch, accelerator),
            )
            log.add(iteration, optimiser.param_groups[-1]["lr"], accelerator.reduce(terms, "mean"), batch.sources)
            if iteration + 1 in evaluate_at and evaluate is not None:
                curve.append({"iteration": iteration + 1, **evaluate(learner)})
            if time.monotonic() - saved_at > CHECKPOINT_SECONDS and accelerator.is_main_process:
                log.flush()
                _save(path, accelerator, learner, optimiser, iteration + 1, log, curve, time.monotonic() - began)
                saved_at = time.monotonic()
        log.flush()
    except KeyboardInterrupt:
        kept = f"The last checkpoint is kept in {folder}: the same command goes on from there."
        none = "There is no checkpoint yet: the same command starts from the beginning."
        print(f"\nInterrupted. {kept if path.exists() else none}")
        raise
    except InputError:  # says what is wrong by itself
        raise
    except ValueError as error:
        if parameters.batch_size > accelerator.num_processes:
            raise
        raise InputError(
            f"batch_size: one image a process is too few for this network's batch normalisation ({error}). "
            "Choose 2 a process or more."
        ) from error
    return log.history, curve, time.monotonic() - began


def _seeded_step(seed: int, iteration: int, iterations: int, batch: Batch, accelerator: Accelerator) -> Step:
    """Seed this iteration: dropout differs between processes, a method's shared draws do not."""
    shared, private = np.random.SeedSequence([seed, iteration]).spawn(2)
    own = int(private.spawn(accelerator.process_index + 1)[-1].generate_state(1)[0])
    torch.default_generator.manual_seed(own)  # torch.manual_seed takes milliseconds for devices that are not in use
    if accelerator.device.type == "cuda":
        torch.cuda.manual_seed(own)
    generator = torch.Generator().manual_seed(int(shared.generate_state(1)[0]))
    return Step(iteration, iterations, generator, batch)


def _step(
    model: torch.nn.Module, optimiser: torch.optim.Optimizer, accelerator: Accelerator, batch: Batch, step: Step
) -> dict[str, Tensor]:
    """One optimiser step; returns the detached terms of the loss."""
    batch = step.batch = batch.to(accelerator.device, non_blocking=True)
    with accelerator.autocast():
        terms = model(batch, step)
    model.zero_grad()
    accelerator.backward(sum(terms.values()))
    optimiser.step()
    return {name: value.detach() for name, value in terms.items()}


class _LossLog:
    """Loss terms averaged over windows of iterations; stops a run whose loss is not finite.

    On a GPU the values are read `lag` iterations late, so that the accelerator is not waited for at each step.
    """

    def __init__(self, *, every: int, lag: int):
        self.every, self.lag = every, lag
        self.pending: list[tuple[int, float, dict[str, Tensor], Sequence[str]]] = []  # not read from the device yet
        self.window: list[dict[str, float]] = []  # read, not averaged yet
        self.history: list[dict[str, float]] = []

    def add(self, iteration: int, learning_rate: float, terms: dict[str, Tensor], sources: Sequence[str]) -> None:
        self.pending.append((iteration, learning_rate, terms, sources))
        if len(self.pending) > self.lag:
            self.flush()

    def flush(self) -> None:
        for iteration, learning_rate, terms, sources in self.pending:
            values = {name: value.item() for name, value in terms.items()}
            for name, value in values.items():
                if not np.isfinite(value):
                    raise FloatingPointError(
                        f"The loss term '{name}' is {value} at iteration {iteration}. "
                        f"The batch: {', '.join(sources)}. "
                        "Lower learning_rate, or use precision float32, and look at these files."
                    )
            self.window.append(values)
            if (iteration + 1) % self.every == 0:
                names = sorted({name for values in self.window for name in values})
                means = {name: sum(v.get(name, 0.0) for v in self.window) / len(self.window) for name in names}
                self.history.append(
                    {"iteration": iteration + 1, "learning_rate": learning_rate, "loss": sum(means.values()), **means}
                )
                self.window.clear()
        self.pending.clear()


def _save(
    path: Path, accelerator: Accelerator, learner: Learner, optimiser, iteration: int, log: _LossLog, curve: list,
    seconds: float,
) -> None:  # fmt: skip
    """Write the checkpoint atomically: the previous one stays until the new one is whole."""
    scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
    content = {"learner": learner.state_dict(), "optimiser": optimiser.state_dict(), "scaler": scaler,
               "iteration": iteration, "history": log.history, "window": log.window, "curve": curve,
               "seconds": seconds}  # fmt: skip
    stream = io.BytesIO()
    torch.save(content, stream)
    write_atomically(path, stream.getvalue())


def _resume(path: Path, accelerator: Accelerator, learner: Learner, optimiser) -> tuple[int, list, list, list, float]:
    """Where to start: (iteration, history, window, curve, seconds), with the state loaded if there is a checkpoint."""
    if not path.exists():
        return 0, [], [], [], 0.0
    remedy = "Delete it; this run then starts from its beginning."
    try:
        # weights_only: nothing is unpickled that could run code
        content = torch.load(path, map_location="cpu", weights_only=True)
        rest = tuple(content[name] for name in ("iteration", "history", "window", "curve", "seconds"))
    except (OSError, EOFError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}). {remedy}") from error
    try:
        learner.load_state_dict(content["learner"])
        optimiser.load_state_dict(content["optimiser"])
        if content["scaler"] is not None:
            accelerator.scaler.load_state_dict(content["scaler"])
    except (KeyError, ValueError, RuntimeError) as error:
        found = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is of another network or version of the code ({found}). {remedy}") from error
    return rest
