"""From a split to batches: seeded order and augmentation, slices for several processes, workers, an in-memory cache."""

import functools
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from segrepro.datasets.augmentation import Augmentation
from segrepro.datasets.base import IGNORE, Images, Split
from segrepro.errors import InputError
from segrepro.progress import SHOW_PROGRESS

MEMORY_LIMIT = 4 * 2**30  # bytes of decoded samples that are kept


@dataclass(frozen=True)
class Batch:
    """images (B, 3, h, w) uint8 RGB; labels (B, h, w) int64 with IGNORE; index (B,) int64, places in the split.

    sources: what to call each sample in a message.
    """

    images: Tensor
    labels: Tensor
    index: Tensor
    sources: Sequence[str]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        moved = (tensor.to(device, non_blocking=non_blocking) for tensor in (self.images, self.labels, self.index))
        return Batch(*moved, self.sources)

    def pin_memory(self) -> "Batch":
        """The DataLoader calls this."""
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.index.pin_memory(), self.sources)


class InMemory(Split):
    """A split with every sample decoded once, up front, so that worker processes share the memory."""

    def __init__(self, split: Split):
        self.classes, self.fingerprint, self.groups = split.classes, split.fingerprint, split.groups
        self._split = split
        indices = tqdm(range(len(split)), "decoding", file=sys.stderr, delay=1, leave=False, disable=not SHOW_PROGRESS)
        self._samples = [split[index] for index in indices]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._samples[index]

    def source(self, index: int) -> str:
        return self._split.source(index)


def in_memory(split: Split) -> Split:
    """The split decoded in memory, or as it is where that would take more than MEMORY_LIMIT."""
    return split if isinstance(split, Images) or split.decoded_bytes() > MEMORY_LIMIT else InMemory(split)


@dataclass(frozen=True)
class _Order:
    """The endless stream of samples: epoch after epoch, each a permutation drawn from (seed, epoch) of all its slots.

    Without `repeats` a slot is an index; with them index i has repeats[i] slots.
    """

    slots: np.ndarray
    seed: int

    def places(self, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
        """Epoch and slots of places start..stop-1 of the stream, in one piece for each epoch."""
        length = len(self.slots)
        for epoch in range(start // length, -(-stop // length)):
            order = _permutation(self.seed, epoch, length)
            yield epoch, order[max(start - epoch * length, 0) : stop - epoch * length]

    def indices(self, start: int, stop: int) -> np.ndarray:
        """Indices (stop - start,) of these places."""
        return self.slots[np.concatenate([slots for _, slots in self.places(start, stop)])]

    def draws(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Index and augmentation's seed, drawn from (seed, epoch, slot), of these places."""
        drawn = []
        for epoch, slots in self.places(start, stop):
            for slot in map(int, slots):
                sequence = np.random.SeedSequence(self.seed, spawn_key=(epoch, slot))
                drawn.append((int(self.slots[slot]), int(sequence.generate_state(1)[0])))
        return drawn


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,))).permutation(length)


@dataclass(frozen=True)
class _Sample:
    image: Tensor  # (3, h, w) uint8
    labels: Tensor  # (h, w) int16
    index: int
    size: tuple[int, int]  # (height, width) before any change


class _Samples(torch.utils.data.Dataset):
    """What a worker does. An InputError is returned, not raised: a worker's exceptions arrive buried in a traceback."""

    def __init__(self, split: Split, change: Callable[[np.ndarray, np.ndarray, int], tuple[Tensor, Tensor]]):
        self.split, self.change = split, change

    def __getitem__(self, draw: tuple[int, int]) -> _Sample | InputError:
        index, seed = draw
        try:
            image, labels = self.split[index]
        except InputError as error:
            return error
        return _Sample(*self.change(image, labels, seed), index, image.shape[:2])

    def batch(self, samples: Sequence[_Sample | InputError]) -> tuple[Batch, list[tuple[int, int]]] | InputError:
        """The samples as one batch, and the sizes that their images had before any change."""
        if errors := [sample for sample in samples if isinstance(sample, InputError)]:
            return errors[0]
        sources, sizes = [self.split.source(sample.index) for sample in samples], [sample.size for sample in samples]
        if odd := [i for i, sample in enumerate(samples) if sample.image.shape != samples[0].image.shape]:
            return InputError(
                f"{sources[0]} (height, width {sizes[0]}) and {sources[odd[0]]} {sizes[odd[0]]} cannot be in one "
                "batch. Set crop_size: then all samples have that size."
            )
        images, labels = (torch.stack([getattr(sample, name) for sample in samples]) for name in ("image", "labels"))
        return Batch(images, labels.long(), torch.tensor([sample.index for sample in samples]), sources), sizes


def training_batches(
    split: Split,
    *,
    augmentation: str,
    crop_size: tuple[int, int] | None,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    repeats: np.ndarray | None = None,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """The batches of training iterations start..stop-1; what iteration i gets depends only on `seed` and i.

    An epoch is a permutation of the images, in which image i occurs repeats[i] times. Batches run on across the borders
    of epochs, so one may be larger than the data set. batch_size is that of all `world` processes together, of which
    process `rank` gets its slice. Warns once if images are padded because they are smaller than the crop.

    Raises InputError if batch_size is no multiple of `world`, if `repeats` leaves no image, or if a sample cannot be
    read or has another size than the rest of its batch.
    """
    if batch_size % world:
        raise InputError(
            f"batch_size {batch_size} cannot be divided among {world} processes. Choose a multiple of {world}."
        )
    slots = np.arange(len(split)) if repeats is None else np.repeat(np.arange(len(split)), repeats)
    if not len(slots):
        raise InputError(
            "No training image is ever drawn: the split is empty, or `repeats` is 0 for all of them. Add images."
        )
    order, share, augment = _Order(slots, seed), batch_size // world, Augmentation(augmentation, crop_size)
    firsts = range(start * batch_size + rank * share, stop * batch_size, batch_size)
    if isinstance(split, Images) and augmentation == "none" and crop_size is None:
        yield from (_gather(split, order.indices(first, first + share)) for first in firsts)
        return
    samples, told = _Samples(split, augment), False
    loader = DataLoader(
        samples,
        batch_sampler=(order.draws(first, first + share) for first in firsts),
        collate_fn=samples.batch,
        num_workers=workers,
        pin_memory=pin_memory and torch.cuda.is_available(),
        generator=torch.Generator(),  # otherwise the loader draws from the global one, which a resumed run restores
    )
    for result in loader:
        if isinstance(result, InputError):
            raise result
        batch, sizes = result
        padded = [i for i, size in enumerate(sizes) if augment.pads(size)]
        if padded and not told:
            warnings.warn(
                f"crop_size {crop_size} is larger than images of the training split, first "
                f"{batch.sources[padded[0]]} (height, width {sizes[padded[0]]}): they are padded with ignored pixels. "
                "A smaller crop_size avoids that.",
                stacklevel=2,
            )
            told = True
        yield batch


@dataclass(frozen=True)
class _Sources(Sequence):
    """What to call the samples, found out only when a message needs it."""

    split: Split
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> str:
        return self.split.source(int(self.indices[place]))


def _gather(split: Images, indices: np.ndarray) -> Batch:
    """Images as they are, all at once: one by one they would take longer than a small network's step."""
    images = torch.from_numpy(split.images[indices]).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(split.label_maps[indices]).long()
    return Batch(images, labels, torch.from_numpy(indices), _Sources(split, indices))


@dataclass(frozen=True)
class _PadToMultiple:
    multiple: int

    def __call__(self, image: np.ndarray, labels: np.ndarray, _seed: int) -> tuple[Tensor, Tensor]:
        height, width = labels.shape
        border = (0, -width % self.multiple, 0, -height % self.multiple)  # left, right, top, bottom
        return pad(torch.from_numpy(image).permute(2, 0, 1), border), pad(
            torch.from_numpy(labels), border, value=IGNORE
        )


def evaluation_batches(
    split: Split, *, batch_size: int, multiple: int, rank: int = 0, world: int = 1, workers: int = 0
) -> Iterator[Batch]:
    """Whole images in order, padded with black and IGNORE at the bottom and right to sides that `multiple` divides.

    Process `rank` of `world` gets every world-th image. A batch ends early where the next image has another size.
    Raises InputError if a sample cannot be read.
    """
    if isinstance(split, Images) and multiple == 1:
        indices = np.arange(rank, len(split), world)
        yield from (_gather(split, indices[i : i + batch_size]) for i in range(0, len(indices), batch_size))
        return
    samples, waiting = _Samples(split, _PadToMultiple(multiple)), []
    draws = [(index, 0) for index in range(rank, len(split), world)]
    for sample in DataLoader(samples, sampler=draws, batch_size=None, num_workers=workers, generator=torch.Generator()):
        if isinstance(sample, InputError):
            raise sample
        if waiting and (len(waiting) == batch_size or waiting[0].image.shape != sample.image.shape):
            yield samples.batch(waiting)[0]
            waiting = []
        waiting.append(sample)
    if waiting:
        yield samples.batch(waiting)[0]
