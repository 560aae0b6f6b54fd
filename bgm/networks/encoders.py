"""The backbones: torchvision classifiers turned into four-scale encoders (paper, section 4.1)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from bgm.networks._torchvision import mobilenet_v2, resnet50, resnet101

INPUT_CHANNELS = 6
"""Source and background, three channels each."""

_RESNETS = {"resnet50": resnet50, "resnet101": resnet101}


class Features(NamedTuple):
    """What an encoder returns: its input and features at 1/2, 1/4, 1/8 and 1/16 of its size."""

    full: Tensor
    half: Tensor
    quarter: Tensor
    eighth: Tensor
    sixteenth: Tensor


class ResNetEncoder(nn.Module):
    """ResNet-50 or ResNet-101 on six channels, the last stage dilated so that it stays at 1/16."""

    channels = (INPUT_CHANNELS, 64, 256, 512, 2048)
    """Channels of each of the `Features`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        resnet = _RESNETS[name](weights=None, replace_stride_with_dilation=[False, False, True])
        self.conv1 = nn.Conv2d(INPUT_CHANNELS, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = resnet.bn1
        self.relu = resnet.relu
        self.maxpool = resnet.maxpool
        self.layer1 = resnet.layer1
        self.layer2 = resnet.layer2
        self.layer3 = resnet.layer3
        self.layer4 = resnet.layer4

    def forward(self, x: Tensor) -> Features:
        """Encode a (B, 6, H, W) batch."""
        half = self.relu(self.bn1(self.conv1(x)))
        quarter = self.layer1(self.maxpool(half))
        eighth = self.layer2(quarter)
        sixteenth = self.layer4(self.layer3(eighth))
        return Features(x, half, quarter, eighth, sixteenth)


class MobileNetV2Encoder(nn.Module):
    """MobileNetV2 on six channels, blocks 14 to 17 dilated instead of strided."""

    channels = (INPUT_CHANNELS, 16, 24, 32, 320)
    """Channels of each of the `Features`."""

    def __init__(self) -> None:
        super().__init__()
        # The last block of torchvision's widens the features for the classifier only.
        self.features = mobilenet_v2(weights=None).features[:-1]
        self.features[0][0] = nn.Conv2d(INPUT_CHANNELS, 32, 3, stride=2, padding=1, bias=False)
        self.features[14].conv[1][0].stride = (1, 1)
        for block in self.features[15:]:
            depthwise = block.conv[1][0]
            depthwise.dilation = depthwise.padding = (2, 2)

    def forward(self, x: Tensor) -> Features:
        """Encode a (B, 6, H, W) batch."""
        found, y = {}, x
        for index, block in enumerate(self.features):
            y = found[index] = block(y)
        return Features(x, found[1], found[3], found[6], y)


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
