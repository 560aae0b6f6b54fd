"""Colour spaces of files: what their profile or their EXIF says, converted to sRGB."""

from __future__ import annotations

import io
import logging
import struct
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from bgm.data.pixels import Pixels

log = logging.getLogger(__name__)

Unit = NDArray[np.float32]

# What LittleCMS takes for images with an alpha channel or a palette.
_OPAQUE = {"LA": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB", "1": "L"}
_COLOURED = ("RGB", "RGBA", "P")
_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}
_ROUNDING = 2  # levels of 255 by which what is sRGB may differ from it after a conversion

# XYZ under D50, as profiles have it, to linear sRGB (the inverse of its adapted primaries).
_XYZ_TO_SRGB = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ],
    np.float32,
)
_D50 = np.array([0.9642, 1.0, 0.8249], np.float32)
D65 = (0.3127, 0.3290)
"""CIE x and y of the white of sRGB."""
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_GRID = 5  # levels of 255 between the colours that a profile made of tables is asked for
_USUAL_GAMMA = 1 / 2.2
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def foreign_profile(image: Image.Image) -> bytes | None:
    """The profile that an image must be converted from; None if it is sRGB or says nothing.

    A profile counts before what PNG or EXIF say in other ways.
    """
    embedded = image.info.get("icc_profile")
    if embedded:
        return foreign(embedded)
    if says_adobe_rgb(image):
        return adobe_rgb()
    said = _said_by_png(image)
    return foreign(said) if said else None


@lru_cache(maxsize=8)
def foreign(profile: bytes) -> bytes | None:
    """A profile, unless it cannot be read or does what sRGB does, whatever it is called."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        mode = _MODES.get(space)
        if mode is None:
            log.warning("colour profile ignored: it is for %s", space)
            return None
        if mode in ("L", "RGB") and _does_nothing(opened, mode):
            return None
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        log.warning("colour profile ignored: it cannot be read (%s)", error)
        return None
    return profile


def _does_nothing(profile: ImageCms.ImageCmsProfile, mode: str) -> bool:
    """Whether colours all over the space come out of a conversion as they were, up to rounding."""
    greys = np.arange(256, dtype=np.uint8)
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    probe = np.concatenate([np.stack([greys] * 3, 1)[None], colours], 1)
    image = Image.fromarray(greys[None] if mode == "L" else probe)
    target = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, profile, target, outputMode="RGB")
    difference = np.asarray(converted, int) - np.asarray(image.convert("RGB"), int)
    return bool(np.abs(difference).max() <= _ROUNDING)


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an 8-bit image by its profile; without it, where it does not fit the image."""
    opaque = _OPAQUE.get(image.mode)
    try:
        converted = ImageCms.profileToProfile(
            image.convert(opaque) if opaque else image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
        if converted is not None:
            return converted
    except ImageCms.PyCMSError as error:
        log.warning("colour profile ignored: it does not fit the image (%s)", error)
    return image.convert("RGB")


def unit_to_srgb(pixels: Unit, profile: bytes, *, grey: bool = False) -> Pixels:
    """Convert deep pixels by their profile, at their depth.

    Profiles that are tables, not curves and a matrix, are known from the 8 bits of the library that
    applies them; between those values the result is continuous.

    Args:
        pixels: (H, W, 3), float32 in [0, 1].
        profile: Their profile, as embedded.
        grey: Whether they come from a greyscale file; all channels are the same.

    Returns:
        (H, W, 3), float32 in [0, 1].
    """
    tags = _tags(profile)
    if grey and b"kTRC" in tags:
        return np.repeat(encode(_curve(tags[b"kTRC"], pixels[..., :1])), 3, axis=2)
    names = (b"rTRC", b"gTRC", b"bTRC", b"rXYZ", b"gXYZ", b"bXYZ")
    if not grey and b"A2B0" not in tags and all(name in tags for name in names):
        linear = np.stack([_curve(tags[n], pixels[..., i]) for i, n in enumerate(names[:3])], -1)
        columns = [struct.unpack(">3i", tags[name][8:20]) for name in names[3:]]
        to_xyz = np.array(columns, np.float32).T / 65536
        return encode((linear @ (_XYZ_TO_SRGB @ to_xyz).T).astype(np.float32))
    return _by_table(pixels[..., :1] if grey else pixels, profile)


def _by_table(pixels: Unit, profile: bytes) -> Unit:
    """Convert by what the profile makes of a grid of colours, or of the 256 greys."""
    from scipy.ndimage import map_coordinates  # seldom needed, and slow to import

    places = np.arange(0, 256, 1 if pixels.shape[-1] == 1 else _GRID, dtype=np.uint8)
    if pixels.shape[-1] == 1:
        table = np.asarray(to_srgb(Image.fromarray(places[None]), profile))[0]
    else:
        colours = np.stack(np.meshgrid(places, places, places, indexing="ij"), -1)
        image = Image.fromarray(colours.reshape(1, -1, 3))
        table = np.asarray(to_srgb(image, profile)).reshape(colours.shape)
    at = np.moveaxis(pixels, -1, 0) * np.float32(len(places) - 1)
    unit = table.astype(np.float32) / 255
    channels = [map_coordinates(unit[..., i], at, order=1, mode="nearest") for i in range(3)]
    return np.stack(channels, -1)


def encode(linear: NDArray[Any]) -> Unit:
    """The sRGB curve: linear light to [0, 1], clipped."""
    clipped = linear.clip(0, 1)
    curved = 1.055 * np.power(clipped, 1 / 2.4) - 0.055
    return np.where(clipped <= 0.0031308, clipped * 12.92, curved).astype(np.float32)


def decode(encoded: NDArray[Any]) -> NDArray[Any]:
    """Linear light of values in [0, 1] with the curve of sRGB (IEC 61966-2-1, in two pieces)."""
    low, high = encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4
    return np.where(encoded <= 0.04045, low, high).astype(encoded.dtype)


def lab_to_srgb(lab: Unit) -> Unit:
    """CIE L*a*b* under D50, (H, W, 3), L in [0, 100], to sRGB in [0, 1]."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, (f * 116 - 16) * 27 / 24389) * _D50
    return encode((xyz @ _XYZ_TO_SRGB.T).astype(np.float32))


def _tags(profile: bytes) -> dict[bytes, bytes]:
    count = int.from_bytes(profile[128:132], "big")
    tags = {}
    for index in range(min(count, 200)):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        tags[name] = profile[offset : offset + size]
    return tags


def _curve(tag: bytes, values: Unit) -> Unit:
    """Apply a tone curve of a profile: a table, a gamma or a formula of the ICC's."""
    if tag[:4] == b"curv":
        count = int.from_bytes(tag[8:12], "big")
        table = np.frombuffer(tag, ">u2", count, 12).astype(np.float32)
        if count == 0:
            return values
        if count == 1:
            return np.asarray(np.power(values, table[0] / 256), np.float32)
        places = np.linspace(0, 1, count)
        return np.interp(values, places, table / 65535).astype(np.float32)
    if tag[:4] != b"para":
        raise ValueError("its colour profile has a curve of an unknown kind")
    kind = int.from_bytes(tag[8:10], "big")
    size = (1, 3, 4, 5, 7)[kind]
    g, *rest = (value / 65536 for value in struct.unpack_from(f">{size}i", tag, 12))
    a, b, c, d, e, f = (*rest, *(0.0,) * 6)[:6] if rest else (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    if kind in (1, 2):  # the same formula, cut where it reaches zero
        c, d, e, f = 0.0, -b / a, c, c
    power = np.power((a * values + b).clip(0), g) + e
    curved: Unit = np.where(values >= d, power, c * values + f).astype(np.float32)
    return curved


def says_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF says Adobe RGB in the way of cameras: uncalibrated, and interoperability R03."""
    try:
        exif = image.getexif()
        colour_space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
        index = exif.get_ifd(ExifTags.IFD.Interop).get(1)
    except Exception:  # damaged EXIF raises anything, and says nothing
        return False
    return colour_space != 1 and str(index).strip("\0 ") == "R03"


def _said_by_png(image: Image.Image) -> bytes | None:
    """A profile of the primaries and gamma that a PNG tells in numbers; None if it does not.

    The usual gamma of 1/2.2 stands for the curve of sRGB, which old software could only say so.
    """
    numbers, gamma = image.info.get("chromaticity"), image.info.get("gamma", _USUAL_GAMMA)
    if numbers is None or "srgb" in image.info or not gamma > 0 or image.mode not in _COLOURED:
        return None
    white, *primaries = ((numbers[i], numbers[i + 1]) for i in range(0, 8, 2))
    is_usual = abs(gamma - _USUAL_GAMMA) < 0.01
    try:
        return matrix_profile(tuple(primaries), white, None if is_usual else 1 / gamma)
    except (ZeroDivisionError, np.linalg.LinAlgError, struct.error, OverflowError):
        return None  # numbers that no light has


def adobe_rgb() -> bytes:
    """A profile of Adobe RGB (1998)."""
    return matrix_profile(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), D65, 2.19921875)


@lru_cache(maxsize=8)
def matrix_profile(
    primaries: tuple[tuple[float, float], ...],
    white: tuple[float, float],
    curve: float | tuple[float, ...] | None,
) -> bytes:
    """An ICC profile of a colour space that primaries and a curve define.

    Args:
        primaries: CIE x and y of red, green and blue.
        white: CIE x and y of white.
        curve: Exponent from values to light; or g, a, b, c and d of the ICC's formula
            (a x + b)^g from d, c x below; None for the curve of sRGB.

    Raises:
        numpy.linalg.LinAlgError: The primaries span no space.
    """

    def xyz(values: NDArray[Any]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(v) * 65536) for v in values))

    if isinstance(curve, float):
        tone = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(curve * 256), 0)
    else:
        numbers = (round(value * 65536) for value in curve or _SRGB_CURVE)
        tone = b"para\0\0\0\0" + struct.pack(">HH5i", 3, 0, *numbers)
    name = b"desc\0\0\0\0" + struct.pack(">I", 10) + b"primaries\0" + bytes(78 + 12)
    columns = _adapted(primaries, white)
    tags = {b"desc": name, b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": xyz(_D50)}
    tags |= {tag: xyz(columns[:, i]) for i, tag in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tone)
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for tag, data in tags.items():
        table += struct.pack(">4sII", tag, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI", at + len(body), b"none", 0x02100000) + b"mntrRGB XYZ "
    head += struct.pack(">6H", 1998, 11, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += xyz(_D50)[8:] + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body


def _adapted(
    primaries: tuple[tuple[float, float], ...], white: tuple[float, float]
) -> NDArray[np.float64]:
    """The XYZ of red, green and blue as columns, adapted to D50 (Bradford)."""

    def light(x: float, y: float) -> NDArray[np.float64]:
        return np.array([x / y, 1, (1 - x - y) / y])

    columns = np.stack([light(*primary) for primary in primaries], 1)
    columns = columns * np.linalg.solve(columns, light(*white))
    scale = (_BRADFORD @ _D50) / (_BRADFORD @ light(*white))
    return np.asarray(np.linalg.inv(_BRADFORD) @ (scale[:, None] * (_BRADFORD @ columns)))
