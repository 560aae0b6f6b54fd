"""OpenEXR: half floats in linear light, as compositing programs have them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bgm import __version__
from bgm.data.colour import decode
from bgm.errors import WriteError
from bgm.layers import LayerSpec, Pixels

_BT709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
"""Chromaticities of red, green, blue and white, which are those of sRGB too."""


def encode_exr(pixels: Pixels, spec: LayerSpec) -> bytes:
    """Encode one layer.

    Colours are the channels R, G, B; alpha is A, also where it is alone, so that compositing
    programs find it; any other map is Y. The header says whether the light is linear and alpha
    straight.

    Args:
        pixels: Float32 in [0, 1] with the curve of sRGB, (H, W), (H, W, 3) or (H, W, 4); colours
            not multiplied by alpha.
        spec: Whether the colours shall be linear, and multiplied by alpha.

    Raises:
        WriteError: It could not be encoded.
    """
    import OpenEXR

    header: dict[str, Any] = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "chromaticities": _BT709,
        "software": f"bgm {__version__}",
        "bgm:layer": spec.type,
    }
    if pixels.ndim == 2:
        channels = {"A" if spec.type == "pha" else "Y": pixels}
    else:
        colours = decode(pixels[:, :, :3]) if spec.linear else pixels[:, :, :3]
        header["bgm:transfer"] = "linear" if spec.linear else "sRGB"
        channels = {"RGB": colours}
        if pixels.shape[2] == 4:
            alpha = pixels[:, :, 3:]
            header["bgm:alpha"] = "premultiplied" if spec.premultiplied else "straight"
            colours = colours * alpha if spec.premultiplied else colours
            channels = {"RGBA": np.dstack([colours, alpha])}
    halves = {name: np.ascontiguousarray(c, np.float16) for name, c in channels.items()}
    with tempfile.TemporaryDirectory() as folder:  # the library writes to paths only
        path = Path(folder) / "layer.exr"
        try:
            OpenEXR.File(header, halves).write(str(path))
            return path.read_bytes()
        except Exception as error:  # whatever the library raises
            raise WriteError(f"{spec.type} cannot be encoded as exr: {error}") from None
