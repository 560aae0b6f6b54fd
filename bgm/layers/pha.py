"""Alpha."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bgm.errors import ConfigError, require
from bgm.layers.base import (
    VIDEO_FORMATS,
    Format,
    Layer,
    LayerSettings,
    LayerSource,
    LayerSpec,
    register_layer,
)
from bgm.layers.rounding import Pixels, to_host


@dataclass
class AlphaSettings(LayerSettings):
    """How alpha is stored."""

    bits: int = 8


@register_layer("pha")
class Alpha(Layer[AlphaSettings]):
    """Alpha."""

    shows = "alpha"
    channels = 1
    settings_type = AlphaSettings

    @classmethod
    def check(cls, settings: AlphaSettings) -> None:
        """Refuse a depth that there is not, or that the format has not."""
        super().check(settings)
        bits, kind = settings.bits, settings.format
        require(bits in (8, 16), "outputs.pha.bits", bits, "8 or 16")
        is_picture = kind.name not in VIDEO_FORMATS
        if bits == 16 and is_picture and kind not in (Format.png, Format.tiff):
            raise ConfigError(
                f"outputs.pha.bits=16 does not fit outputs.pha.format={kind.name}, which has 8 "
                "bits; choose outputs.pha.format=png or tiff"
            )

    @property
    def spec(self) -> LayerSpec:
        """How it is stored."""
        return replace(super().spec, bits=self.settings.bits)

    def build(self, source: LayerSource) -> Pixels:
        """Alpha, (H, W)."""
        bits = self.settings.bits
        return source.pixels[:, :, 3] if bits == 8 else to_host(source.matte.alpha, bits)
