"""The decoder: from the deepest features back to the size of the coarse input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bgm.networks.encoders import Features


class Decoder(nn.Module):
    """Four steps of upsampling, joining the encoder's features, and convolving.

    Args:
        widths: Channels into the decoder and after each of its four steps.
        skips: Channels of the encoder's features at 1/8, 1/4, 1/2 and full size.
    """

    def __init__(
        self, widths: tuple[int, int, int, int, int], skips: tuple[int, int, int, int]
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(widths[0] + skips[0], widths[1], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[1])
        self.conv2 = nn.Conv2d(widths[1] + skips[1], widths[2], 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(widths[2])
        self.conv3 = nn.Conv2d(widths[2] + skips[2], widths[3], 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(widths[3])
        self.conv4 = nn.Conv2d(widths[3] + skips[3], widths[4], 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, deepest: Tensor, skips: Features) -> Tensor:
        """Decode `deepest` (B, widths[0], h, w) to (B, widths[4], H, W), the encoder's input size.

        Args:
            deepest: What the ASPP made of the features at 1/16.
            skips: The encoder's features.
        """
        output: Tensor = self.conv4(join(self.decode_half(deepest, skips), skips.full))
        return output

    def decode_half(self, deepest: Tensor, skips: Features) -> Tensor:
        """All steps but the last: (B, widths[3], H/2, W/2), rounded up."""
        x = self.relu(self.bn1(self.conv1(join(deepest, skips.eighth))))
        x = self.relu(self.bn2(self.conv2(join(x, skips.quarter))))
        output: Tensor = self.relu(self.bn3(self.conv3(join(x, skips.half))))
        return output


def join(x: Tensor, skip: Tensor) -> Tensor:
    """Enlarge `x` to the size of `skip`, bilinear, and put its channels before those."""
    upsampled = F.interpolate(x, skip.shape[2:], mode="bilinear", align_corners=False)
    return torch.cat([upsampled, skip], dim=1)
