"""What a matte leaves unexplained: how far its composite over the plate is from the photograph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bgm.data.pixels import Pixels

CHECK_SIDE = 640
"""Pixels of the longer side, at most, of the versions that a check needs."""


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
