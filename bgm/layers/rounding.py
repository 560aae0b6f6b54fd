"""From floats on any device to whole numbers on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # settings are checked without torch
    from torch import Tensor

Pixels = NDArray[Any]
"""(H, W) or (H, W, 3 or 4), uint8, uint16, or for EXR float32 in [0, 1], RGB(A)."""


def round_to(layer: Tensor, bits: int) -> Tensor:
    """Round values in [0, 1] to whole numbers of `bits` bits (not truncated), still as floats."""
    whole: Tensor = (layer * (2**bits - 1)).round()
    return whole


def to_host(layer: Tensor, bits: int = 8) -> Pixels:
    """Round a layer (C, H, W) in [0, 1] to `bits` bits, copied to the host; 32 leaves floats."""
    if bits == 32:
        floats: Pixels = layer.permute(1, 2, 0).float().contiguous().cpu().numpy()
        return floats[:, :, 0] if floats.shape[2] == 1 else floats
    whole = round_to(layer, bits).permute(1, 2, 0)
    # Whole numbers are a quarter or half of what floats would be on the way from a GPU.
    small = whole.byte() if bits == 8 else whole.int()
    pixels: Pixels = small.contiguous().cpu().numpy()
    if bits != 8:
        pixels = pixels.astype(np.uint16)
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
