"""A plate from several pictures of one scene: the median of each pixel.

What moves is in each place for less than half of the pictures, and so in no place of the median.
Memory is bounded: decoded pictures wait in a file, and strips of all of them are sorted.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bgm.data.decode import MAX_PIXELS, decode
from bgm.data.pixels import Pixels, white
from bgm.data.plates import LEAST_STILLS
from bgm.errors import BgmError, DataError

log = logging.getLogger(__name__)

MOST_STILLS = 21
"""How many pictures count; of more, that many are taken at even distances."""

_STRIP_BYTES = 32 << 20


def choose_stills(stills: Sequence[Path]) -> list[Path]:
    """Those of many pictures that count, at even distances."""
    step = np.linspace(0, len(stills) - 1, min(len(stills), MOST_STILLS))
    return [stills[round(index)] for index in step]


def median_plate(
    stills: Sequence[Path], scratch: Path, max_pixels: int = MAX_PIXELS
) -> tuple[NDArray[np.uint16] | NDArray[np.uint8], list[Path]]:
    """Make a plate of several pictures.

    Args:
        stills: The pictures; those that cannot be read, or that are of another size than most,
            are left out and named in the log.
        scratch: Directory for the decoded pictures, as long as it takes.
        max_pixels: Pictures that claim to have more are left out.

    Returns:
        The median, (H, W, 3), uint8, or uint16 if a picture has more than 8 bits; and the pictures
        that it was made from.

    Raises:
        DataError: Fewer than three pictures are left.
        OSError: The disk has no room for the decoded pictures.
    """
    chosen = choose_stills(stills)
    with tempfile.TemporaryFile(dir=scratch) as file:
        shapes: list[tuple[Path, tuple[int, ...], int]] = []
        for path in chosen:
            try:
                pixels = _as_uint16(decode(path, max_pixels).pixels)
            except BgmError as error:
                log.warning("left out of the plate: %s", error)
                continue
            shapes.append((path, pixels.shape, file.tell()))
            pixels.tofile(file)
        file.flush()
        shape = Counter(entry[1] for entry in shapes).most_common(1)[0][0] if shapes else ()
        used = [(path, start) for path, size, start in shapes if size == shape]
        for path, size, _ in shapes:
            if size != shape:
                log.warning("left out of the plate: %s is of another size", path)
        if len(used) < LEAST_STILLS:
            raise DataError(
                f"a plate by median needs {LEAST_STILLS} pictures of one size; of {len(stills)}, "
                f"{len(used)} can be used"
            )
        used = used[: len(used) - (len(used) % 2 == 0)]  # an even number would be averaged
        stack = [np.memmap(file, np.uint16, "r", start, shape) for _, start in used]
        median = np.empty(shape, np.uint16)
        rows = max(1, _STRIP_BYTES // (len(used) * shape[1] * 6))
        for top in range(0, shape[0], rows):
            strip = np.stack([picture[top : top + rows] for picture in stack])
            strip.partition(len(used) // 2, axis=0)
            median[top : top + rows] = strip[len(used) // 2]
        del stack
    return _smallest(median), [path for path, _ in used]


def _as_uint16(pixels: Pixels) -> NDArray[np.uint16]:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint16) * np.uint16(257)
    return np.asarray((pixels * (65535 / white(pixels.dtype))).round(), np.uint16)


def _smallest(pixels: NDArray[np.uint16]) -> NDArray[np.uint16] | NDArray[np.uint8]:
    """8 bits, if they say all."""
    small = (pixels // 257).astype(np.uint8)
    return small if (small.astype(np.uint16) * np.uint16(257) == pixels).all() else pixels
