"""Where a run comes from: its code, its libraries, its machine. Kept in each record."""

import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from segrepro.files import ROOT

LIBRARIES = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "accelerate", "numpy")


def source_hash() -> str:
    """Hash of all code of this package."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


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
