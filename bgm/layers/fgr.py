"""The subject's own colours."""

from __future__ import annotations

from bgm.layers.base import Layer, LayerSettings, LayerSource, register_layer
from bgm.layers.rounding import Pixels


@register_layer("fgr")
class Foreground(Layer[LayerSettings]):
    """The subject's own colours; they mean something only where alpha is above 0."""

    shows = "the subject's own colours"
    channels = 3

    def build(self, source: LayerSource) -> Pixels:
        """Colours that are not multiplied by alpha, (H, W, 3)."""
        return source.pixels[:, :, :3]
