"""Encodes layers as image files and stores them so that no half-written file is ever seen."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import cv2
import numpy as np

from bgm.errors import WriteError
from bgm.outputs.layers import LayerSpec, Pixels

EXTENSIONS = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "tiff": ".tif"}
"""File extension of each format."""

PARTIAL_SUFFIX = ".part"
"""Ends the name of a file that is not whole yet."""

_TO_OPENCV = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}


def encode(pixels: Pixels, spec: LayerSpec, png_level: int) -> bytes:
    """Encode one layer.

    Args:
        pixels: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16, RGB(A).
        spec: Its format and quality.
        png_level: Compression of PNG, 0 (fast) to 9 (small); lossless at every level.

    Raises:
        WriteError: The image does not fit the format.
    """
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


def store(data: bytes, path: Path) -> None:
    """Write a file under a temporary name beside its own, then rename it.

    Raises:
        WriteError: It could not be written; nothing is left behind.
    """
    partial = path.with_name(f".{uuid.uuid4().hex[:12]}{PARTIAL_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            os.replace(partial, path)  # noqa: PTH105 - replaces an existing file everywhere
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror or error}") from error
