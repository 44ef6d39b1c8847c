"""Seconds and memory of a loss over many classes, forward and backward: dense, k nearest, k random, exact in chunks;
and of a prediction: the largest of all logits against the nearest class found by search.

python -m segrepro.analysis.scaling      measures C = 19, 150, 1284, 10 000 and keeps it in data/results/scaling.json

Seconds are of PIXELS pixels, the same for all. Memory is that of the paper's batch, 10 images of 512 x 512, where the
dense loss over 10 000 classes takes hundreds of GiB: it is counted at two smaller numbers of pixels and drawn on in a
straight line, as which it grows once the chunks are full (`extra_bytes_at`).
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

from segrepro import neighbours, softmax
from segrepro.errors import InputError, explained
from segrepro.files import RESULTS, write_atomically
from segrepro.neighbours import faiss_serves, nearest
from segrepro.papers.essnet import random_classes, truncated_cross_entropy
from segrepro.parameters import find_device
from segrepro.progress import SHOW_PROGRESS
from segrepro.softmax import exact_cross_entropy

PIXELS, CHANNELS, NEIGHBOURS, TAU = 16_384, 12, 7, 0.05
CLASSES = (19, 150, 1284, 10_000)
BATCH = 10 * 512 * 512  # pixels; of the paper's batches on ADE20K and COCO+LVIS
CHUNK = max(neighbours.ENTRIES, *softmax.ENTRIES.values())  # pixels x classes at a time
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
PREDICTIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "dense": torch.no_grad()(lambda x, mu, y: torch.addmm(-mu.square().sum(1), x, mu.T, alpha=2).argmax(1)),
    "nearest": lambda x, mu, y: nearest(x, mu, 1, "auto")[:, 0],
    "nearest, torch": lambda x, mu, y: nearest(x, mu, 1, "torch")[:, 0],
}
PASSES = {"training": LOSSES, "prediction": PREDICTIONS}


def unit_vectors(pixels: int, classes: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Random x (N, d) and mu (C, d) of unit length that want a gradient, and y (N,)."""
    generator = torch.Generator().manual_seed(0)
    x, mu = (normalize(torch.randn(n, CHANNELS, generator=generator), dim=1) for n in (pixels, classes))
    y = torch.randint(0, classes, (pixels,), generator=generator)
    return x.to(device).requires_grad_(), mu.to(device).requires_grad_(), y.to(device)


class Held(TorchDispatchMode):
    """Counts the bytes of all tensors but the inputs that are seen inside, while they live; `most` is the peak."""

    def __init__(self, *inputs: Tensor):
        super().__init__()
        self.inputs = {id(storage): storage for storage in (tensor.untyped_storage() for tensor in inputs)}
        self.alive: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        # Arguments too: what another library made, such as faiss's neighbours, is first seen as one.
        for storage in (t.untyped_storage() for t in tree_leaves((args, kwargs, outputs)) if isinstance(t, Tensor)):
            if id(storage) not in self.inputs and id(storage) not in self.alive:
                self.alive[id(storage)] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, id(storage))
        self.most = max(self.most, self.now)
        return outputs

    @property
    def now(self) -> int:
        """Bytes held at this moment."""
        return sum(self.alive.values())


def _run(function: Callable[..., Tensor], x: Tensor, mu: Tensor, y: Tensor) -> int:
    """Forward, and backward where there is a gradient; the bytes of the gradients."""
    value = function(x, mu, y)
    return sum(g.nbytes for g in torch.autograd.grad(value, (x, mu))) if value.requires_grad else 0


def extra_bytes(function: Callable[..., Tensor], x: Tensor, mu: Tensor, y: Tensor) -> int:
    """The most memory that the tensors of forward and backward hold at once, beyond the inputs and their gradients.

    On a GPU as its allocator counts it, so with the scratch memory of single operations.
    """
    if x.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(x.device)
        before = torch.cuda.memory_allocated(x.device)
        gradients = _run(function, x, mu, y)
        return torch.cuda.max_memory_allocated(x.device) - before - gradients
    with Held(x, mu, y) as held:
        gradients = _run(function, x, mu, y)
    return held.most - gradients


def extra_bytes_at(pixels: int, function: Callable[..., Tensor], classes: int, device: torch.device) -> float:
    """`extra_bytes` of so many pixels, on the straight line through two numbers of pixels at which it is counted.

    Both are enough to fill the chunks in which neighbours are searched and the exact loss is computed, and for what
    grows with the pixels to be more than what does not.
    """
    few = max(PIXELS, CHUNK // classes)
    at_few, at_twice = (extra_bytes(function, *unit_vectors(n, classes, device)) for n in (few, 2 * few))
    return at_few + (at_twice - at_few) / few * (pixels - few)


def seconds(function: Callable[..., Tensor], x: Tensor, mu: Tensor, y: Tensor) -> float:
    """Wall-clock time of one forward pass, and backward where there is a gradient."""
    began = time.perf_counter()
    _run(function, x, mu, y)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - began


def measure(device: str = "cpu", pixels: int = PIXELS, classes: tuple[int, ...] = CLASSES, rounds: int = 5) -> list:
    """One row a loss or prediction and number of classes: the median time over rounds in which they take turns, and the
    memory at BATCH pixels.

    The first round warms up and is not counted.
    """
    target, rows = find_device(device), []
    functions = {(kind, name): f for kind, named in PASSES.items() for name, f in named.items()}
    bar = tqdm(total=len(classes) * (rounds + 2), desc="losses", leave=False, disable=not SHOW_PROGRESS)
    for count in classes:
        memory = {key: extra_bytes_at(BATCH, function, count, target) for key, function in functions.items()}
        bar.update()
        inputs = unit_vectors(pixels, count, target)
        times: dict[tuple[str, str], list[float]] = {key: [] for key in functions}
        for _ in range(rounds + 1):
            for key, function in functions.items():
                times[key].append(seconds(function, *inputs))
            bar.update()
        rows += [
            {"pass": kind, "loss": name, "classes": count, "pixels": pixels,
             "milliseconds": 1e3 * statistics.median(times[kind, name][1:]), "memory pixels": BATCH,
             "extra MiB": memory[kind, name] / 2**20, **_machine(target)}
            for kind, name in functions
        ]  # fmt: skip
    bar.close()
    return rows


def _machine(device: torch.device) -> dict[str, Any]:
    """What a row was measured on; without faiss the search is torch's throughout."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"device": device.type, "machine": name, "threads": torch.get_num_threads(), "torch": torch.__version__,
            "search": "faiss" if faiss_serves(device) else "torch"}  # fmt: skip


def as_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Milliseconds and extra MiB of one device and number of pixels, a row a loss or prediction, a column a number of
    classes.
    """
    table = pd.DataFrame(rows)
    return table.pivot(index=["pass", "loss"], columns="classes", values=["milliseconds", "extra MiB"]).round(1)


def recorded() -> pd.DataFrame:
    """The kept measurements, one row each. Raises InputError if there are none."""
    if not SCALING.exists():
        raise InputError(f"{SCALING} is missing: measure it with .venv/bin/python -m segrepro.analysis.scaling")
    return pd.DataFrame(json.loads(SCALING.read_text()))


def of_device(device: str) -> pd.DataFrame:
    """The kept rows of one type of device, those of the most pixels. Prints how to record them if there are none.

    Raises InputError for anything but cpu or cuda.
    """
    if device not in ("cpu", "cuda"):
        raise InputError(f"device: '{device}' is no type of device. Choose cpu or cuda.")
    rows = recorded() if SCALING.exists() else pd.DataFrame(columns=["device", "pixels", "pass"])
    rows = rows[rows["device"] == device]
    if rows.empty:
        command = f".venv/bin/python -m segrepro.analysis.scaling --device {device}"
        print(f"Not recorded on {device}: measure it with {command}")
    return rows[rows["pixels"] == rows["pixels"].max()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m segrepro.analysis.scaling", description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto (default: cpu)")
    parser.add_argument("--pixels", type=int, default=PIXELS, help=f"labelled pixels to time (default: {PIXELS})")
    options = parser.parse_args()
    rows = measure(options.device, options.pixels, CLASSES)
    before = json.loads(SCALING.read_text()) if SCALING.exists() else []
    kept = [row for row in before if (row["device"], row["pixels"]) != (rows[0]["device"], options.pixels)]
    write_atomically(SCALING, json.dumps(kept + rows, indent=1) + "\n")
    print(as_table(rows).to_string())


if __name__ == "__main__":
    with explained():
        main()
