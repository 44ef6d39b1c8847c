"""Architectures: the cut that papers rely on, for every builder."""

import pytest
import torch

from segrepro import models
from segrepro.errors import InputError

BUILDS = [
    ("deeplabv3plus", "tf_efficientnet_lite0", 256, 4),
    ("fpn", "resnet18", 128, 4),
    ("deeplabv3", "mobilenet_v3_large", 256, 16),
    ("hrnet", "hrnet_w18_small", 240, 4),
    ("hrnet", "hrnet_w18_small_v2", 270, 4),
    ("upernet", "resnet50", 256, 4),
    ("pspnet", "mobilenetv2_100", 512, 8),
    ("fcn", "resnet101", 512, 8),
]


@pytest.mark.parametrize(("architecture", "encoder", "width", "stride"), BUILDS)
def test_features_enter_a_1x1_classifier(architecture, encoder, width, stride):
    torch.manual_seed(0)
    network = models.build(architecture, encoder, 5, pretrained=False)
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    features = network.features(images)
    assert features.shape == (2, width, 64 // stride, 96 // stride)
    assert network.rectified
    assert features.min() >= 0
    assert network.classifier.kernel_size == (1, 1)
    assert network(images).shape == (2, 5, 64, 96)


@pytest.mark.parametrize(("architecture", "encoder", "width", "stride"), BUILDS)
def test_every_stage_lies_in_the_forward_flow(architecture, encoder, width, stride):
    torch.manual_seed(0)
    network = models.build(architecture, encoder, 5, pretrained=False).eval()
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    plain = network.features(images)
    for stage in models.STAGES:
        handle = network.modify_stage(stage, torch.zeros_like)
        assert not torch.equal(network.features(images), plain), stage
        handle.remove()
    assert torch.equal(network.features(images), plain)


def test_a_modified_stage_changes_the_deeper_ones():
    torch.manual_seed(0)
    network = models.build("deeplabv3plus", "resnet18", 5, pretrained=False).eval()
    images, seen = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8), []
    network.modify_stage("res5", lambda x: seen.append(x) or x)
    network.features(images)
    network.modify_stage("res2", lambda x: 2 * x)
    network.features(images)
    assert not torch.equal(*seen)


@pytest.mark.parametrize(("architecture", "encoder", "width", "stride"), BUILDS)
def test_a_stage_knows_its_width_and_stride(architecture, encoder, width, stride):
    network, seen = models.build(architecture, encoder, 5, pretrained=False).eval(), {}
    for name in models.STAGES:
        network.modify_stage(name, lambda x, name=name: seen.update({name: x.shape[1:]}) or x)
    network.features(torch.zeros(1, 3, 64, 128, dtype=torch.uint8))
    known = {name: network.stage(name) for name in models.STAGES}
    assert seen == {name: (stage.width, 64 // stage.stride, 128 // stage.stride) for name, stage in known.items()}


@pytest.mark.parametrize("architecture", ["deeplabv3plus", "pspnet", "fcn"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_output_stride_is_a_parameter(architecture, output_stride):
    network = models.build(architecture, "resnet18", 5, output_stride=output_stride, pretrained=False).eval()
    seen = []
    network.modify_stage("res5", lambda x: seen.append(x.shape[-2:]) or x)
    network.features(torch.zeros(1, 3, 64, 96, dtype=torch.uint8))
    assert seen == [(64 // output_stride, 96 // output_stride)]


@pytest.mark.parametrize("architecture", ["pspnet", "fcn"])
def test_dilation_keeps_the_parameters_and_the_stages_before_it(architecture):
    torch.manual_seed(0)
    images, seen = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8), []
    dilated = models.build(architecture, "resnet18", 5, pretrained=False).eval()
    usual = models.build("fpn", "resnet18", 5, pretrained=False).eval()
    usual.body.encoder.load_state_dict(dilated.body.encoder.state_dict())
    for network in (dilated, usual):
        network.modify_stage("res3", lambda x: seen.append(x) or x)
        network.features(images)
    torch.testing.assert_close(*seen)


def test_packaged_imagenet_weights_load_into_a_dilated_encoder():
    weights = models.build("pspnet", "tf_efficientnet_lite0", 5).body.encoder.state_dict()
    same = models.build("fpn", "tf_efficientnet_lite0", 5).body.encoder.state_dict()
    assert all(torch.equal(weights[name], same[name]) for name in same)


def test_packaged_imagenet_weights_are_the_pretrained_ones():
    """The weights tell: a pretrained encoder is the same twice, whatever the seed, and has trained BatchNorm
    statistics.
    """
    first, second = (models.build("fpn", "tf_efficientnet_lite0", 5).body.encoder.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["model.bn1.running_var"].std() > 0


def test_a_single_position_is_classified_as_by_the_convolution():
    classifier = models.PointwiseConvolution(7, 5).double()
    features = torch.randn(3, 7, 1, 1, dtype=torch.float64)
    wide = features.expand(3, 7, 2, 1)  # two positions: computed by the convolution
    assert torch.allclose(classifier(features).expand(3, 5, 2, 1), classifier(wide), rtol=1e-12)


def test_maps_of_the_size_asked_for_are_left_as_they_are():
    x = torch.randn(2, 3, 4, 5)
    resized = torch.nn.functional.interpolate(x, size=(4, 5), mode="bilinear", align_corners=False)
    assert models.upsample(x, (4, 5)) is x
    assert torch.equal(resized, x)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("deeplabv3plus", "tf_eficientnet_lite0", 5), "did you mean tf_efficientnet_lite0"),
        (("unet", "resnet18", 5), "valid: deeplabv3plus"),
        (("hrnet", "resnet18", 5), "hrnet_w18_small"),
        (("deeplabv3", "resnet18", 5), "mobilenet_v3_large"),
        (("fcn", "hrnet_w18_small", 5), "'hrnet_w18_small' does not fit this architecture: it has but one"),
    ],
)
def test_unknown_names_are_errors_with_a_way_out(arguments, says):
    with pytest.raises(InputError, match=says):
        models.build(*arguments, pretrained=False)


def test_an_unknown_stage_lists_the_stages():
    network = models.build("fpn", "resnet18", 5, pretrained=False)
    with pytest.raises(InputError, match="no stage 'res6' in this network; it has res2, res3, res4, res5"):
        network.modify_stage("res6", torch.zeros_like)
