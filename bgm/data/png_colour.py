"""What a PNG says of its colours in code points (chunk cICP), which Pillow passes over."""

from __future__ import annotations

import struct
from pathlib import Path

from bgm.data.colour import D65, matrix_profile

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BEFORE_PIXELS = 64  # chunks that are looked at, at most

# ITU-T H.273, tables 2 and 3.
_PRIMARIES = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),  # sRGB and BT.709
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    7: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    9: ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046)),  # BT.2020
    12: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),  # Display P3
}
_BT709_CURVE = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_CURVES: dict[int, float | tuple[float, ...] | None] = {
    **dict.fromkeys((1, 6, 14, 15), _BT709_CURVE),
    **{4: 2.2, 5: 2.8, 8: 1.0, 13: None},  # None: that of sRGB
}
_HDR = {16: "PQ", 18: "HLG"}


def said_by_png(path: Path) -> bytes | None:
    """A profile of what the chunk says; None if there is none, or it is no PNG.

    Raises:
        ValueError: It says something that cannot be converted here.
    """
    chunk = _find(path)
    if chunk is None or len(chunk) != 4:
        return None
    primaries, transfer, matrix, full_range = chunk
    if transfer in _HDR:
        raise ValueError(
            f"its colours are HDR ({_HDR[transfer]}); convert it to sRGB or Display P3 first"
        )
    if primaries not in _PRIMARIES or transfer not in _CURVES or matrix != 0 or full_range != 1:
        raise ValueError(
            f"its colours ({primaries}/{transfer}/{matrix}/{full_range} in the chunk cICP) are not "
            "known here; convert it to sRGB first"
        )
    return matrix_profile(_PRIMARIES[primaries], D65, _CURVES[transfer])


def _find(path: Path) -> bytes | None:
    with path.open("rb") as file:
        if file.read(8) != _SIGNATURE:
            return None
        for _ in range(_BEFORE_PIXELS):
            head = file.read(8)
            if len(head) < 8:
                return None
            size, kind = struct.unpack(">I4s", head)
            if kind == b"cICP":
                return file.read(size)
            if kind == b"IDAT":
                return None
            file.seek(size + 4, 1)
    return None
