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


def gather_over_processes(x: Tensor) -> Tensor:
    """Every process's `x` (..., B), of one shape everywhere, one after the other (..., B times processes), without a
    gradient.
    """
    x = x.detach()
    if not is_distributed():
        return x
    gathered = [torch.empty_like(x) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(gathered, x.contiguous())
    return torch.cat(gathered, dim=-1)


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if is_distributed():
        torch.distributed.barrier()


def leave_group() -> None:
    """For the end of a script: part from the other processes. One that ends while joined is now and then aborted by the
    threads that still listen to them, and its launcher calls that a failure.
    """
    if is_distributed():
        torch.distributed.destroy_process_group()
