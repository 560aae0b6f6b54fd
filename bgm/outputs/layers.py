"""Makes of a matte the layers that a run keeps: whole numbers, on the host."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bgm.inference.matte import Matte
from bgm.layers import Layer, LayerSource, Pixels, to_host
from bgm.outputs.edges import Edges


class LayerBuilder:
    """Makes the layers that a run keeps.

    Args:
        layers: The types, with their settings.
        edges: What is done to a matte before, by whoever calls; None for nothing.
    """

    def __init__(self, layers: Sequence[Layer[Any]], edges: Edges | None = None) -> None:
        self.layers = layers
        self.edges = edges

    def __call__(
        self,
        matte: Matte,
        src: Tensor,
        bgr: Tensor,
        pixels: NDArray[np.uint8] | None = None,
        seconds: Fraction = Fraction(0),
    ) -> dict[str, Pixels]:
        """Make the layers of one matte, by type.

        Args:
            matte: The matte.
            src: The photograph, (3, H, W), uint8 or float32 in [0, 1], on the host.
            bgr: Its plate, likewise.
            pixels: The matte in 8 bits, as `to_rgba8` returns it, if that is at hand.
            seconds: When it is shown, if it is the frame of a clip.

        Raises:
            BgmError: The network that made the matte has no such layer.
        """
        pixels = to_rgba8(matte) if pixels is None else pixels
        extended = self.edges is not None and self.edges.extends
        source = LayerSource(matte, pixels, src, bgr, seconds, extended)
        return {layer.name: layer.build(source) for layer in self.layers}


def to_rgba8(matte: Matte) -> NDArray[np.uint8]:
    """Round foreground and alpha to 8 bits, pixel by pixel, on the host: (H, W, 4)."""
    if matte.rgba is None or matte.rgba.device.type != "cpu":
        return np.asarray(to_host(torch.cat([matte.foreground, matte.alpha])), np.uint8)
    height, width = matte.rgba.shape[:2]
    rows = matte.rgba.reshape(height, width * 4).numpy()
    return np.asarray(cv2.convertScaleAbs(rows, alpha=255), np.uint8).reshape(height, width, 4)


def to_image(layer: Tensor) -> Image.Image:
    """Make a PIL image of a tensor, rounding to 8 bits.

    Args:
        layer: (1, H, W), (3, H, W) or (4, H, W) in [0, 1], such as `Matte.alpha` or what
            `Matte.composite` returns.
    """
    return Image.fromarray(to_host(layer))
