"""Where the matte contradicts its photograph."""

from __future__ import annotations

import numpy as np

from bgm.data.pixels import as_pixels, to_uint8
from bgm.data.residual import residual
from bgm.layers.base import Layer, LayerSettings, LayerSource, register_layer
from bgm.layers.rounding import Pixels

_GAIN = 4  # a difference of a quarter of white is white: small ones shall be seen


@register_layer("chk")
class Contradiction(Layer[LayerSettings]):
    """Where the matte contradicts its photograph."""

    shows = "the map of what the matte leaves unexplained"
    channels = 1

    def build(self, source: LayerSource) -> Pixels:
        """Four times `|aF + (1-a)B - I|`, (H, W), uint8; once, as floats, for EXR."""
        photograph, plate = (to_uint8(as_pixels(image)) for image in (source.src, source.bgr))
        left = residual(photograph, plate, source.pixels)
        if self.depth == 32:
            return left
        left *= 255 * _GAIN
        return np.asarray(left.clip(0, 255).round(), np.uint8)
