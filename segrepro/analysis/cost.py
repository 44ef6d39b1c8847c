"""What a method's training step costs, as a ratio to plain training within one run.

python -m segrepro.analysis.cost      measures the networks below and keeps the ratios in data/results/costs.json
"""

import json
import platform
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from segrepro import models, registry
from segrepro.datasets.batches import Batch, training_batches
from segrepro.datasets.cityscapes_classes import CITYSCAPES_CLASSES
from segrepro.datasets.statistics import Statistics, class_statistics
from segrepro.datasets.synthetic import load
from segrepro.errors import InputError
from segrepro.files import RESULTS, write_atomically
from segrepro.methods import Step
from segrepro.parameters import find_device

SIZE, BATCH = (128, 256), 8
NETWORKS = (("deeplabv3plus", "resnet50"), ("deeplabv3plus", "tf_efficientnet_lite0"))
METHODS = ("dropclass", "region_rebalance", "fbnet", "essnet")
COSTS = RESULTS / "costs.json"


def step_seconds(
    architecture: str, encoder: str, names: Sequence[str], *, rounds: int = 7, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Seconds of one training step (forward, loss, backward, optimiser) of each method: name -> (rounds,).

    The methods take turns in every round, so that a drift of the machine hits all alike. The step is the one in the
    middle of training, with a class dropped or not as drawn.
    """
    device = find_device(device)
    data = load(size=SIZE, train_scenes=BATCH, val_scenes=1)
    statistics = class_statistics(data.train)
    (batch,) = training_batches(
        data.train, augmentation="none", crop_size=None, batch_size=BATCH, seed=0, start=0, stop=1
    )
    batch = batch.to(device)
    learners = {}
    for name in names:
        network = models.build(architecture, encoder, len(data.classes), pretrained=False)
        learner = (
            registry.build_learner(network, data.classes, statistics, registry.own_parameters([name], {}))
            .to(device)
            .train()
        )
        learners[name] = learner, torch.optim.SGD(learner.parameters(), lr=1e-3, momentum=0.9)

    def seconds(name: str, turn: int) -> float:
        learner, optimiser = learners[name]
        step = Step(50, 100, torch.Generator().manual_seed(turn), batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        loss = sum(learner(batch, step).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    turns = tqdm(range(rounds + 1), desc=f"{architecture}/{encoder}", leave=False)
    times = [{name: seconds(name, turn) for name in names} for turn in turns]
    return {name: np.array([turn[name] for turn in times[1:]]) for name in names}  # the first round warms up


def flops(
    architecture: str, encoder: str, names: Sequence[str], size: tuple[int, int], *, training: bool = False,
    output_stride: int | None = None,
) -> int:  # fmt: skip
    """Floating-point operations of one image of `size` through a network of 19 classes with the named methods.

    Counted as PyTorch does, two for each multiply-add of convolutions and matrix products and none for the rest.
    training: up to the losses, not just to the prediction. Nothing is computed, so it takes no time and no memory.
    """
    classes = CITYSCAPES_CLASSES
    statistics = Statistics(np.ones(len(classes), dtype=np.int64), np.ones((1, len(classes)), dtype=bool))
    with torch.device("meta"):
        network = models.build(architecture, encoder, len(classes), output_stride=output_stride, pretrained=False)
        learner = registry.build_learner(network, classes, statistics, registry.own_parameters(names, {})).eval()
        batch = Batch(torch.zeros(1, 3, *size, dtype=torch.uint8), torch.zeros(1, *size, dtype=torch.int64),
                      torch.zeros(1), [""])  # fmt: skip
    with FlopCounterMode(display=False) as counter:
        if training:
            learner(batch, Step(0, 1, torch.Generator(), batch))
        else:
            learner.predict(batch.images)
    return counter.get_total_flops()


def measure(device: str = "cpu") -> list[dict[str, Any]]:
    """Median ratio of each method's step to the plain step, pair by pair, with its quartiles."""
    rows = []
    for architecture, encoder in NETWORKS:
        seconds = step_seconds(architecture, encoder, ["plain", *METHODS], device=device)
        for name in METHODS:
            low, median, high = np.percentile(seconds[name] / seconds["plain"], [25, 50, 75])
            rows.append(
                {
                    "network": f"{architecture}/{encoder}",
                    "size": list(SIZE),
                    "batch": BATCH,
                    "method": name,
                    "device": device,
                    "machine": platform.machine(),
                    "threads": torch.get_num_threads(),
                    "torch": torch.__version__,
                    "ratio": round(median, 3),
                    "quartiles": [round(float(low), 3), round(float(high), 3)],
                }
            )
    return rows


def recorded() -> pd.DataFrame:
    """The kept ratios, one row a network and method. Raises InputError if they were never measured."""
    if not COSTS.exists():
        raise InputError(f"{COSTS} is missing: measure it with python -m segrepro.analysis.cost")
    table = pd.DataFrame(json.loads(COSTS.read_text())).set_index(["network", "method"])
    return table[["ratio", "quartiles", "device", "threads", "torch"]]


if __name__ == "__main__":
    found = measure()
    write_atomically(COSTS, json.dumps(found, indent=1) + "\n")
    for row in found:
        print(
            f"{row['network']}: a {row['method']} step takes {row['ratio']} times a plain one "
            f"(quartiles {row['quartiles']})"
        )
