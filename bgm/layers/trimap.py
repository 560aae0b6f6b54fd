"""What is surely subject, surely background, or unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from bgm.errors import require
from bgm.layers.base import Format, Layer, LayerSettings, LayerSource, register_layer
from bgm.layers.rounding import Pixels

UNKNOWN = 128

MAX_BAND = 500
"""Pixels: a wider band takes hours."""


@dataclass
class TrimapSettings(LayerSettings):
    """How wide the unknown region is, and how it is stored."""

    format: Format = Format.png
    band: int = 10


@register_layer("trimap")
class Trimap(Layer[TrimapSettings]):
    """A trimap of the matte, for tools that start from one."""

    shows = "the trimap"
    channels = 1
    formats: ClassVar[tuple[Format, ...]] = (Format.png, Format.tiff)  # the others blur its values
    settings_type = TrimapSettings

    @classmethod
    def check(cls, settings: TrimapSettings) -> None:
        """Refuse a band that there is not."""
        super().check(settings)
        require(
            0 <= settings.band <= MAX_BAND, "outputs.trimap.band", settings.band, "from 0 to 500"
        )

    def build(self, source: LayerSource) -> Pixels:
        """0 background, 255 subject, 128 within `band` pixels of what is neither, (H, W)."""
        alpha = np.ascontiguousarray(source.pixels[:, :, 3])
        side = 2 * self.settings.band + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        surely = np.asarray(cv2.erode(alpha, disc)) == 255
        surely_not = np.asarray(cv2.dilate(alpha, disc)) == 0
        return np.where(surely, 255, np.where(surely_not, 0, UNKNOWN)).astype(np.uint8)
