"""What a matte leaves unexplained: how far its composite over the plate is from the photograph."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from bgm.data.pixels import Pixels, to_uint8

_SIDE = 640


def residual(src: Pixels, bgr: Pixels, matte: NDArray[np.uint8]) -> NDArray[np.float32]:
    """`|aF + (1-a)B - I|` of each pixel.

    Args:
        src: The photograph, uint8, (H, W, 3).
        bgr: The plate as the network saw it, uint8, (H, W, 3).
        matte: Foreground and alpha, uint8, (H, W, 4).

    Returns:
        (H, W), the mean of the channels, in [0, 1].
    """
    alpha = matte[:, :, 3:].astype(np.float32) / 255
    composite = alpha * matte[:, :, :3] + (1 - alpha) * bgr
    return np.asarray(np.abs(composite - src).mean(axis=2) / 255, np.float32)


def shrink(pixels: Pixels) -> NDArray[np.uint8]:
    """A version of a picture, (H, W, C), of at most 640 pixels a side: enough for a check."""
    height, width = pixels.shape[:2]
    factor = max(1, min(-(-max(height, width) // _SIDE), height, width))
    if factor > 1:
        size = width // factor, height // factor
        cut = pixels[: size[1] * factor, : size[0] * factor]
        pixels = np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_AREA))
    return to_uint8(pixels)
