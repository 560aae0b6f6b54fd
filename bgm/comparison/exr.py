"""Reads the OpenEXR layers of finished runs, as pictures that can be shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bgm.data.colour import encode
from bgm.errors import DataError
from bgm.storage import local_copy

EXR = ".exr"
"""Ending of such files."""


def read_exr(path: Path) -> NDArray[np.uint8]:
    """Decode a layer that bgm has written.

    Returns:
        Straight colours with the curve of sRGB, and alpha, (H, W, 3 or 4); alpha alone, (H, W).

    Raises:
        DataError: It cannot be read, or OpenEXR is not installed.
    """
    try:
        import OpenEXR

        with local_copy(path) as file, OpenEXR.File(str(file)) as layer:
            header = dict(layer.header())  # or it would be emptied with the file
            planes = {name: np.asarray(c.pixels) for name, c in layer.channels().items()}
    except ImportError:
        raise DataError(f"{path} needs OpenEXR to be shown: pip install 'bgm[exr]'") from None
    except Exception as error:  # whatever the library raises
        raise DataError(f"{path} cannot be read: {error}") from None
    pixels = next(iter(planes.values())).astype(np.float32)
    if pixels.ndim == 3:
        if header.get("bgm:alpha") == "premultiplied":
            pixels[:, :, :3] /= np.maximum(pixels[:, :, 3:], np.float32(1e-4))
        if header.get("bgm:transfer") == "linear":
            pixels[:, :, :3] = encode(pixels[:, :, :3])
    return np.asarray((pixels * 255 + 0.5).clip(0, 255), np.uint8)
