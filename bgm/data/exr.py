"""Reads OpenEXR pictures, which hold light as floats: photographs, plates, mattes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgm.data import colour
from bgm.data.pixels import Pixels

EXR = ".exr"
"""Ending of such files."""

_COLOURS = ("R", "G", "B")
_MOST_BRIGHT = 0.001  # of the pixels, that may be brighter than white without a word


@dataclass(frozen=True)
class Exr:
    """The head of a file.

    Attributes:
        path: The file.
        header: What the head says of the first part, by OpenEXR's names.
    """

    path: Path
    header: dict[str, Any]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, or of what is stored of it, if that is more."""
        windows = (_corners(self.header[name]) for name in ("displayWindow", "dataWindow"))
        sizes = [(right - left, bottom - top) for left, top, right, bottom in windows]
        return max(width for width, _ in sizes), max(height for _, height in sizes)


def open_exr(path: Path) -> Exr:
    """Read the head of a file.

    Raises:
        ValueError: OpenEXR is not installed, or it is no such file.
    """
    with _opened(path, header_only=True) as file:
        return Exr(path, dict(file.parts[0].header))


def read_channels(exr: Exr) -> dict[str, NDArray[np.float32]]:
    """The channels of a picture by the last part of their names: R, G, B, A, Y.

    Of a file with layers, those of the layer without a name, or else of the first with colours.

    Returns:
        (H, W) each, as large as the picture; what lies outside of what is stored is 0.

    Raises:
        ValueError: It has no channels that are known here, or values that are not finite.
    """
    with _opened(exr.path, separate_channels=True) as file:
        stored = {name: np.asarray(c.pixels) for name, c in file.parts[0].channels.items()}
    layers: dict[str, dict[str, NDArray[Any]]] = {"": {}}
    for name, pixels in stored.items():
        layer, _, channel = name.rpartition(".")
        layers.setdefault(layer, {})[channel] = pixels
    known = (layer for layer in layers.values() if {*_COLOURS} <= {*layer})
    chosen = next(known, None) or layers[""]
    if not {*chosen} & {"Y", "A", "R"} or "RY" in chosen:
        raise ValueError(f"it has the channels {', '.join(stored)}, but neither R, G, B nor Y or A")
    return {name: _placed(chosen[name], exr.header) for name in chosen if name in "RGBAY"}


def to_srgb(exr: Exr, channels: dict[str, NDArray[np.float32]]) -> tuple[Pixels, str | None]:
    """Bring a picture from light to sRGB. A lone matte, and maps of ours, are numbers and stay.

    Args:
        exr: Its head, whose chromaticities count; those of BT.709 if it says nothing.
        channels: What `read_channels` gives.

    Returns:
        (H, W, 3), float32 in [0, 1], and what there is to say: that much is brighter than white.
    """
    names = _COLOURS if "R" in channels else ("Y",) if "Y" in channels else ("A",)
    stored = np.repeat(np.stack([channels[n] for n in names], -1), 3 // len(names), axis=2)
    if exr.header.get("bgm:alpha") == "premultiplied" and "A" in channels:
        stored /= np.maximum(channels["A"][..., None], np.float32(1e-4))
    usual = "numbers" if names == ("A",) or "bgm:layer" in exr.header else "linear"
    if exr.header.get("bgm:transfer", usual) != "linear":
        return stored.clip(0, 1), None
    bright = float((stored > 1).any(axis=2).mean())
    said = exr.header.get("chromaticities")
    if said is not None and "R" in channels:
        red, green, blue, white = ((said[i], said[i + 1]) for i in range(0, 8, 2))
        profile = colour.matrix_profile((red, green, blue), white, 1.0)
        pixels = colour.unit_to_srgb(stored, profile)
    else:
        pixels = colour.encode(stored)
    remark = f"{bright:.1%} of {exr.path.name} is brighter than white: cut off there"
    return pixels, remark if bright > _MOST_BRIGHT else None


def _opened(path: Path, **how: bool) -> Any:
    try:
        import OpenEXR
    except ImportError:
        raise ValueError("it needs OpenEXR: pip install 'bgm[exr]'") from None
    return OpenEXR.File(str(path), **how)


def _placed(pixels: NDArray[Any], header: dict[str, Any]) -> NDArray[np.float32]:
    """What is stored, put where it belongs in the picture."""
    if not np.isfinite(pixels).all():
        raise ValueError("it contains values that are not finite")
    left, top, right, bottom = _corners(header["displayWindow"])
    x, y, *_ = _corners(header["dataWindow"])
    height, width = pixels.shape
    placed = np.zeros((bottom - top, right - left), np.float32)
    rows = slice(max(top, y), min(bottom, y + height))
    columns = slice(max(left, x), min(right, x + width))
    if rows.start < rows.stop and columns.start < columns.stop:
        placed[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = (
            pixels[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
        )
    return placed


def _corners(window: Any) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a window, the last two outside of it."""
    (left, top), (right, bottom) = window
    return int(left), int(top), int(right) + 1, int(bottom) + 1
