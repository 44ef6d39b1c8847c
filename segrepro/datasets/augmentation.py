"""Random variation of training samples with torchvision's transforms v2: image and mask always together."""

from typing import get_args

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from segrepro.datasets.base import IGNORE
from segrepro.errors import InputError
from segrepro.parameters import Training

KINDS = get_args(Training.model_fields["augmentation"].annotation)
FILL = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE}
SCALES = (0.5, 2.0)
SHIFT = 4  # pixels


class Augmentation:
    """A seeded random change of image and mask.

    none: a random crop.
    flip: a random crop, mirrored half the time.
    pad_crop: shifted by up to 4 pixels, mirrored half the time (what is usual on CIFAR-10).
    scale_crop: resized by a factor of 0.5 to 2, cropped, mirrored, colours varied.
    resized_crop: a quarter to the whole of the area, 1.1 to 1.6 times as wide as high, resized to the crop's size,
        mirrored, colours varied.
    Where a crop reaches beyond the image it is black and IGNORE. crop_size: (height, width); None is each image's own.
    The label of a whole image stays as it is.
    """

    def __init__(self, kind: str, crop_size: tuple[int, int] | None = None):
        """Raises InputError for an unknown kind."""
        if kind not in KINDS:
            raise InputError(f"augmentation: there is no '{kind}'. Choose one of: {', '.join(KINDS)}.")
        self.kind, self.crop_size = kind, crop_size
        self._mirror, self._colours = v2.RandomHorizontalFlip(), v2.ColorJitter(0.3, 0.3, 0.3)

    def __call__(self, image: np.ndarray, labels: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
        """Image (H, W, 3) uint8 and labels (H, W) int16 -> (3, h, w) uint8 and (h, w) int16, decided by the seed."""
        if labels.shape != image.shape[:2]:
            blank = np.zeros(image.shape[:2], dtype=labels.dtype)
            return self(image, blank, seed)[0], torch.from_numpy(labels)
        sample = tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)), tv_tensors.Mask(torch.from_numpy(labels))
        with torch.random.fork_rng(devices=[]):  # transforms draw from the global generator
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the accelerator too
            sample = self._crop(*sample)
            if self.kind != "none":
                sample = self._mirror(*sample)
            if self.kind in ("scale_crop", "resized_crop"):
                sample = self._colours(*sample)
        return sample[0].as_subclass(Tensor).contiguous(), sample[1].as_subclass(Tensor).contiguous()

    def pads(self, size: tuple[int, int]) -> bool:
        """Whether an image of this (height, width) is smaller than the crop and so is padded."""
        crop = self.crop_size if self.kind != "resized_crop" else None
        return crop is not None and (size[0] < crop[0] or size[1] < crop[1])

    def _crop(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        size = self.crop_size or tuple(labels.shape)
        if self.kind == "resized_crop":
            return v2.RandomResizedCrop(size, scale=(0.25, 1.0), ratio=(1.1, 1.6))(image, labels)
        if self.kind == "pad_crop":
            return v2.RandomCrop(size, padding=SHIFT, pad_if_needed=True, fill=FILL)(image, labels)
        if self.kind != "scale_crop":
            return v2.RandomCrop(size, pad_if_needed=True, fill=FILL)(image, labels)
        # Cropping the window that becomes `size` and then resizing it is the same as the other way round, without
        # enlarging what the crop throws away.
        scale = torch.empty(()).uniform_(*SCALES).item()
        window = [max(1, round(side / scale)) for side in size]
        return v2.Resize(size)(*v2.RandomCrop(window, pad_if_needed=True, fill=FILL)(image, labels))
