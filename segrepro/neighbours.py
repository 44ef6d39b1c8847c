"""Exact nearest-neighbour search behind one function: faiss where it can serve the device, plain torch everywhere."""

import functools
import importlib.util

import torch
from torch import Tensor

from segrepro.errors import InputError

SEARCHES = ("auto", "faiss", "torch")
ENTRIES = 2**20  # distances that the search in torch holds at a time


def nearest(x: Tensor, mu: Tensor, k: int, search: str = "auto") -> Tensor:
    """Indices (N, min(k, C)) int64 of the vectors mu (C, d) nearest to each x (N, d), the nearest first; no gradient.

    search: "faiss", "torch", or "auto" (faiss where it is installed for the device, on float32). Both give the same
    neighbours up to ties. Raises InputError for k < 1, or if faiss is asked for and cannot serve the device.
    """
    if k < 1:
        raise InputError(f"k: {k} neighbours are none; give a whole number from 1")
    if search not in SEARCHES:
        raise InputError(f"search: unknown '{search}'; valid: {', '.join(SEARCHES)}")
    x, mu, k = x.detach(), mu.detach(), min(k, len(mu))
    if search == "faiss" and not faiss_serves(x.device):
        raise InputError(
            f"search: no faiss for device '{x.device.type}' is installed; use search=torch, or install "
            f"segrepro[{'faiss-gpu' if x.device.type == 'cuda' else 'faiss-cpu'}]"
        )
    if search == "faiss" or (search == "auto" and x.dtype == torch.float32 and faiss_serves(x.device)):
        return _with_faiss(x.float().contiguous(), mu.float().contiguous(), k)
    return _with_torch(x, mu, k)


@functools.cache
def faiss_serves(device: torch.device) -> bool:
    """Whether faiss is installed and can search on that device."""
    if importlib.util.find_spec("faiss") is None:
        return False
    import faiss

    return device.type == "cpu" or (device.type == "cuda" and faiss.get_num_gpus() > 0)


def _with_faiss(x: Tensor, mu: Tensor, k: int) -> Tensor:
    import faiss

    if x.device.type == "cpu":
        found = torch.from_numpy(faiss.knn(x.numpy(), mu.numpy(), k)[1])
    else:
        import faiss.contrib.torch_utils  # lets knn_gpu take tensors where they lie

        device = torch.cuda.current_device() if x.device.index is None else x.device.index
        found = faiss.knn_gpu(_gpu_resources(device), x, mu, k, device=device)[1]
    return found.clamp_(min=0)  # faiss marks what it cannot find, as with vectors that are not finite, with -1


@functools.cache
def _gpu_resources(device: int):
    """Scratch memory of faiss, kept for all searches on a GPU."""
    import faiss

    return faiss.StandardGpuResources()


def _with_torch(x: Tensor, mu: Tensor, k: int) -> Tensor:
    """|x - mu|^2 without |x|^2, which is the same for all mu, a few rows of x at a time."""
    rows = max(1, ENTRIES // len(mu))
    lengths = mu.square().sum(1)
    found = [torch.addmm(lengths, part, mu.T, alpha=-2).topk(k, dim=1, largest=False)[1] for part in x.split(rows)]
    return torch.cat(found)
