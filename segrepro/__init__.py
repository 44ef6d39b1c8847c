"""segrepro: five papers on biased and long-tailed semantic segmentation, replicated.

One paper is one module of `segrepro.papers`, one notebook and one name. Everything else is shared and knows no paper.
"""

import importlib.util
import warnings

import torch

# tqdm says so in every kernel without ipywidgets; its plain bars are what we want there.
warnings.filterwarnings("ignore", message="IProgress not found")


def _declare_torchvision_operators() -> None:
    """Let PyPI's torchvision be imported beside a CPU-only torch.

    Its compiled operators need CUDA's libraries there, and its import then fails because it registers gradients for two
    operators that were never declared. Declaring their schemas is enough: nothing here calls them. Harmless where
    the operators exist, because then this does nothing.
    """
    if torch.version.cuda is None and importlib.util.find_spec("torchvision") is not None:
        try:
            import torchvision  # noqa: F401
        except RuntimeError:
            library = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _declare_torchvision_operators.library = library  # the schemas live as long as this object


_declare_torchvision_operators()

__version__ = "0.1.0"
