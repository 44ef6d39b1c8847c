"""What a method's training step costs, as a ratio to plain training within one run.

python -m segrepro.analysis.cost      measures the networks below and keeps the ratios in data/results/costs.json
"""

import json
import platform
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from segrepro import ledger, models, registry
from segrepro.datasets import colored_mnist, synthetic
from segrepro.datasets.base import Dataset
from segrepro.datasets.batches import training_batches
from segrepro.datasets.statistics import Statistics, class_statistics
from segrepro.errors import InputError, explained
from segrepro.files import RESULTS, write_atomically
from segrepro.methods import Learner, Step
from segrepro.parameters import Training, find_device
from segrepro.progress import SHOW_PROGRESS
from segrepro.training import make_optimiser

COSTS = RESULTS / "costs.json"


def scenes(size: tuple[int, int] = (128, 256), count: int = 8) -> Dataset:
    """Generated scenes, just enough for a batch."""
    return synthetic.load(size=size, train_scenes=count, val_scenes=1)


def digits(count: int = 60_000) -> Dataset:
    """Noise in the form of Colored MNIST: a step takes as long on it."""
    random = np.random.default_rng(0)
    grey, labels = random.integers(256, size=(count, 28, 28), dtype=np.uint8), np.arange(count) % 10
    splits = {"train": (grey, labels), "val": (grey[:100], labels[:100])}
    return colored_mnist.colored("noise", splits, colored_mnist.DEFAULTS, aligned_ratio=0.99, severity=3, swap=False)


# What is timed: the data, how the network is trained, whose steps, and how often. Scenes are label maps; digits are
# whole images, as many as in MNIST, since LfF keeps an average of each.
ON_SCENES = ("dropclass", "region_rebalance", "fbnet", "essnet")
ON_DIGITS = ("lff", "lff_authors", "group_dro", "repair")
TIMED = (
    (scenes, Training(architecture="deeplabv3plus", encoder="resnet50", pretrained=False), ON_SCENES, 7),
    (scenes, Training(architecture="deeplabv3plus", encoder="tf_efficientnet_lite0", pretrained=False), ON_SCENES, 7),
    (digits, Training(**colored_mnist.DEFAULTS), ON_DIGITS, 300),
)


def step_seconds(
    data: Dataset, parameters: Training, names: Sequence[str], *, rounds: int = 7, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Seconds of one training step (forward, loss, backward, optimiser) of each configuration: name -> (rounds,).

    They take turns in every round, so that a drift of the machine hits all alike. The step is one in the middle of
    training, on one batch, with a class dropped or not as drawn.
    """
    device = find_device(device)
    with warnings.catch_warnings():  # a batch's worth of scenes lacks classes
        warnings.simplefilter("ignore", UserWarning)
        statistics = class_statistics(data.train)
        learners = {name: _learner(data, parameters, name, statistics).to(device).train() for name in names}
    (batch,) = training_batches(data.train, augmentation="none", crop_size=None, batch_size=parameters.batch_size,
                                seed=0, start=0, stop=1)  # fmt: skip
    batch = batch.to(device)
    optimisers = {name: make_optimiser(learner, parameters) for name, learner in learners.items()}

    def seconds(name: str, turn: int) -> float:
        step = Step(50, 100, torch.Generator().manual_seed(turn), batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        loss = sum(learners[name](batch, step).values())
        learners[name].zero_grad()
        loss.backward()
        optimisers[name].step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    turns = tqdm(
        range(rounds + 1),
        desc=f"{parameters.architecture}/{parameters.encoder}",
        leave=False,
        disable=not SHOW_PROGRESS,
    )
    times = [{name: seconds(name, turn) for name in names} for turn in turns]
    return {name: np.array([turn[name] for turn in times[1:]]) for name in names}  # the first round warms up


def _learner(data: Dataset, parameters: Training, name: str, statistics: Statistics) -> Learner:
    network = models.build(
        parameters.architecture, parameters.encoder, len(data.classes), pretrained=False,
        size=data.train[0][0].shape[:2], input_divisor=parameters.input_divisor,
    )  # fmt: skip
    chosen = ledger.configuration(name)
    own = registry.own_parameters(chosen.methods, chosen.fixed(parameters.optimiser))
    return registry.build_learner(network, data.classes, statistics, own).to(memory_format=torch.channels_last)


def measure(device: str = "cpu") -> list[dict[str, Any]]:
    """Median ratio of each method's step to the plain step, turn by turn, with its quartiles; and both in ms."""
    rows = []
    for make, parameters, names, rounds in TIMED:
        data = make()
        seconds = step_seconds(data, parameters, ["plain", *names], rounds=rounds, device=device)
        for name in names:
            low, median, high = np.percentile(seconds[name] / seconds["plain"], [25, 50, 75])
            rows.append(
                {
                    "network": f"{parameters.architecture}/{parameters.encoder}",
                    "size": list(data.train[0][0].shape[:2]),
                    "batch": parameters.batch_size,
                    "method": name,
                    "device": device,
                    "machine": platform.machine(),
                    "threads": torch.get_num_threads(),
                    "torch": torch.__version__,
                    "ratio": round(median, 3),
                    "quartiles": [round(float(low), 3), round(float(high), 3)],
                    "plain ms": round(1000 * float(np.median(seconds["plain"])), 2),
                    "ms": round(1000 * float(np.median(seconds[name])), 2),
                }
            )
    return rows


def recorded() -> pd.DataFrame:
    """The kept ratios, one row a network and method. Raises InputError if they were never measured."""
    if not COSTS.exists():
        raise InputError(f"{COSTS} is missing: measure it with .venv/bin/python -m segrepro.analysis.cost")
    table = pd.DataFrame(json.loads(COSTS.read_text())).set_index(["network", "method"])
    return table[["ratio", "quartiles", "plain ms", "ms", "device", "threads", "torch"]]


if __name__ == "__main__":
    with explained():
        found = measure()
        write_atomically(COSTS, json.dumps(found, indent=1) + "\n")
    for row in found:
        print(
            f"{row['network']}: a {row['method']} step takes {row['ratio']} times a plain one "
            f"(quartiles {row['quartiles']})"
        )
