"""The cut-out, or the composite on a new background."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from bgm.data.decode import decode
from bgm.data.kinds import is_film
from bgm.data.named_colours import parse_colour
from bgm.data.pixels import as_tensor, to_unit
from bgm.data.video.looped import LoopedClip
from bgm.errors import ConfigError
from bgm.layers.base import ColourSettings, Format, Layer, LayerSource, LayerSpec, register_layer
from bgm.layers.rounding import Pixels, to_host
from bgm.storage import locate

if TYPE_CHECKING:
    from torch import Tensor

AlphaKind = Enum("AlphaKind", ["straight", "premultiplied"])


@dataclass
class CompositeSettings(ColourSettings):
    """How the cut-out, or the composite on a new background, is made and stored."""

    format: Format = Format.png
    alpha: AlphaKind = AlphaKind.straight
    background: str | None = None


@register_layer("com")
class Composite(Layer[CompositeSettings]):
    """The cut-out, or the composite on a new background.

    Args:
        settings: With the background: a colour, or the path of an image or a clip. None keeps it
            transparent.

    Raises:
        DataError: The background image cannot be read.
    """

    shows = "the cut-out"
    channels = 4
    formats = tuple(Format)
    paths = ("background",)
    settings_type = CompositeSettings

    def __init__(self, settings: CompositeSettings) -> None:
        super().__init__(settings)
        self._premultiplied = settings.alpha is AlphaKind.premultiplied
        self._plate: Tensor | None = None
        self._film: LoopedClip | None = None
        if settings.background is not None and is_film(Path(settings.background)):
            self._film = LoopedClip(Path(settings.background))
        elif settings.background is not None:
            self._plate = _read_background(settings.background)
        self._fitted: Tensor | None = None

    @classmethod
    def check(cls, settings: CompositeSettings) -> None:
        """Refuse an alpha that has no place in the file."""
        super().check(settings)
        if settings.background is not None:
            if settings.alpha is AlphaKind.premultiplied:
                raise ConfigError(
                    "outputs.com.alpha=premultiplied does not fit outputs.com.background, which "
                    "leaves no alpha; choose one of them"
                )
        elif settings.format is Format.jpg:
            raise ConfigError(
                "outputs.com.format=jpg has no alpha; choose png, webp or tiff, or put the subject "
                "on a background with outputs.com.background=white"
            )

    @classmethod
    def check_files(cls, settings: CompositeSettings) -> None:
        """Refuse a background that is neither a colour nor there."""
        background = settings.background
        if background is None or parse_colour(background) is not None:
            return
        if not locate(background).is_file():
            raise ConfigError(
                f"outputs.com.background={background}: neither a colour (white, '#00ff88') nor an "
                "image file or clip"
            )

    @property
    def spec(self) -> LayerSpec:
        """How it is stored."""
        return replace(super().spec, premultiplied=self._premultiplied)

    def build(self, source: LayerSource) -> Pixels:
        """The subject, (H, W, 4), or with a background (H, W, 3)."""
        matte, pixels = source.matte, source.pixels
        if self._film is not None:
            shown = to_unit(as_tensor(self._film.at(source.seconds)))
            size = (matte.alpha.shape[2], matte.alpha.shape[1])
            return to_host(matte.composite(cover(shown, size)), self.depth)
        if self._plate is not None:
            return to_host(matte.composite(self._fit(self._plate, matte.alpha)), self.depth)
        if self.depth == 32:  # the curve of sRGB comes off before colours are multiplied by alpha
            return self._straight(source)
        if self._premultiplied:
            cutout = matte.composite()
            cutout[:3] *= cutout[3:]
            return to_host(cutout, self.depth)
        if self.depth != 8:
            return self._straight(source)
        if source.extended:
            return pixels
        # Where the stored alpha is 0, the stored colour is too.
        return np.asarray(cv2.bitwise_and(pixels, pixels, mask=pixels[:, :, 3].copy()), np.uint8)

    def _straight(self, source: LayerSource) -> Pixels:
        """Colours that are not multiplied by alpha, deeper than 8 bits."""
        alpha = to_host(source.matte.alpha, self.depth)
        colours = to_host(source.matte.foreground, self.depth)
        if not source.extended:
            colours[alpha == 0] = 0
        return np.dstack([colours, alpha])

    def _fit(self, plate: Tensor, like: Tensor) -> Tensor:
        """The background as large as `like`; kept, because most shoots have one size."""
        if plate.shape[1:] == (1, 1):
            return plate
        fitted = self._fitted
        if fitted is None or fitted.shape[1:] != like.shape[1:]:
            fitted = cover(plate, (like.shape[2], like.shape[1])).to(like.device)
            self._fitted = fitted
        return fitted


def cover(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale (3, H, W) so that it covers (width, height), and cut off evenly what juts out."""
    width, height = size
    scale = max(width / image.shape[2], height / image.shape[1])
    scaled = (max(width, round(image.shape[2] * scale)), max(height, round(image.shape[1] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(image.permute(1, 2, 0).numpy(), scaled, interpolation=method)
    left, top = (scaled[0] - width) // 2, (scaled[1] - height) // 2
    return as_tensor(resized[top : top + height, left : left + width].clip(0, 1))


def _read_background(background: str) -> Tensor:
    colour = parse_colour(background)
    if colour is not None:
        return as_tensor(np.array(colour, np.float32).reshape(1, 1, 3) / 255)
    return to_unit(as_tensor(decode(locate(background)).pixels))
