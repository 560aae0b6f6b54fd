"""The backbones: classifiers turned into four-scale encoders (paper, section 4.1).

Modules are named as in torchvision's classifiers, whose names the published checkpoints have.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

INPUT_CHANNELS = 6
"""Source and background, three channels each."""

_RESNETS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
"""Blocks of each stage."""

_EXPANSION = 4
"""How many times as wide as its middle a bottleneck ends."""

_MOBILE_STAGES = (
    (16, 1, 1, 1, 1),
    (24, 6, 2, 2, 1),
    (32, 6, 3, 2, 1),
    (64, 6, 4, 2, 1),
    (96, 6, 3, 1, 1),
    (160, 6, 1, 1, 1),
    (160, 6, 2, 1, 2),
    (320, 6, 1, 1, 2),
)
"""Width, expansion, blocks, stride of the first, dilation."""


class Features(NamedTuple):
    """What an encoder returns: its input and features at 1/2, 1/4, 1/8 and 1/16 of its size."""

    full: Tensor
    half: Tensor
    quarter: Tensor
    eighth: Tensor
    sixteenth: Tensor


class ResNetEncoder(nn.Module):
    """ResNet-50 or ResNet-101 on six channels, the last stage dilated so that it stays at 1/16.

    He et al. 2016, with the stride at the 3x3 convolution of a bottleneck.

    Args:
        name: `resnet50` or `resnet101`.
    """

    channels = (INPUT_CHANNELS, 64, 256, 512, 2048)
    """Channels of each of the `Features`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        first, second, third, fourth = _RESNETS[name]
        self.conv1 = nn.Conv2d(INPUT_CHANNELS, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, first)
        self.layer2 = _stage(256, 128, second, stride=2)
        self.layer3 = _stage(512, 256, third, stride=2)
        self.layer4 = _stage(1024, 512, fourth, dilation=2)
        _initialize(self)

    def forward(self, x: Tensor) -> Features:
        """Encode a (B, 6, H, W) batch."""
        half = self.relu(self.bn1(self.conv1(x)))
        quarter = self.layer1(self.maxpool(half))
        eighth = self.layer2(quarter)
        sixteenth = self.layer4(self.layer3(eighth))
        return Features(x, half, quarter, eighth, sixteenth)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around which the input is carried."""

    def __init__(self, channels: int, middle: int, stride: int, dilation: int) -> None:
        super().__init__()
        wide = middle * _EXPANSION
        self.conv1 = nn.Conv2d(channels, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if channels != wide:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, wide, 1, stride, bias=False), nn.BatchNorm2d(wide)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a (B, channels, H, W) batch."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        output: Tensor = self.relu(y)
        return output


def _stage(
    channels: int, middle: int, blocks: int, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """One stage; of a dilated one the first block is not, which gave up its stride for that."""
    first = Bottleneck(channels, middle, stride, 1)
    others = (Bottleneck(middle * _EXPANSION, middle, 1, dilation) for _ in range(blocks - 1))
    return nn.Sequential(first, *others)


class MobileNetV2Encoder(nn.Module):
    """MobileNetV2 on six channels (Sandler et al. 2018), dilated from block 15 on, not strided."""

    channels = (INPUT_CHANNELS, 16, 24, 32, 320)
    """Channels of each of the `Features`."""

    def __init__(self) -> None:
        super().__init__()
        width = 32
        blocks: list[nn.Module] = [_convolve(INPUT_CHANNELS, width, 3, stride=2)]
        for wider, expansion, count, stride, dilation in _MOBILE_STAGES:
            for step in (stride, *[1] * (count - 1)):
                blocks.append(InvertedResidual(width, wider, expansion, step, dilation))
                width = wider
        self.features = nn.Sequential(*blocks)
        _initialize(self)

    def forward(self, x: Tensor) -> Features:
        """Encode a (B, 6, H, W) batch."""
        found, y = {}, x
        for index, block in enumerate(self.features):
            y = found[index] = block(y)
        return Features(x, found[1], found[3], found[6], y)


class InvertedResidual(nn.Module):
    """Widens, convolves each channel by itself, narrows; the input is added where it fits."""

    def __init__(
        self, channels: int, width: int, expansion: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        middle = channels * expansion
        widen = [_convolve(channels, middle, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *widen,
            _convolve(middle, middle, 3, stride, dilation, groups=middle),
            nn.Conv2d(middle, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self._adds = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a (B, channels, H, W) batch."""
        y: Tensor = self.conv(x)
        return x + y if self._adds else y


def _convolve(
    channels: int, width: int, size: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    padding = dilation * (size // 2)
    return nn.Sequential(
        nn.Conv2d(channels, width, size, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU6(inplace=True),
    )


def _initialize(encoder: nn.Module) -> None:
    """Random weights of a variance that deep rectified networks keep (He et al. 2015)."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


BACKBONES = ("mobilenetv2", "resnet50", "resnet101")
"""Names of the backbones there are."""


def create_encoder(backbone: str) -> ResNetEncoder | MobileNetV2Encoder:
    """Build the encoder called `backbone`, with random weights.

    Args:
        backbone: One of `BACKBONES`.

    Raises:
        ValueError: There is no backbone of that name.
    """
    if backbone == "mobilenetv2":
        return MobileNetV2Encoder()
    if backbone in _RESNETS:
        return ResNetEncoder(backbone)
    raise ValueError(f"unknown backbone {backbone!r}; there are {', '.join(BACKBONES)}")
