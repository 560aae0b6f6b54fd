"""Small versions of pictures, for what does not need every pixel."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from bgm.data.pixels import Pixels, to_uint8


def reduction(pixels: Pixels, side: int) -> int:
    """By what whole number a picture is reduced to be at most `side` pixels a side, not below 1."""
    height, width = pixels.shape[:2]
    return int(max(1, min(-(-max(height, width) // side), height, width)))


def reduce_by(pixels: Pixels, factor: int) -> Pixels:
    """Reduce a picture, (H, W, C), by a whole number, which is several times as quick as by others.

    Each pixel is the mean of those that it stands for; what is left of the last one is cut.
    """
    if factor == 1:
        return pixels
    width, height = pixels.shape[1] // factor, pixels.shape[0] // factor
    cut = pixels[: height * factor, : width * factor]
    return np.asarray(cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA))


def shrink(pixels: Pixels, side: int) -> NDArray[np.uint8]:
    """A version in 8 bits of at most `side` pixels a side.

    Args:
        pixels: (H, W, C), uint8 or float32 in [0, 1].
        side: Pixels.
    """
    return to_uint8(reduce_by(pixels, reduction(pixels, side)))
