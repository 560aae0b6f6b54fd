"""The subject's own colours."""

from __future__ import annotations

from bgm.layers.base import ColourSettings, Format, Layer, LayerSource, register_layer
from bgm.layers.rounding import Pixels, to_host


@register_layer("fgr")
class Foreground(Layer[ColourSettings]):
    """The subject's own colours; they mean something only where alpha is above 0."""

    shows = "the subject's own colours"
    channels = 3
    formats = tuple(Format)
    settings_type = ColourSettings

    def build(self, source: LayerSource) -> Pixels:
        """Colours that are not multiplied by alpha, (H, W, 3)."""
        if self.depth == 8:
            return source.pixels[:, :, :3]
        return to_host(source.matte.foreground, self.depth)
