"""How long files take to decode and encode, and how large they become."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bgm.data import read_image
from bgm.outputs import LayerSpec, encode


@dataclass(frozen=True)
class CodecFigures:
    """One way to decode or encode.

    Attributes:
        what: What is done, by what.
        ms: Median of the repeats, in milliseconds.
        kilobytes: Size of the file.
    """

    what: str
    ms: float
    kilobytes: float


def measure_codecs(photograph: Path, cutout: NDArray[np.uint8], repeats: int) -> list[CodecFigures]:
    """Measure the codecs that a run uses, beside Pillow's.

    Args:
        photograph: A JPEG file.
        cutout: A cut-out, (H, W, 4).
        repeats: How often each is measured, in turns.
    """
    colours = np.ascontiguousarray(cutout[:, :, :3])
    jpeg = LayerSpec("fgr", "jpg")
    ways: dict[str, Callable[[], bytes | None]] = {
        "decode JPEG, bgm": lambda: _nothing(read_image(photograph)),
        "decode JPEG, Pillow": lambda: _nothing(np.asarray(Image.open(photograph).convert("RGB"))),
        **{
            f"encode PNG level {level}, bgm": lambda level=level: encode(  # type: ignore[misc]
                cutout, LayerSpec("com", "png"), level
            )
            for level in (1, 3, 6)
        },
        "encode PNG level 6, Pillow": lambda: _save(cutout, "png"),
        "encode JPEG, bgm": lambda: encode(colours, jpeg, 0),
        "encode JPEG, Pillow": lambda: _save(colours, "jpeg", quality=95, subsampling=0),
    }
    times: dict[str, list[float]] = {what: [] for what in ways}
    sizes = dict.fromkeys(ways, photograph.stat().st_size)
    for _ in range(repeats):
        for what, way in ways.items():
            started = time.perf_counter()
            encoded = way()
            times[what].append(time.perf_counter() - started)
            if encoded is not None:
                sizes[what] = len(encoded)
    return [
        CodecFigures(what, round(statistics.median(times[what]) * 1e3, 2), round(size / 1e3, 1))
        for what, size in sizes.items()
    ]


def _nothing(_: object) -> None:
    """Decoding leaves no file."""


def _save(pixels: NDArray[np.uint8], kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()
