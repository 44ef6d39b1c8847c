"""Where a run comes from: its code, its libraries, its machine. Kept in each record."""

import hashlib
import inspect
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from segrepro import classifiers, evaluation, methods, models, neighbours, registry, softmax, training
from segrepro.datasets import augmentation, batches
from segrepro.files import ROOT

LIBRARIES = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "accelerate", "numpy")
# beside the methods of a run, the code that decides its result
DECISIVE = (training, methods, batches, augmentation, models, classifiers, evaluation, softmax, neighbours)


def source_hash(names: Sequence[str]) -> str:
    """Hash of the code that decides the result of a run with these methods: theirs, the loop, models, batches."""
    files = sorted({*registry.source_files(names), *(inspect.getfile(module) for module in DECISIVE)})
    return hashlib.sha256(b"".join(Path(f).read_bytes() for f in files)).hexdigest()[:16]


def commit() -> str:
    """The checkout's commit, "+" if it was changed since; empty outside git."""
    try:
        text = subprocess.run(["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
                              cwd=ROOT, capture_output=True, text=True, check=True)  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return text.stdout.strip()


def versions() -> dict[str, str]:
    """Of Python and the libraries."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def hardware(device: torch.device) -> dict[str, str | int]:
    """The device, its name, and the threads of the CPU."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"device": str(device), "name": name, "threads": torch.get_num_threads()}
