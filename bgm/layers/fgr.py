"""The subject's own colours."""

from __future__ import annotations

import cv2
import numpy as np

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
            # Copied here, for numpy takes ten times as long to copy three channels of four.
            return np.asarray(cv2.cvtColor(source.pixels, cv2.COLOR_RGBA2RGB), np.uint8)
        return to_host(source.matte.foreground, self.depth)
