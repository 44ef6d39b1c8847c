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


def test_output_stride_is_a_parameter():
    network = models.build("deeplabv3plus", "resnet18", 5, output_stride=8, pretrained=False).eval()
    seen = []
    network.modify_stage("res5", lambda x: seen.append(x.shape[-2:]) or x)
    network.features(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    assert seen == [(8, 8)]


def test_packaged_imagenet_weights_are_the_pretrained_ones():
    """The weights tell: a pretrained encoder is the same twice, whatever the seed, and has trained BatchNorm
    statistics.
    """
    first, second = (models.build("fpn", "tf_efficientnet_lite0", 5).body.encoder.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["model.bn1.running_var"].std() > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("deeplabv3plus", "tf_eficientnet_lite0", 5), "did you mean tf_efficientnet_lite0"),
        (("unet", "resnet18", 5), "valid: deeplabv3plus"),
        (("hrnet", "resnet18", 5), "hrnet_w18_small"),
        (("deeplabv3", "resnet18", 5), "mobilenet_v3_large"),
    ],
)
def test_unknown_names_are_errors_with_a_way_out(arguments, says):
    with pytest.raises(InputError, match=says):
        models.build(*arguments, pretrained=False)


def test_an_unknown_stage_lists_the_stages():
    network = models.build("fpn", "resnet18", 5, pretrained=False)
    with pytest.raises(InputError, match="no stage 'res6' in this network; it has res2, res3, res4, res5"):
        network.modify_stage("res6", torch.zeros_like)
