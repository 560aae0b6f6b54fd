"""The pictures that a file is checked and calibrated with, as a network takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bgm.config.schema import DataConfig, Unmatched
from bgm.data import find_pairs, find_truths, read_alpha
from bgm.data.datasets import ZipDataset
from bgm.data.pixels import as_pixels, as_tensor, to_unit
from bgm.errors import ConfigError
from bgm.export.program import Size


@dataclass(frozen=True)
class Picture:
    """One pair, and the truth if there is one.

    Attributes:
        name: Its name.
        src: Source, (1, 3, H, W), float32 in [0, 1].
        bgr: Background, likewise.
        true: True alpha, uint8, (H, W).
    """

    name: str
    src: Tensor
    bgr: Tensor
    true: NDArray[np.uint8] | None


class Pictures:
    """Pairs of photographs, each scaled or cut to what a file takes.

    Args:
        data: Which.
        count: How many at most.

    Raises:
        ConfigError: There are none.
    """

    def __init__(self, data: DataConfig, count: int) -> None:
        skip = data.unmatched is Unmatched.skip
        pairs = find_pairs(Path(data.src), Path(data.bgr), skip_unmatched=skip).pairs[:count]
        if not pairs:
            raise ConfigError(f"data.src={data.src} has no photograph with a background")
        self._data = ZipDataset(
            pairs,
            align=data.align is True,
            resize_background=data.resize_background,
            max_pixels=round(data.max_megapixels * 1e6),
        )
        self._truths = {}
        if data.pha is not None:
            kinds = {"pha": Path(data.pha)}
            self._truths = find_truths([p.name for p in pairs], kinds, skip_unmatched=True)

    def __len__(self) -> int:
        return len(self._data)

    def fit(self, size: Size | None, multiple: int, least: int) -> Iterator[Picture]:
        """The pictures, one after the other.

        Args:
            size: The size that all are scaled to; None leaves each at its own.
            multiple: What the sides must be divisible by; what is over is cut off.
            least: Shortest side; smaller pictures are enlarged.
        """
        for index in range(len(self)):
            sample = self._data[index]
            name = sample.pair.name
            truth = self._truths.get(name, {}).get("pha")
            layers = [as_pixels(sample.src), as_pixels(sample.bgr)]
            if truth is not None:
                layers.append(read_alpha(truth))
            height, width = layers[0].shape[:2]
            wanted = size or _size(width, height, least)
            fitted = [_fit(layer, wanted, multiple) for layer in layers]
            src, bgr = (to_unit(as_tensor(pixels))[None].float() for pixels in fitted[:2])
            yield Picture(name, src, bgr, fitted[2] if truth is not None else None)


def _size(width: int, height: int, least: int) -> Size:
    """The picture's own size, or the least that is large enough."""
    times = max(1.0, least / min(width, height))
    return Size(round(width * times), round(height * times))


def _fit(pixels: NDArray[np.uint8], size: Size, multiple: int) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    if (width, height) != (size.width, size.height):
        shrinks = size.width < width or size.height < height
        kind = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        pixels = np.asarray(cv2.resize(pixels, (size.width, size.height), interpolation=kind))
    return np.ascontiguousarray(
        pixels[: size.height // multiple * multiple, : size.width // multiple * multiple]
    )
