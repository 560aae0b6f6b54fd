"""Atrous spatial pyramid pooling, as DeepLabV3 has it (Chen et al. 2017, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_DROPOUT = 0.5


class ASPP(nn.Module):
    """Sees the deepest features at several rates at once, and the whole image in one value.

    Modules are named as in torchvision's DeepLabV3, whose names the published checkpoints have.

    Args:
        channels: Channels of the input.
        rates: Dilation of each of the 3x3 convolutions.
        width: Channels of each branch and of the output.
    """

    def __init__(self, channels: int, rates: Sequence[int], width: int) -> None:
        super().__init__()
        branches = [
            _convolve(channels, width, 1),
            *(_convolve(channels, width, 3, rate) for rate in rates),
            _Pooling(nn.AdaptiveAvgPool2d(1), *_convolve(channels, width, 1)),
        ]
        self.convs = nn.ModuleList(branches)
        self.project = _convolve(len(branches) * width, width, 1)
        self.project.append(nn.Dropout(_DROPOUT))

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B, channels, h, w) to (B, width, h, w)."""
        output: Tensor = self.project(torch.cat([branch(x) for branch in self.convs], dim=1))
        return output


class _Pooling(nn.Sequential):
    """The mean of the whole image, convolved, everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return F.interpolate(mean, x.shape[2:], mode="bilinear", align_corners=False)


def _convolve(channels: int, width: int, size: int, rate: int = 1) -> nn.Sequential:
    padding = rate * (size // 2)
    convolution = nn.Conv2d(channels, width, size, padding=padding, dilation=rate, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())
