"""Grad-CAM for networks that segment (Selvaraju et al., ICCV 2017), through captum.

Grad-CAM asks of one number that a network puts out to which positions of a layer A (K, h, w) it owes it. A classifier
has one number a class; a segmentation network has one a class and pixel, so, as in DropClass Eq. (1), the mean over the
image is taken:

    y^c = mean over pixels (u, v) of the logit of c,   alpha^c_k = sum over (i, j) of dy^c / dA_kij
    map^c_ij = ReLU(sum over k of alpha^c_k A_kij)

Grad-CAM's alpha is the mean over the h w positions. Here it is the sum: the constant changes no picture and no ratio,
and the map then does not depend on the size of the image and is in the unit of a logit.

At the input of a 1x1 classifier this needs no gradient. Every logit of the image is an average of logits
W_c . A_ij + b_c with weights of sum 1, whatever the interpolation, so alpha^c = W_c and **map^c = ReLU(W_c . A_ij), the
logit without its bias, where it is positive**. (dropclass-C14 is the same on Eq. (1), before gradients are pooled, and
holds for fewer interpolations.) The map is still more than the prediction: it also shows what speaks for a class that
no pixel is given to in the end. At a stage of the encoder the gradient passes through all that follows, and depends on
the image.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, pad

from segrepro.analysis import activation
from segrepro.datasets.base import IGNORE, Split
from segrepro.errors import InputError
from segrepro.evaluation import batches_of, testing
from segrepro.methods import Learner
from segrepro.models import upsample
from segrepro.processes import sum_over_processes

MOST_CLASSES = 70  # above it C x C sums of maps are more than a record keeps
MOST_POSITIONS = 2000  # of a map kept in a record


def class_activation(learner: Learner, images: Tensor, classes: Sequence[int], *, layer: str = "features") -> Tensor:
    """Maps (B, n, h, w) of n classes, none negative, of images (B, 3, H, W) uint8; the learner in evaluation mode.

    layer: "features", what enters the 1x1 classifier in the prediction (A; DropClass predicts from A', the output of
    its convolution), and where a method has replaced that classifier, A; or a stage of the encoder, "res2" ... "res5".
    h, w are the layer's; H and W must be multiples of `network.multiple`. One backward pass a class, from the logits to
    the layer. Raises InputError for a network that classifies whole images, or a layer that it does not have.
    """
    from captum.attr import LayerGradCam  # it draws in matplotlib and more, which training has no need of

    network, size = learner.network, images.shape[-2:]
    if network.pools:
        raise InputError("layer: a network that classifies whole images has no maps. Use one for segmentation.")
    gate = nn.Identity()  # one tensor to hook, whatever module it comes from
    handle, of_input = None, False
    if layer == "features":
        predictor = learner.methods[learner.predictor]
        with torch.no_grad():  # the classes share the pass through the network
            inputs = network.features(images)
        inputs.requires_grad_()
        module, of_input = (network.classifier, True) if learner.has_plain_head else (gate, False)

        def mean_logit(features: Tensor, c: int) -> Tensor:
            return upsample(predictor.predict(gate(features), size)[:, c : c + 1], size).mean(dim=(2, 3))

    else:
        inputs, module = images, gate
        # a copy goes on, as what follows may work in place
        handle = network.modify_stage(layer, lambda x: gate(x).clone())

        def mean_logit(images: Tensor, c: int) -> Tensor:
            return learner.predict(images)[:, c : c + 1].mean(dim=(2, 3))

    try:
        how = {"target": 0, "attribute_to_layer_input": of_input, "relu_attributions": True}
        cam = LayerGradCam(mean_logit, module)
        maps = [cam.attribute(inputs, additional_forward_args=int(c), **how).detach() for c in classes]
    finally:
        if handle is not None:
            handle.remove()
    return torch.cat(maps, dim=1) * (maps[0].shape[-2] * maps[0].shape[-1])


def activation_sums(
    learner: Learner, split: Split, *, device: torch.device, batch_size: int | None = None
) -> np.ndarray:
    """Class-activation maps over a split, summed for every pair of a class a that an image contains and a class b that
    it lacks: the `activation.Sums` (5, C, C) float32 (DropClass Figure 4).

    The maps are those of layer "features" (`class_activation`), up-sampled bilinearly; sums are over labelled pixels.
    The cost is a pass of the network and, for each class, a pass of its last layers. Raises InputError with more than
    MOST_CLASSES classes, or for a network that classifies whole images.
    """
    classes = len(split.classes)
    if classes > MOST_CLASSES:
        raise InputError(
            f"activation: {classes} classes have {classes**2:,} pairs, more than a record keeps. Use a data set with "
            f"at most {MOST_CLASSES} classes, or `activation_maps` of the pairs of interest."
        )
    total = np.zeros((5, classes, classes))
    with testing(learner):
        for batch in batches_of(split, learner, batch_size, "class-activation maps"):
            batch = batch.to(device)
            places = batch.labels.masked_fill(batch.labels == IGNORE, classes).flatten(1)  # the last: unlabelled
            pixels = torch.stack([(places == c).sum(1) for c in range(classes)], dim=1)
            maps = class_activation(learner, batch.images, range(classes))
            on = maps.new_zeros(len(maps), classes + 1, classes)
            for c in range(classes):
                of_class = upsample(maps[:, c : c + 1], batch.labels.shape[-2:]).flatten(1)
                on[:, :, c].scatter_add_(1, places, of_class)
            total += activation.pair_sums(on[:, :-1].cpu().numpy(), pixels.cpu().numpy() > 0)
    return sum_over_processes(torch.from_numpy(total).float().to(device)).cpu().numpy()


def activation_maps(
    learner: Learner, split: Split, wanted: Mapping[activation.Pair, int], *, device: torch.device,
    layers: Sequence[str] = activation.LAYERS,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Class-activation maps of a few images: "activation/<layer>/<index>/<class>" -> (h, w) float16, in logits, over
    the whole image, with at most MOST_POSITIONS positions.

    wanted: by pair of classes the index of an image in the split, as `activation.telling_images` chooses them.
    """
    found, multiple = {}, learner.network.multiple
    with testing(learner):
        for pair, index in wanted.items():
            image = torch.from_numpy(split[index][0]).permute(2, 0, 1)[None].to(device)
            size = image.shape[-2:]
            image = pad(image, (0, -size[1] % multiple, 0, -size[0] % multiple))
            classes = split.classes.indices(pair)
            for layer in layers:
                maps = class_activation(learner, image, classes, layer=layer)
                maps = _over_the_image(maps, image.shape[-2:], size)[0].half().cpu().numpy()
                found |= {f"activation/{layer}/{index}/{c}": kept for c, kept in zip(classes, maps, strict=True)}
    return found


def _over_the_image(maps: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Maps (B, n, h, w) of a padded image, cut to the image's size (H, W) and to at most MOST_POSITIONS."""
    height, width = maps.shape[-2:]
    if padded != size:
        height, width = round(height * size[0] / padded[0]), round(width * size[1] / padded[1])
        maps = upsample(maps, padded)[..., : size[0], : size[1]]
    shrink = min(1, MOST_POSITIONS / (height * width)) ** 0.5
    return adaptive_avg_pool2d(maps, (max(1, int(height * shrink)), max(1, int(width * shrink))))


def activations(learner: Learner, split: Split, *, device: torch.device) -> dict[str, np.ndarray]:
    """What a record keeps of class-activation maps: `activation_sums` as "activation", and `activation_maps` of those
    of Figure 4's pairs that the split has an image for.
    """
    pairs = activation.telling_images(split, activation.known_pairs(split.classes.names))
    sums = activation_sums(learner, split, device=device)
    return {"activation": sums, **activation_maps(learner, split, pairs, device=device)}
