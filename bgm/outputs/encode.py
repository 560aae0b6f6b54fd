"""Encodes layers as image files."""

from __future__ import annotations

import struct

import cv2
import numpy as np
from isal import isal_zlib

from bgm.errors import WriteError
from bgm.outputs.layers import LayerSpec, Pixels

EXTENSIONS = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "tiff": ".tif"}
"""File extension of each format."""

FASTEST_PNG_LEVELS = 3
"""Up to this level PNG is compressed by ISA-L."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SUB = 1  # of the PNG filters: each byte minus that of the pixel to its left
_TO_OPENCV = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}


def encode(pixels: Pixels, spec: LayerSpec, png_level: int) -> bytes:
    """Encode one layer.

    Args:
        pixels: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16, RGB(A).
        spec: Its format and quality.
        png_level: Compression of PNG, 0 (fast) to 9 (small); lossless at every level. Up to 3 it
            is ISA-L's, several times as fast; above it is zlib's.

    Raises:
        WriteError: The image does not fit the format.
    """
    if spec.format == "png" and png_level <= FASTEST_PNG_LEVELS:
        return encode_png(pixels, png_level)
    options = {
        "png": [cv2.IMWRITE_PNG_COMPRESSION, png_level],
        # Full colour resolution: halving it would fringe the very edges that matting is about.
        "jpg": [
            *(cv2.IMWRITE_JPEG_QUALITY, spec.quality),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        ],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, spec.quality],
        "tiff": [],
    }[spec.format]
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, _TO_OPENCV[pixels.shape[2]])
    try:
        whole, encoded = cv2.imencode(EXTENSIONS[spec.format], pixels, options)
    except cv2.error as error:
        raise WriteError(f"{spec.type} cannot be encoded as {spec.format}: {error.err}") from None
    if not whole:
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise WriteError(f"{spec.type} of {size} cannot be encoded as {spec.format}")
    return np.asarray(encoded).tobytes()


def encode_png(pixels: Pixels, level: int) -> bytes:
    """Encode PNG with the Sub filter and ISA-L's compression.

    Args:
        pixels: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16, RGB(A).
        level: 0 (fast) to 3 (small).
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
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b""))
    return _PNG_SIGNATURE + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = isal_zlib.crc32(data, isal_zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
