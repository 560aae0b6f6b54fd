"""PNG files by ISA-L, whose compression takes a fortieth of the time that zlib's does."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

LEVELS = range(4)
"""What ISA-L can compress by: 0 is fast, 3 small."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SUB = 1  # of the filters: each byte minus that of the pixel to its left


def encode_png(pixels: NDArray[Any], level: int = 1, chunks: bytes = b"") -> bytes:
    """Encode PNG with the Sub filter and ISA-L's compression.

    Args:
        pixels: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16, RGB(A).
        level: One of `LEVELS`.
        chunks: What stands between the header and the pixels.
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    step = channels * pixels.itemsize
    big_endian = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    rows = big_endian.view(np.uint8).reshape(height, width * step)
    filtered = np.empty((height, 1 + width * step), np.uint8)
    filtered[:, 0] = _SUB
    filtered[:, 1 : 1 + step] = rows[:, :step]
    np.subtract(rows[:, step:], rows[:, :-step], out=filtered[:, 1 + step :])
    colour_type = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, colour_type, 0, 0, 0)
    data = isal_zlib.compress(filtered, level)
    start, end = png_chunk(b"IHDR", header), png_chunk(b"IEND", b"")
    return b"".join((_SIGNATURE, start, chunks, png_chunk(b"IDAT", data), end))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file."""
    check = isal_zlib.crc32(data, isal_zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
