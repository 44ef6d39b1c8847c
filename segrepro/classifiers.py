"""Bodies of networks that classify whole images: images (B, 3, H, W) -> features (B, K, 1, 1).

LfF's three: a multi-layer perceptron for Colored MNIST, He et al.'s ResNet-20 for CIFAR-10, which neither timm nor
torchvision has, and any timm encoder with global average pooling.
"""

import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

HIDDEN = 100  # units of each of the MLP's three hidden layers
WIDTHS = (16, 32, 64)  # channels of ResNet-20's three stages, of three blocks each


class MLP(nn.Module):
    """Three hidden layers of 100 units with ReLU on the pixels of images of one size (height, width)."""

    width = HIDDEN

    def __init__(self, size: tuple[int, int]):
        super().__init__()
        self.size = size
        widths = (3 * size[0] * size[1], HIDDEN, HIDDEN, HIDDEN)
        layers = [(nn.Linear(n, m), nn.ReLU(inplace=True)) for n, m in zip(widths, widths[1:], strict=False)]
        self.layers = nn.Sequential(nn.Flatten(), *(part for layer in layers for part in layer))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)[:, :, None, None]


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters: every second pixel, new channels zero."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.stride, self.new = outputs // inputs, outputs - inputs
        self.convolutions = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=self.stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return torch.relu(self.convolutions(x) + shortcut)


class ResNet20(nn.Module):
    """ResNet-20 for images of 32 x 32 (He et al., CVPR 2016, Section 4.2; shortcuts of their option A)."""

    width = WIDTHS[-1]

    def __init__(self):
        super().__init__()
        stem = [nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU(inplace=True)]
        inputs = [WIDTHS[0], *(width for width in WIDTHS for _ in range(3))]
        blocks = [_Block(n, m) for n, m in zip(inputs, inputs[1:], strict=False)]
        self.layers = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class Pooled(nn.Module):
    """A timm encoder and global average pooling."""

    def __init__(self, encoder: str, pretrained: bool):
        super().__init__()
        self.encoder = timm.create_model(encoder, pretrained=pretrained, num_classes=0)
        self.width = self.encoder.num_features

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder(images)[:, :, None, None]
