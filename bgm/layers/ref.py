"""What the refiner redid."""

from __future__ import annotations

from bgm.errors import BgmError
from bgm.layers.base import Layer, LayerSettings, LayerSource, register_layer
from bgm.layers.rounding import Pixels, to_host


@register_layer("ref")
class Refined(Layer[LayerSettings]):
    """What the refiner redid."""

    shows = "the map of what the refiner redid"
    channels = 1
    needs_refiner = True

    def build(self, source: LayerSource) -> Pixels:
        """White where the refiner worked, (H, W)."""
        refined = source.matte.refined
        if refined is None:
            raise BgmError("this network has no ref layer")
        return to_host(refined, self.depth)
