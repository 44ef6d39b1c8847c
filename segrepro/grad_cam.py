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

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segrepro.errors import InputError
from segrepro.methods import Learner
from segrepro.models import upsample


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
