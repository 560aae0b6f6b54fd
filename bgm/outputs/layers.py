"""Turns a matte into the layers that are stored: whole numbers, on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bgm.data.datasets import ImagesDataset
from bgm.data.named_colours import parse_colour
from bgm.errors import BgmError
from bgm.inference.matte import Matte
from bgm.storage import locate

Pixels = NDArray[Any]
"""(H, W) or (H, W, 3 or 4), uint8 or uint16, RGB(A)."""


@dataclass(frozen=True)
class LayerSpec:
    """How one layer is made and stored.

    Attributes:
        type: `com`, `pha`, `fgr`, `err` or `ref`.
        format: `png`, `jpg`, `webp` or `tiff`.
        quality: Of JPEG and WebP, 1 to 100.
        bits: 8, or 16 for alpha in PNG or TIFF.
        premultiplied: Whether the colours of a cut-out are multiplied by its alpha.
        background: What a composite is put on: a colour, or the path of an image. None keeps it
            transparent.
    """

    type: str
    format: str
    quality: int = 95
    bits: int = 8
    premultiplied: bool = False
    background: str | None = None


class LayerBuilder:
    """Makes the layers that a run keeps.

    Args:
        specs: One per layer.

    Raises:
        DataError: The background image of the composite cannot be read.
    """

    def __init__(self, specs: list[LayerSpec]) -> None:
        self.specs = specs
        self._plate: Tensor | None = None
        for spec in specs:
            if spec.background is not None:
                self._plate = _read_background(spec.background)
        self._fitted: Tensor | None = None

    def __call__(self, matte: Matte, pixels: NDArray[np.uint8] | None = None) -> dict[str, Pixels]:
        """Make the layers of one matte, by type.

        Args:
            matte: The matte.
            pixels: The same in 8 bits, as `to_rgba8` returns it, if that is at hand.

        Raises:
            BgmError: The network that made the matte has no such layer.
        """
        if pixels is None:
            pixels = to_rgba8(matte)
        return {spec.type: self._build(spec, matte, pixels) for spec in self.specs}

    def _build(self, spec: LayerSpec, matte: Matte, pixels: NDArray[np.uint8]) -> Pixels:
        if spec.type == "com":
            return self._composite(spec, matte, pixels)
        if spec.type == "fgr":
            return pixels[:, :, :3]
        if spec.type == "pha":
            return pixels[:, :, 3] if spec.bits == 8 else to_host(matte.alpha, spec.bits)
        layer = {"err": matte.error, "ref": matte.refined}[spec.type]
        if layer is None:
            raise BgmError(f"this network has no {spec.type} layer")
        return to_host(layer)

    def _composite(self, spec: LayerSpec, matte: Matte, pixels: NDArray[np.uint8]) -> Pixels:
        if self._plate is not None:
            return to_host(matte.composite(self._fit(matte.alpha)))
        if spec.premultiplied:
            cutout = matte.composite()
            return to_host(torch.cat([cutout[:3] * cutout[3:], cutout[3:]]))
        # Where the stored alpha is 0, the stored colour is too.
        return np.asarray(cv2.bitwise_and(pixels, pixels, mask=pixels[:, :, 3].copy()), np.uint8)

    def _fit(self, like: Tensor) -> Tensor:
        """The background as large as `like`; kept, because most shoots have one size."""
        assert self._plate is not None
        if self._plate.shape[1:] == (1, 1):
            return self._plate
        fitted = self._fitted
        if fitted is None or fitted.shape[1:] != like.shape[1:]:
            fitted = cover(self._plate, (like.shape[2], like.shape[1])).to(like.device)
            self._fitted = fitted
        return fitted


def round_to(layer: Tensor, bits: int) -> Tensor:
    """Round values in [0, 1] to whole numbers of `bits` bits (not truncated), still as floats."""
    whole: Tensor = (layer * (2**bits - 1)).round()
    return whole


def cover(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale (3, H, W) so that it covers (width, height), and cut off evenly what juts out."""
    width, height = size
    scale = max(width / image.shape[2], height / image.shape[1])
    scaled = (max(width, round(image.shape[2] * scale)), max(height, round(image.shape[1] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(image.permute(1, 2, 0).numpy(), scaled, interpolation=method)
    left, top = (scaled[0] - width) // 2, (scaled[1] - height) // 2
    window = resized[top : top + height, left : left + width].clip(0, 1)
    fitted: Tensor = torch.from_numpy(window).permute(2, 0, 1)
    return fitted


def _read_background(background: str) -> Tensor:
    colour = parse_colour(background)
    if colour is not None:
        return torch.tensor(colour, dtype=torch.float32).view(3, 1, 1) / 255
    return ImagesDataset([locate(background)])[0]


def to_rgba8(matte: Matte) -> NDArray[np.uint8]:
    """Round foreground and alpha to 8 bits, pixel by pixel, on the host: (H, W, 4)."""
    if matte.rgba is None or matte.rgba.device.type != "cpu":
        return np.asarray(to_host(torch.cat([matte.foreground, matte.alpha])), np.uint8)
    height, width = matte.rgba.shape[:2]
    rows = matte.rgba.reshape(height, width * 4).numpy()
    return np.asarray(cv2.convertScaleAbs(rows, alpha=255), np.uint8).reshape(height, width, 4)


def to_host(layer: Tensor, bits: int = 8) -> Pixels:
    """Round a layer (C, H, W) in [0, 1] to `bits` bits and copy it to the host."""
    whole = round_to(layer, bits).permute(1, 2, 0)
    # Whole numbers are a quarter or half of what floats would be on the way from a GPU.
    kind = torch.uint8 if bits == 8 else torch.int32
    pixels: Pixels = whole.to(kind).contiguous().cpu().numpy()
    if bits != 8:
        pixels = pixels.astype(np.uint16)
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def to_image(layer: Tensor) -> Image.Image:
    """Make a PIL image of a tensor, rounding to 8 bits.

    Args:
        layer: (1, H, W), (3, H, W) or (4, H, W) in [0, 1], such as `Matte.alpha` or what
            `Matte.composite` returns.
    """
    return Image.fromarray(to_host(layer))
