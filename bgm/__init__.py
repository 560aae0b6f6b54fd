"""High-resolution background matting.

The names below are the public Python interface; they are imported when first used, so that
`import bgm` is quick and needs neither Hydra nor Weights & Biases.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bgm.data import find_pairs as find_pairs
    from bgm.data.datasets import ImagesDataset as ImagesDataset
    from bgm.data.datasets import ZipDataset as ZipDataset
    from bgm.errors import BgmError as BgmError
    from bgm.inference.matte import Matte as Matte
    from bgm.inference.matting import load_matting as load_matting
    from bgm.networks import MattingBase as MattingBase
    from bgm.networks import MattingRefine as MattingRefine
    from bgm.outputs import to_image as to_image
    from bgm.outputs.edges import edit_edges as edit_edges
    from bgm.runs.matte_video import matte_video as matte_video

__version__ = "0.1.0"

_HOMES = {
    "BgmError": "bgm.errors",
    "ImagesDataset": "bgm.data.datasets",
    "Matte": "bgm.inference.matte",
    "MattingBase": "bgm.networks",
    "MattingRefine": "bgm.networks",
    "ZipDataset": "bgm.data.datasets",
    "edit_edges": "bgm.outputs.edges",
    "find_pairs": "bgm.data",
    "load_matting": "bgm.inference.matting",
    "matte_video": "bgm.runs.matte_video",
    "to_image": "bgm.outputs",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bgm' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
