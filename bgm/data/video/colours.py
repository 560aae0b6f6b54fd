"""What the numbers in a video mean: matrix, range, primaries and transfer; and the way to sRGB.

The codes are those of ITU-T H.273. What a file does not say is taken as players take it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgm.data.colour import decode, encode
from bgm.errors import DataError

_UNSAID = 2
_RGB, _BT709, _BT601, _BT2020 = 0, 1, 6, 9
_MATRICES = {0: "rgb", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m"}
_MATRICES |= {9: "bt2020nc"}
_REFUSED_MATRICES = {8: "YCgCo", 10: "BT.2020 with constant luminance", 14: "ICtCp"}
_SWSCALE = {5: 5, 6: 5}  # swscale knows both forms of BT.601 by one number
_LIMITED, _FULL = 1, 2
_HD_WIDTH, _SD_HEIGHT = 1280, 576

_LINEAR, _PQ, _HLG = 8, 16, 18
_TRANSFERS = {1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear"}
_TRANSFERS |= {11: "iec61966-2-4", 12: "bt1361e", 13: "srgb", 14: "bt2020-10", 15: "bt2020-12"}
_TRANSFERS |= {16: "pq", 18: "hlg"}
_PRIMARIES = {
    1: ("bt709", ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))),
    5: ("bt470bg", ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06))),
    6: ("smpte170m", ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07))),
    7: ("smpte240m", ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07))),
    9: ("bt2020", ((0.708, 0.292), (0.17, 0.797), (0.131, 0.046))),
    11: ("p3-dci", ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))),
    12: ("p3-d65", ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))),
}
_D65, _DCI_WHITE = (0.3127, 0.3290), (0.314, 0.351)

_WHITE_NITS = 203.0  # of diffuse white in HDR (ITU-R BT.2408)
_KNEE = 0.8  # of white: up to here brightness stays, above it highlights are rolled off
_HLG_PEAK_NITS = 1000.0


@dataclass(frozen=True)
class Colours:
    """How a clip's colours are stored.

    Attributes:
        matrix: Code of the matrix between RGB and YUV; 0 for RGB.
        full: Whether values use their whole range.
        primaries: Code of the primaries.
        transfer: Code of the transfer curve.
        said: Whether the file says its matrix itself.
    """

    matrix: int
    full: bool
    primaries: int
    transfer: int
    said: bool

    @property
    def swscale(self) -> int:
        """The matrix as swscale numbers it."""
        return _SWSCALE.get(self.matrix, self.matrix)

    @property
    def is_hdr(self) -> bool:
        """Whether it is brighter than white can be."""
        return self.transfer in (_PQ, _HLG)

    @property
    def needs_table(self) -> bool:
        """Whether RGB values have to be converted before they are sRGB's."""
        return self.transfer in (_LINEAR, _PQ, _HLG) or self.primaries != _BT709

    def as_dict(self) -> dict[str, Any]:
        """What is read, in words, for the records."""
        return {
            "matrix": _MATRICES[self.matrix],
            "range": "full" if self.full else "limited",
            "primaries": _PRIMARIES[self.primaries][0],
            "transfer": _TRANSFERS[self.transfer],
            "matrix_said": self.said,
        }


def interpret(
    matrix: int, range_: int, primaries: int, transfer: int, *, size: tuple[int, int], kind: str
) -> Colours:
    """Make sense of what a frame says of its colours.

    Args:
        matrix: Code of its matrix, 2 if it does not say.
        range_: 1 limited, 2 full, 0 not said.
        primaries: Code of its primaries.
        transfer: Code of its transfer curve.
        size: Width and height. Of what does not say its matrix, BT.709 is taken from 1280 pixels
            of width or more than 576 rows, else BT.601.
        kind: `yuv`, `yuvj` (full range by its name), `rgb` or `grey`.

    Raises:
        DataError: Its colours are of a kind that is not converted here.
    """
    if matrix in _REFUSED_MATRICES:
        raise DataError(
            f"its colours are stored as {_REFUSED_MATRICES[matrix]}, which is not read here; "
            "convert it to BT.709 first"
        )
    said = matrix in _MATRICES
    if kind == "rgb":
        matrix = _RGB
    elif not said or matrix == _RGB:  # YUV that claims to be RGB is a common mistake of muxers
        is_hd = size[0] >= _HD_WIDTH or size[1] > _SD_HEIGHT
        matrix, said = _BT709 if is_hd else _BT601, False
        if primaries == _BT2020:
            matrix = _BT2020
    full = range_ == _FULL or kind in ("yuvj", "rgb") or (kind == "grey" and range_ != _LIMITED)
    if transfer not in _TRANSFERS:
        if transfer in (9, 10, 17):
            raise DataError(
                "its transfer curve is logarithmic or that of digital cinema, which is not "
                "converted here; convert it to BT.709 first"
            )
        transfer = 1
    return Colours(
        matrix=matrix,
        full=full,
        primaries=primaries if primaries in _PRIMARIES else _BT709,
        transfer=transfer,
        said=said,
    )


def to_srgb(values: NDArray[Any], colours: Colours) -> NDArray[np.float32]:
    """Convert RGB values of a clip to sRGB.

    High dynamic range is brought into sRGB's: diffuse white (203 cd/m2) becomes nearly white, what
    is brighter is rolled off, hues are kept.

    Args:
        values: (..., 3), in [0, 1], as the clip has them.
        colours: How it stores them.

    Returns:
        (..., 3), float32 in [0, 1].
    """
    linear = _linearize(values.astype(np.float64), colours.transfer)
    if colours.primaries != _BT709:
        linear = linear @ _to_bt709(colours.primaries).T
    if colours.is_hdr:
        linear = _roll_off(linear)
    return encode(linear.clip(0, 1).astype(np.float32))


def _linearize(values: NDArray[np.float64], transfer: int) -> NDArray[np.float64]:
    """Light, in which 1 is diffuse white."""
    if transfer == _LINEAR:
        return values
    if transfer == _PQ:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        power = values ** (1 / m2)
        light = (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
        return np.asarray(light * 10_000 / _WHITE_NITS)
    if transfer == _HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
        luma = scene @ np.array([0.2627, 0.6780, 0.0593])
        shown = scene * np.maximum(luma, 1e-9)[..., None] ** 0.2
        return np.asarray(shown * _HLG_PEAK_NITS / _WHITE_NITS)
    return decode(values)


def _roll_off(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    brightest = np.maximum(linear.max(-1, keepdims=True), 1e-9)
    above = (brightest - _KNEE) / (1 - _KNEE)
    rolled = np.where(brightest > _KNEE, _KNEE + (1 - _KNEE) * np.tanh(above), brightest)
    return np.asarray(linear * rolled / brightest)


def _to_bt709(primaries: int) -> NDArray[np.float64]:
    """From linear RGB of some primaries to that of BT.709; white stays white."""
    white = _DCI_WHITE if primaries == 11 else _D65
    source = _to_xyz(_PRIMARIES[primaries][1], white)
    target = _to_xyz(_PRIMARIES[_BT709][1], _D65)
    if white == _D65:
        return np.asarray(np.linalg.inv(target) @ source)
    adapt = np.diag(_light(*_D65) / _light(*white))
    return np.asarray(np.linalg.inv(target) @ adapt @ source)


def _to_xyz(
    primaries: tuple[tuple[float, float], ...], white: tuple[float, float]
) -> NDArray[np.float64]:
    columns = np.stack([_light(*primary) for primary in primaries], 1)
    return np.asarray(columns * np.linalg.solve(columns, _light(*white)))


def _light(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def cube(colours: Colours, white: float, side: int = 33) -> str:
    """The way to sRGB as the text of a .cube file, a three-dimensional table.

    Args:
        colours: How a clip stores its colours.
        white: What its white is as a share of what 16 bits hold.
        side: Entries along each axis.
    """
    steps = (np.linspace(0, 1, side) / white).clip(0, 1)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")  # red changes fastest
    table = to_srgb(np.stack([red, green, blue], -1).reshape(-1, 3), colours)
    rows = "\n".join(f"{r:.6f} {g:.6f} {b:.6f}" for r, g, b in table)
    return f"LUT_3D_SIZE {side}\n{rows}\n"
