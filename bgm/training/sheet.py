"""A contact sheet of composites, to look at before any training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bgm.data.png import encode_png
from bgm.records.atomic import write_atomically

log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]

SHEET_FILE = "preview.png"
"""What a sheet is called."""

_TILE = 192
_ACROSS = 3  # composites in a row, each of four pictures


def write_sheet(path: Path, composites: Iterable[Sequence[Pixels]], count: int) -> None:
    """Write the first composites: source, plate, alpha, foreground of each.

    Args:
        path: A PNG file.
        composites: Their pictures, (H, W, 1 or 3); there may be more of them.
        count: How many are shown.

    Raises:
        WriteError: It cannot be written.
    """
    strips = [strip(pictures) for pictures in islice(composites, count)]
    write_atomically(path, encode_png(arrange(strips, _ACROSS)))
    log.info("%d composites in %s: source, plate, alpha, foreground", len(strips), path)


def strip(pictures: Sequence[Pixels], side: int = _TILE) -> Pixels:
    """Pictures, (H, W, 1 or 3), side by side in square tiles."""
    return np.hstack([_tile(picture, side) for picture in pictures])


def arrange(strips: Sequence[Pixels], across: int) -> Pixels:
    """Strips of one size as a sheet, that many in a row."""
    blank = np.zeros_like(strips[0])
    filled = [*strips, *[blank] * (-len(strips) % across)]
    rows = [np.hstack(filled[start : start + across]) for start in range(0, len(filled), across)]
    return np.vstack(rows)


def _tile(picture: Pixels, side: int) -> Pixels:
    """A picture in the middle of a grey square."""
    scale = side / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    small = cv2.resize(
        picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    )
    tile = np.full((side, side, 3), 60, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = small.reshape(size[1], size[0], -1)
    return tile
