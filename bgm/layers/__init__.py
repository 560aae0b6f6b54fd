"""What can be stored of a matte. A new type is a module here and its lines in `conf/outputs/`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from bgm.layers.base import (
    LAYERS,
    VIDEO_FORMATS,
    ColourSettings,
    DeepSettings,
    Format,
    Layer,
    LayerSettings,
    LayerSource,
    LayerSpec,
    register_layer,
)
from bgm.layers.rounding import Pixels, to_host

for _module in iter_modules(__path__):  # each registers what it has
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "LAYERS",
    "VIDEO_FORMATS",
    "ColourSettings",
    "DeepSettings",
    "Format",
    "Layer",
    "LayerSettings",
    "LayerSource",
    "LayerSpec",
    "Pixels",
    "register_layer",
    "to_host",
]
