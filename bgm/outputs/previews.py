"""Small pictures that show a matte at a glance."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bgm.data import to_uint8
from bgm.inference.matte import Matte
from bgm.tracking.base import Preview

_CELL = 16
_LIGHT, _DARK = 235, 195


def checkerboard(height: int, width: int) -> NDArray[np.uint8]:
    """A light checkerboard, which shows what is transparent: (H, W, 3), uint8."""
    rows, columns = np.mgrid[0:height, 0:width] // _CELL
    board = np.where((rows + columns) % 2, _DARK, _LIGHT).astype(np.uint8)
    return np.repeat(board[:, :, None], 3, axis=2)


def strip(src: Tensor, pixels: NDArray[np.uint8], matte: Matte, height: int = 320) -> Preview:
    """Source, alpha, cut-out on a checkerboard, error and refinement side by side.

    Everything is reduced first and composed then, so that a large picture costs little more. Torch
    computes nothing here: beside the network it would have to share the processors with more
    threads of its own, and the network's would never again doze instead of sleeping.

    Args:
        src: The source, (3, H, W), uint8 or float in [0, 1].
        pixels: Foreground and alpha, (H, W, 4), uint8.
        matte: Their matte; maps that it lacks are left out.
        height: Height of the strip in pixels; smaller images are not enlarged.

    Returns:
        The strip, with the width of its panels.
    """
    rows = min(height, pixels.shape[0])
    size = (max(1, round(pixels.shape[1] * rows / pixels.shape[0])), rows)
    alpha = pixels[:, :, 3]
    # Multiplied by alpha: what the foreground holds outside of the subject would bleed into it.
    lit = cv2.multiply(pixels[:, :, :3], cv2.merge([alpha] * 3), scale=1 / 255)
    small_alpha = _reduce(alpha, size)
    board = cv2.multiply(
        checkerboard(*small_alpha.shape), 255 - _as_rgb(small_alpha), scale=1 / 255
    )
    panels = [
        _reduce(to_uint8(src.permute(1, 2, 0).cpu().numpy()), size),
        _as_rgb(small_alpha),
        cv2.add(_reduce(lit, size), board),
    ]
    maps = [layer for layer in (matte.coarse_error, matte.coarse_refined) if layer is not None]
    panels += [_as_rgb(_small(layer, matte, size)) for layer in maps]
    return Preview(np.hstack(panels), size[0])


def _small(coarse: Tensor, matte: Matte, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A map of the coarse pass at the size of a panel; of a refiner's, without the padding."""
    pixels = coarse[0].cpu().numpy().astype(np.float32) * 255
    (width, height), (rows, columns) = size, matte.mapped_size
    whole = (
        round(columns * width / matte.alpha.shape[2]),
        round(rows * height / matte.alpha.shape[1]),
    )
    return _reduce(pixels, whole)[:height, :width]


def _reduce(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).round(), np.uint8)


def _as_rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[:, :, None], 3, axis=2)
