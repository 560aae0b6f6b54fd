"""What a matte leaves unexplained: how far its composite over the plate is from the photograph."""

from __future__ import annotations

import cv2
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
    foreground, alpha = cv2.cvtColor(matte, cv2.COLOR_RGBA2RGB), unit_alpha(matte)
    left = cv2.multiply(in_three(alpha), cv2.subtract(foreground, bgr, dtype=cv2.CV_32F))
    left = cv2.add(left, cv2.subtract(bgr, src, dtype=cv2.CV_32F))
    return mean_of_channels(np.abs(left)) / np.float32(255)


def unit_alpha(matte: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Alpha of foreground and alpha, (H, W, 4), as (H, W) in [0, 1]."""
    return cv2.extractChannel(matte, 3).astype(np.float32) / np.float32(255)


def in_three(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """One channel, (H, W), three times, (H, W, 3)."""
    return np.asarray(cv2.cvtColor(values, cv2.COLOR_GRAY2RGB), np.float32)


def mean_of_channels(pixels: Pixels) -> NDArray[np.float32]:
    """The mean of each pixel's three channels, (H, W): OpenCV is many times as fast as numpy."""
    return np.asarray(
        cv2.transform(np.asarray(pixels, np.float32), np.full((1, 3), 1 / 3)), np.float32
    )
