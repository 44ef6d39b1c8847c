"""Training in several processes (`torchrun`, `accelerate launch`). One process is the case in which nothing is
exchanged.
"""

import os

import torch.distributed
from torch import Tensor


def is_distributed() -> bool:
    """Whether processes have been joined."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are, also before they are joined: launchers say so in the
    environment.
    """
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    """Whether this is the process that writes files and shows progress."""
    return rank_and_world()[0] == 0


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of every process's `x`, without a gradient."""
    x = x.detach().clone()
    if is_distributed():
        torch.distributed.all_reduce(x)
    return x


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if is_distributed():
        torch.distributed.barrier()
