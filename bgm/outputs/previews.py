"""Small pictures that show a matte at a glance."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bgm.data.pixels import to_unit
from bgm.inference.matte import Matte
from bgm.outputs.layers import to_host

_CELL = 16
_LIGHT, _DARK = 235, 195


def checkerboard(height: int, width: int) -> NDArray[np.uint8]:
    """A light checkerboard, which shows what is transparent: (H, W, 3), uint8."""
    rows, columns = np.mgrid[0:height, 0:width] // _CELL
    board = np.where((rows + columns) % 2, _DARK, _LIGHT).astype(np.uint8)
    return np.repeat(board[:, :, None], 3, axis=2)


def strip(src: Tensor, matte: Matte, height: int = 320) -> NDArray[np.uint8]:
    """Source, alpha, cut-out on a checkerboard, error and refinement side by side.

    Args:
        src: The source, (3, H, W), uint8 or float in [0, 1].
        matte: Its matte; maps that it lacks are left out.
        height: Height of the strip in pixels; smaller images are not enlarged.

    Returns:
        RGB, (height, width, 3), uint8.
    """
    layers = [
        to_unit(src),
        matte.alpha,
        matte.composite(_board(matte)),
        matte.error,
        matte.refined,
    ]
    rows = min(height, src.shape[1])
    columns = max(1, round(src.shape[2] * rows / src.shape[1]))
    panels = []
    for layer in layers:
        if layer is not None:
            panel = cv2.resize(to_host(layer), (columns, rows), interpolation=cv2.INTER_AREA)
            panels.append(panel if panel.ndim == 3 else cv2.cvtColor(panel, cv2.COLOR_GRAY2RGB))
    return np.hstack(panels)


def _board(matte: Matte) -> Tensor:
    board = checkerboard(*matte.alpha.shape[1:])
    return matte.alpha.new_tensor(board).permute(2, 0, 1) / 255
