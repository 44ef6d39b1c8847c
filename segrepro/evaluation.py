"""From a trained network to counts. Every score is a pure function of these counts (`segrepro.metrics`).

Counts are (C, C) int64, rows the label, columns the prediction, summed over a split; ignored pixels never count. Where
the split knows a bias attribute of G values they are (G, C, C), and of many classes only TP, FP and FN are counted.
"""

import contextlib
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy, pad
from tqdm.auto import tqdm

from segrepro import metrics
from segrepro.analysis.erasure import erase
from segrepro.datasets.base import IGNORE, Images, Split
from segrepro.datasets.batches import Batch, evaluation_batches
from segrepro.errors import InputError
from segrepro.methods import Learner, Method
from segrepro.models import upsample
from segrepro.parameters import Training
from segrepro.processes import is_distributed, rank_and_world, sum_over_processes
from segrepro.progress import SHOW_PROGRESS

Predict = Callable[[Tensor], Tensor]  # images (B, 3, H, W) uint8 -> class scores (B, C, H, W)
MULTI_SCALE = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
MATRIX_LIMIT = 300  # classes; above it TP, FP and FN are counted instead of the confusion matrix
EMBEDDING_LIMIT = 30_000  # bytes of pixel embeddings kept of an image
SCORE_LIMIT = 2**31  # bytes of class scores a batch, where an image's own do not exceed it
INFERENCE = get_args(Training.model_fields["inference"].annotation)


def predictor(learner: Learner, *, inference: str = "single_scale", crop_size: tuple[int, int] | None = None,
              head: str | None = None) -> Predict:  # fmt: skip
    """How images become class scores; head: one of the learner's `heads`, None for its own prediction.

    single_scale: whole images. multi_scale: mean probability over MULTI_SCALE, each with its mirror image.
    sliding_window: mean probability over windows of crop_size that overlap by a third or more.
    Raises InputError for another name, or one that does not fit (`check_inference`).
    """
    check_inference(inference, crop_size, pools=learner.network.pools)
    multiple = learner.network.multiple

    def single(images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        padding = (0, -width % multiple, 0, -height % multiple)
        return learner.predict(pad(images, padding), head=head)[..., :height, :width]

    def multi_scale(images: Tensor) -> Tensor:
        size, total = images.shape[-2:], 0
        for scale in MULTI_SCALE:
            scaled = upsample(images.float(), (round(size[0] * scale), round(size[1] * scale))).round().to(images.dtype)
            total = total + upsample(single(scaled).softmax(1), size)
            total = total + upsample(single(scaled.flip(-1)).softmax(1).flip(-1), size)
        return total / (2 * len(MULTI_SCALE))

    def sliding_window(images: Tensor) -> Tensor:
        size = images.shape[-2:]
        starts = [_window_starts(whole, window) for whole, window in zip(size, crop_size, strict=True)]
        total, visits = None, images.new_zeros(size, dtype=torch.float32)
        for top in starts[0]:
            for left in starts[1]:
                area = (..., slice(top, top + crop_size[0]), slice(left, left + crop_size[1]))
                scores = single(images[area]).softmax(1)
                total = scores.new_zeros(len(images), scores.shape[1], *size) if total is None else total
                total[area] += scores
                visits[area] += 1
        return total / visits

    return {"single_scale": single, "multi_scale": multi_scale, "sliding_window": sliding_window}[inference]


def check_inference(inference: str, crop_size: tuple[int, int] | None, *, pools: bool) -> None:
    """Raises InputError for an unknown name, anything but single_scale where a network `pools` (and so classifies whole
    images), or sliding_window without a crop size.
    """
    if inference not in INFERENCE:
        raise InputError(f"inference: unknown '{inference}'; valid: {', '.join(INFERENCE)}")
    if inference != "single_scale" and pools:
        raise InputError(f"inference: {inference} is for label maps; whole images are classified with single_scale")
    if inference == "sliding_window" and crop_size is None:
        raise InputError("inference: sliding_window needs crop_size, the size of its window. Set it, e.g. to 192x256.")


def _window_starts(whole: int, window: int) -> list[int]:
    """Even starts of the fewest windows that cover `whole` with at least a third of overlap."""
    if window >= whole:
        return [0]
    count = math.ceil((whole - window) / max(1, window * 2 // 3)) + 1
    return [round(i * (whole - window) / (count - 1)) for i in range(count)]


def count(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """Counts (B, C, C) of each image: labels and predictions (B, H, W)."""
    cells = _cells(torch.arange(len(labels), device=labels.device), labels, predictions, classes)
    return torch.bincount(cells, minlength=len(labels) * classes**2).view(-1, classes, classes)


def _cells(index: Tensor, labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """Where each labelled pixel counts in (n, C, C): index (B,) below n, labels and predictions (B, H, W)."""
    known = labels != IGNORE
    index = index.view(-1, 1, 1).expand_as(labels)
    return (index[known] * classes + labels[known]) * classes + predictions[known]


def confusion_counts(
    learner: Learner, split: Split, *, device: torch.device, batch_size: int | None = None,
    description: str = "evaluating", **how,
) -> np.ndarray | metrics.Tallies:  # fmt: skip
    """Counts (C, C) of a split, (G, C, C) where it knows a bias attribute; above MATRIX_LIMIT classes, and without such
    an attribute, TP, FP and FN, (C,) each. `how` goes to `predictor`.

    Counting takes no memory that grows with a batch. With several processes each counts its share and all get the sum.
    """
    predict, classes, groups = predictor(learner, **how), len(split.classes), split.groups
    group_of = torch.from_numpy(groups.index if groups else np.zeros(len(split), dtype=np.int64))
    shape = (len(groups.names), classes, classes) if groups else (classes, classes)
    if tallied := groups is None and classes > MATRIX_LIMIT:
        shape = (3, classes)
    total = torch.zeros(math.prod(shape), dtype=torch.int64, device=device)
    with torch.inference_mode(), testing(learner):
        for batch in batches_of(split, learner, batch_size, description):
            batch = batch.to(device)
            predicted = predict(batch.images).argmax(1)
            if tallied:
                right = batch.labels == predicted
                wrong = ~right & (batch.labels != IGNORE)
                cells = [batch.labels[right], classes + predicted[wrong], 2 * classes + batch.labels[wrong]]
                cells = torch.cat(cells)
            else:
                cells = _cells(group_of[batch.index.cpu()].to(device), batch.labels, predicted, classes)
            total += torch.bincount(cells, minlength=len(total))
    counts = sum_over_processes(total).view(shape).cpu().numpy()
    return metrics.Tallies(*counts) if tallied else counts


def erasure_counts(
    learner: Learner, split: Split, *, device: torch.device, batch_size: int | None = None
) -> np.ndarray:
    """TP, FP, FN of every class with each class erased from the images in turn: (C erased, 3, C) int64 (DropClass,
    Table 4).

    Erased pixels get the mean colour of the network's training images and do not count. An image without the class is
    not predicted again, so the cost is the number of (image, class) pairs that occur.
    """
    fill = learner.network.mean.flatten().round().to(torch.uint8)

    def erased(batch: Batch, chosen: Tensor, gone: int) -> Tensor:
        return erase(batch.images[chosen], batch.labels[chosen], gone, fill)[0]

    return _counts_without_each_class(learner, split, erased, device, batch_size, "erasing classes")


def counterfactual_counts(
    learner: Learner, split: Split, *, device: torch.device, batch_size: int | None = None
) -> np.ndarray:
    """`erasure_counts` without the eraser: each class in turn is missing from the scene itself, which is drawn again
    with what it hid (`SyntheticScenes.without`). (C removed, 3, C) int64 TP, FP, FN.

    The two differ in nothing but what the network sees where the class stood. So here too only pixels count whose
    label in the ordinary scene is another class: what comes to light behind the removed one is not scored, as no
    erased pixel is, and elsewhere both scenes are the same. An image without the class keeps its ordinary counts.
    Raises InputError if the split cannot be had without a class.
    """
    if not hasattr(split, "without"):
        raise InputError(
            f"{split.source(0)}: images in files cannot be drawn again without a class. Use the data set 'synthetic', "
            "or erase the class's pixels (array 'erasure')."
        )
    scenes = [split.without(name) for name in split.classes.names]

    def removed(batch: Batch, chosen: Tensor, gone: int) -> Tensor:
        height, width = batch.images.shape[-2:]
        images = [torch.from_numpy(scenes[gone][int(i)][0]).permute(2, 0, 1) for i in batch.index[chosen]]
        # to the size of the batch, with black, as `evaluation_batches` pads
        return torch.stack([pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2])) for x in images]).to(device)

    return _counts_without_each_class(learner, split, removed, device, batch_size, "removing classes")


def _counts_without_each_class(
    learner: Learner, split: Split, changed: Callable[[Batch, Tensor, int], Tensor], device: torch.device,
    batch_size: int | None, description: str,
) -> np.ndarray:  # fmt: skip
    """TP, FP, FN (C gone, 3, C) with each class gone in turn, its pixels not scored; changed(batch, chosen, gone):
    images (n, 3, h, w) uint8 of the chosen (B,) bool, all of which have the class, without it.
    """
    predict, classes = predictor(learner), len(split.classes)
    total = torch.zeros(classes, 3, classes, dtype=torch.int64, device=device)
    with torch.inference_mode(), testing(learner):
        for batch in batches_of(split, learner, batch_size, description):
            batch = batch.to(device)
            ordinary = _outcomes(count(batch.labels, predict(batch.images).argmax(1), classes))
            for gone in range(classes):
                has = (batch.labels == gone).flatten(1).any(1)
                total[gone] += ordinary[~has].sum(0)
                if has.any():
                    labels = batch.labels[has]
                    labels = labels.masked_fill(labels == gone, IGNORE)
                    predicted = predict(changed(batch, has, gone)).argmax(1)
                    total[gone] += _outcomes(count(labels, predicted, classes)).sum(0)
    return sum_over_processes(total).cpu().numpy()


def sample_losses(learner: Learner, split: Split, indices: Sequence[int], *, device: torch.device,
                  batch_size: int = 256, head: str | None = None) -> np.ndarray:  # fmt: skip
    """Mean cross-entropy (n,) float32 of each of some samples of a split, of the learner's prediction or one of its
    `heads`.
    """
    losses = []
    with torch.inference_mode(), testing(learner):
        for start in range(0, len(indices), batch_size):
            samples = [split[i] for i in indices[start : start + batch_size]]
            images = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image, _ in samples]).to(device)
            labels = torch.stack([torch.from_numpy(labels) for _, labels in samples]).long().to(device)
            loss = cross_entropy(learner.predict(images, head=head), labels, ignore_index=IGNORE, reduction="none")
            losses.append(loss.flatten(1).sum(1) / (labels != IGNORE).flatten(1).sum(1).clamp(min=1))
    return torch.cat(losses).float().cpu().numpy()


def measurements(
    learner: Learner, split: Split, *, device: torch.device, batch_size: int | None = None
) -> dict[str, np.ndarray]:
    """What the learner's methods measure of their own (`Method.measure`), summed over a split; most have nothing."""
    methods = [method for method in learner.methods if type(method).measure is not Method.measure]
    totals: dict[str, Tensor] = {}
    if methods:
        with torch.inference_mode(), testing(learner):
            for batch in batches_of(split, learner, batch_size, "measuring"):
                for method in methods:
                    for name, value in method.measure(batch.to(device)).items():
                        totals[name] = totals.get(name, 0) + value
    return {name: sum_over_processes(total).cpu().numpy() for name, total in totals.items()}


def _outcomes(counts: Tensor) -> Tensor:
    """TP, FP, FN (B, 3, C) from counts (B, C, C)."""
    hits = counts.diagonal(dim1=1, dim2=2)
    return torch.stack([hits, counts.sum(1) - hits, counts.sum(2) - hits], dim=1)


def predictions(learner: Learner, images: Sequence[np.ndarray], *, device: torch.device) -> list[np.ndarray]:
    """Label maps (H, W) int64 that the network gives images (H, W, 3) uint8, which may differ in size."""
    predict = predictor(learner)
    with torch.inference_mode(), testing(learner):
        tensors = (torch.from_numpy(image).permute(2, 0, 1)[None].to(device) for image in images)
        return [predict(image).argmax(1)[0].cpu().numpy() for image in tensors]


def example_predictions(
    learner: Learner, split: Split, indices: Sequence[int], *, device: torch.device
) -> dict[str, np.ndarray]:
    """Predictions of a few samples as PNG files in memory, for pictures in reports: "examples/<index>" -> bytes (n,)
    uint8.

    The images themselves stay in the data set, so records hold nothing of it.
    """
    predict, found = predictor(learner), {}
    with torch.inference_mode(), testing(learner):
        for index in indices:
            image = torch.from_numpy(split[index][0]).permute(2, 0, 1)[None].to(device)
            stream = io.BytesIO()
            Image.fromarray(predict(image).argmax(1)[0].to(torch.uint16).cpu().numpy()).save(
                stream, "PNG", optimize=True
            )
            found[f"examples/{index}"] = np.frombuffer(stream.getvalue(), dtype=np.uint8)
    return found


def example_maps(
    learner: Learner, split: Split, indices: Sequence[int], *, device: torch.device
) -> dict[str, np.ndarray]:
    """What the learner's methods show of a few samples (`Method.maps`): "maps/<index>/<name>" -> (n, h, w) float16.

    They are maps of the sample padded at the bottom and right, as networks get it.
    """
    methods, found = [method for method in learner.methods if type(method).maps is not Method.maps], {}
    with torch.inference_mode(), testing(learner):
        for index in indices if methods else ():
            image = torch.from_numpy(split[index][0]).permute(2, 0, 1)[None].to(device)
            height, width = (-side % learner.network.multiple for side in image.shape[-2:])
            for method in methods:
                for name, maps in method.maps(pad(image, (0, width, 0, height))).items():
                    found[f"maps/{index}/{name}"] = maps[0].half().cpu().numpy()
    return found


def example_embeddings(
    learner: Learner, split: Split, indices: Sequence[int], *, device: torch.device
) -> dict[str, np.ndarray]:
    """Pixel embeddings of a few samples: "embeddings/<index>" -> (h, w, d) float16, at `places` of the image's H x W,
    as many as EMBEDDING_LIMIT allows.

    The network's classifier must have `pixel_embeddings`.
    """
    found = {}
    with torch.inference_mode(), testing(learner):
        for index in indices:
            image = torch.from_numpy(split[index][0]).permute(2, 0, 1)[None].to(device)
            height, width = image.shape[-2:]
            multiple = learner.network.multiple
            image = pad(image, (0, -width % multiple, 0, -height % multiple))
            output = learner.network.classifier.pixel_embeddings(learner.network.features(image), image.shape[-2:])
            output = output[0].permute(1, 2, 0).half().cpu().numpy()
            share = min(1, EMBEDDING_LIMIT / (output[:height, :width].nbytes)) ** 0.5
            found[f"embeddings/{index}"] = output[places((height, width), (int(share * height), int(share * width)))]
    return found


def places(size: tuple[int, int], grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Index of h x w pixels spread evenly over H x W: the centres of a grid's cells."""
    rows, columns = (((np.arange(n) + 0.5) * side / n).astype(int) for side, n in zip(size, grid, strict=True))
    return np.ix_(rows, columns)


def stored_embeddings(arrays: Mapping[str, np.ndarray]) -> dict[int, np.ndarray]:
    """Index in the split -> pixel embeddings (h, w, d) that `example_embeddings` stored in a record."""
    names = (name for name in arrays if name.startswith("embeddings/"))
    return dict(sorted((int(name.removeprefix("embeddings/")), arrays[name]) for name in names))


def stored_maps(arrays: Mapping[str, np.ndarray], name: str) -> dict[int, np.ndarray]:
    """Index in the split -> the maps (n, h, w) of that name that `example_maps` stored in a record."""
    found = (key.split("/", 2) for key in arrays if key.startswith("maps/"))
    return {int(index): arrays[f"maps/{index}/{name}"] for _, index, kind in found if kind == name}


def stored_examples(arrays: Mapping[str, np.ndarray]) -> dict[int, np.ndarray]:
    """Index in the split -> prediction (H, W) of what `example_predictions` stored in a record."""
    return {int(name.removeprefix("examples/")): np.asarray(Image.open(io.BytesIO(array.tobytes())))
            for name, array in arrays.items() if name.startswith("examples/")}  # fmt: skip


@contextlib.contextmanager
def testing(learner: Learner) -> Iterator[None]:
    """The learner in evaluation mode for a while, then as it was."""
    modes = {module: module.training for module in learner.modules()}
    learner.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def batches_of(split: Split, learner: Learner, batch_size: int | None, description: str) -> Iterator:
    """This process's share of the split, with a progress bar on the first process.

    batch_size: 512 classified images in memory, else 8, or as few as keep the scores under `SCORE_LIMIT`, judged by the
    first sample.
    """
    if batch_size is None:
        scores = 4 * len(split.classes) * split.labels(0).size  # bytes, float32
        batch_size = 512 if isinstance(split, Images) else min(8, max(1, SCORE_LIMIT // scores))
    rank, world = rank_and_world() if is_distributed() else (0, 1)
    batches = evaluation_batches(
        split, batch_size=batch_size, multiple=learner.network.multiple, rank=rank, world=world
    )
    total = math.ceil(len(split) / world / batch_size)
    return tqdm(batches, total=total, desc=description, leave=False, disable=rank > 0 or not SHOW_PROGRESS)
