"""Encodes layers as image files."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from PIL import Image

from bgm.data.metadata import Metadata
from bgm.data.png import LEVELS, encode_png
from bgm.errors import WriteError
from bgm.layers import LayerSpec, Pixels
from bgm.outputs.exr import encode_exr
from bgm.outputs.metadata import (
    PREMULTIPLIED,
    STRAIGHT,
    extend_tiff,
    pillow_options,
    png_chunks,
)

EXTENSIONS = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "tiff": ".tif", "exr": ".exr"}
"""File extension of each format."""

_PNG_HEADER = 33  # bytes of the signature and the first chunk
_TO_OPENCV = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}


def encode(
    pixels: Pixels, spec: LayerSpec, png_level: int, metadata: Metadata | None = None
) -> bytes:
    """Encode one layer.

    Args:
        pixels: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16, or for EXR float32, RGB(A).
        spec: Its format and quality.
        png_level: Compression of PNG, 0 (fast) to 9 (small); lossless at every level. Up to 3 it
            is ISA-L's, several times as fast; above it is zlib's.
        metadata: What the photograph says of itself, to be said by the layer too, with that its
            colours are sRGB; None says nothing.

    Raises:
        WriteError: The image does not fit the format.
    """
    if spec.format == "exr":
        return encode_exr(pixels, spec)
    if spec.format == "png" and png_level in LEVELS:
        return encode_png(pixels, png_level, png_chunks(metadata))
    if spec.format == "png":
        options = [cv2.IMWRITE_PNG_COMPRESSION, png_level]
        data = _with_opencv(pixels, spec, options)
        return data[:_PNG_HEADER] + png_chunks(metadata) + data[_PNG_HEADER:]
    if spec.format == "tiff":
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        kind = PREMULTIPLIED if spec.premultiplied else STRAIGHT
        alpha = kind if channels == 4 else None
        data = _with_opencv(pixels, spec, [])
        return extend_tiff(data, metadata, is_colour=channels > 1, alpha=alpha)
    return _with_pillow(pixels, spec, metadata)


def _with_opencv(pixels: Pixels, spec: LayerSpec, options: list[int]) -> bytes:
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, _TO_OPENCV[pixels.shape[2]])
    try:
        whole, encoded = cv2.imencode(EXTENSIONS[spec.format], pixels, options)
    except cv2.error as error:
        raise WriteError(f"{spec.type} cannot be encoded as {spec.format}: {error.err}") from None
    if not whole:
        raise WriteError(f"{_described(pixels, spec)} cannot be encoded as {spec.format}")
    return np.asarray(encoded).tobytes()


def _with_pillow(pixels: Pixels, spec: LayerSpec, metadata: Metadata | None) -> bytes:
    # Full colour resolution: halving it would fringe the very edges that matting is about.
    options: dict[str, Any] = {"subsampling": 0} if spec.format == "jpg" else {}
    # WebP stores grey as colours.
    is_colour = pixels.ndim == 3 or spec.format == "webp"
    options |= pillow_options(metadata, is_colour=is_colour)
    file = io.BytesIO()
    kind = {"jpg": "JPEG", "webp": "WEBP"}[spec.format]
    try:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image.save(file, kind, quality=spec.quality, **options)
    except (OSError, ValueError) as error:
        what = _described(pixels, spec)
        raise WriteError(f"{what} cannot be encoded as {spec.format}: {error}") from None
    return file.getvalue()


def _described(pixels: Pixels, spec: LayerSpec) -> str:
    return f"{spec.type} of {pixels.shape[1]}x{pixels.shape[0]}"
