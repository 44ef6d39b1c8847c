"""Seconds and memory of a loss over many classes, forward and backward: dense, k nearest, k random, exact in chunks.

python -m segrepro.analysis.scaling      measures C = 19, 150, 1284, 10 000 and keeps it in data/results/scaling.json
"""

import argparse
import json
import platform
import statistics
import time
import weakref
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from tqdm.auto import tqdm

from segrepro.errors import InputError
from segrepro.files import RESULTS, write_atomically
from segrepro.neighbours import nearest
from segrepro.papers.essnet import random_classes, truncated_cross_entropy
from segrepro.parameters import find_device
from segrepro.progress import SHOW_PROGRESS
from segrepro.softmax import exact_cross_entropy

PIXELS, CHANNELS, NEIGHBOURS, TAU = 16_384, 12, 7, 0.05
CLASSES = (19, 150, 1284, 10_000)
SCALING = RESULTS / "scaling.json"


def dense(x: Tensor, mu: Tensor, y: Tensor) -> Tensor:
    """The cross-entropy as one would write it, with all N x C logits."""
    return cross_entropy((2 * x @ mu.T - mu.square().sum(1)) / TAU, y, reduction="sum")


def nearest_by(search: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """ESSNet's loss with the neighbours searched by "faiss" or "torch"."""
    return lambda x, mu, y: truncated_cross_entropy(x, mu, y, nearest(x, mu, NEIGHBOURS, search), TAU).sum()


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "dense": dense,
    "nearest": nearest_by("auto"),
    "nearest, torch": nearest_by("torch"),
    "random": lambda x, mu, y: truncated_cross_entropy(x, mu, y, random_classes(y, NEIGHBOURS, len(mu)), TAU).sum(),
    "exact": lambda x, mu, y: exact_cross_entropy(x, mu, y, TAU),
}


def unit_vectors(pixels: int, classes: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Random x (N, d) and mu (C, d) of unit length that want a gradient, and y (N,)."""
    generator = torch.Generator().manual_seed(0)
    x, mu = (normalize(torch.randn(n, CHANNELS, generator=generator), dim=1) for n in (pixels, classes))
    y = torch.randint(0, classes, (pixels,), generator=generator)
    return x.to(device).requires_grad_(), mu.to(device).requires_grad_(), y.to(device)


class _Held(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside, while they live; `most` is the peak."""

    def __init__(self):
        super().__init__()
        self.alive: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        given = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for storage in (leaf.untyped_storage() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)):
            if id(storage) not in self.alive and storage.data_ptr() not in given:  # neither a view nor in place
                self.alive[id(storage)] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, id(storage))
        self.most = max(self.most, sum(self.alive.values()))
        return outputs


def extra_bytes(loss: Callable[..., Tensor], x: Tensor, mu: Tensor, y: Tensor) -> int:
    """The most memory that the tensors of forward and backward hold at once, beyond the inputs and their gradients.

    On a GPU as its allocator counts it, so with the scratch memory of single operations.
    """
    gradients = x.nbytes + mu.nbytes
    if x.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(x.device)
        before = torch.cuda.memory_allocated(x.device)
        torch.autograd.grad(loss(x, mu, y), (x, mu))
        return torch.cuda.max_memory_allocated(x.device) - before - gradients
    with _Held() as held:
        torch.autograd.grad(loss(x, mu, y), (x, mu))
    return held.most - gradients


def seconds(loss: Callable[..., Tensor], x: Tensor, mu: Tensor, y: Tensor) -> float:
    """Wall-clock time of one forward and backward pass."""
    began = time.perf_counter()
    torch.autograd.grad(loss(x, mu, y), (x, mu))
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - began


def measure(device: str = "cpu", pixels: int = PIXELS, classes: tuple[int, ...] = CLASSES, rounds: int = 5) -> list:
    """One row a loss and number of classes: the median time over rounds in which the losses take turns, and the memory.

    The first round warms up and is not counted.
    """
    target, rows = find_device(device), []
    bar = tqdm(total=len(classes) * (rounds + 2), desc="losses", leave=False, disable=not SHOW_PROGRESS)
    for count in classes:
        inputs = unit_vectors(pixels, count, target)
        memory = {name: extra_bytes(loss, *inputs) for name, loss in LOSSES.items()}
        bar.update()
        times: dict[str, list[float]] = {name: [] for name in LOSSES}
        for _ in range(rounds + 1):
            for name, loss in LOSSES.items():
                times[name].append(seconds(loss, *inputs))
            bar.update()
        rows += [
            {"loss": name, "classes": count, "pixels": pixels, "milliseconds": 1e3 * statistics.median(times[name][1:]),
             "extra MiB": memory[name] / 2**20, **_machine(target)}
            for name in LOSSES
        ]  # fmt: skip
    bar.close()
    return rows


def _machine(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"device": device.type, "machine": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def as_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Milliseconds and extra MiB, a row a loss, a column a number of classes."""
    return pd.DataFrame(rows).pivot(index="loss", columns="classes", values=["milliseconds", "extra MiB"]).round(1)


def recorded() -> pd.DataFrame:
    """The kept measurements, one row each. Raises InputError if there are none."""
    if not SCALING.exists():
        raise InputError(f"{SCALING} is missing: measure it with python -m segrepro.analysis.scaling")
    return pd.DataFrame(json.loads(SCALING.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m segrepro.analysis.scaling", description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto (default: cpu)")
    parser.add_argument("--pixels", type=int, default=PIXELS, help=f"labelled pixels (default: {PIXELS})")
    options = parser.parse_args()
    rows = measure(options.device, options.pixels, CLASSES)
    before = json.loads(SCALING.read_text()) if SCALING.exists() else []
    kept = [row for row in before if (row["device"], row["pixels"]) != (rows[0]["device"], options.pixels)]
    write_atomically(SCALING, json.dumps(kept + rows, indent=1) + "\n")
    print(as_table(rows).to_string())


if __name__ == "__main__":
    main()
