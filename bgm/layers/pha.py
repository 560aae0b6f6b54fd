"""Alpha."""

from __future__ import annotations

from bgm.layers.base import DeepSettings, Format, Layer, LayerSource, register_layer
from bgm.layers.rounding import Pixels, to_host


@register_layer("pha")
class Alpha(Layer[DeepSettings]):
    """Alpha."""

    shows = "alpha"
    channels = 1
    formats = tuple(Format)
    settings_type = DeepSettings

    def build(self, source: LayerSource) -> Pixels:
        """Alpha, (H, W)."""
        if self.depth == 8:
            return source.pixels[:, :, 3]
        return to_host(source.matte.alpha, self.depth)
