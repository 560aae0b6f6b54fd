"""Where the network expected to be wrong."""

from __future__ import annotations

from bgm.errors import BgmError
from bgm.layers.base import Layer, LayerSettings, LayerSource, register_layer
from bgm.layers.rounding import Pixels, to_host


@register_layer("err")
class Error(Layer[LayerSettings]):
    """Where the network expected to be wrong."""

    shows = "the map of expected errors"
    channels = 1

    def build(self, source: LayerSource) -> Pixels:
        """The error that the network expected of its alpha, (H, W)."""
        error = source.matte.error
        if error is None:
            raise BgmError("this network has no err layer")
        return to_host(error, self.depth)
