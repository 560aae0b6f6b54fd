"""What a photograph says of itself: who took it, when, with what, at which resolution."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from PIL.ExifTags import IFD, Base

from bgm.storage import local_copy

log = logging.getLogger(__name__)

_KEPT = (
    *(Base.ImageDescription, Base.Make, Base.Model, Base.Software, Base.DateTime, Base.Artist),
    *(Base.HostComputer, Base.Copyright, Base.Rating, Base.RatingPercent),
    *(Base.XPTitle, Base.XPComment, Base.XPAuthor, Base.XPKeywords, Base.XPSubject),
)
"""Of the tags of the image itself: the others say how its pixels are stored."""

_LEFT_OUT = frozenset(
    # Its offsets hold only where the camera put it.
    {Base.MakerNote, ExifTags.IFD.Interop}
    # What is true of the photograph's file, not of the layer's.
    | {Base.ColorSpace, Base.ExifImageWidth, Base.ExifImageHeight, Base.Gamma}
    | {Base.ComponentsConfiguration, Base.CompressedBitsPerPixel}
)

_SRGB = 1
_UPRIGHT = 1
_INCH = 2
_LYING = (5, 6, 7, 8)  # the orientations that exchange width and height
_LONGEST = 10_000  # bytes of one value; JPEG has room for 65,533 in all
_MOST = 65_000
_MAX_DPI = 65_535  # and Pillow says 1 for a TIFF that says nothing


@dataclass(frozen=True)
class Metadata:
    """What is known of a photograph besides its pixels.

    Attributes:
        exif: As a TIFF structure: camera, author, copyright, dates, exposure, place; upright, sRGB
            and without a thumbnail. Empty if the photograph has none.
        dpi: Pixels per inch across and down of the upright photograph, or None.
    """

    exif: bytes = b""
    dpi: tuple[float, float] | None = None


def read_metadata(path: Path) -> Metadata:
    """Read what a photograph says of itself; what is damaged is left out, and nothing raised."""
    try:
        with local_copy(path) as file, Image.open(file) as image:
            found = _read_exif(image)
            lies = found.get(Base.Orientation) in _LYING
            dpi = _resolution(image.info.get("dpi"), found)
            if dpi is not None and lies:
                dpi = dpi[::-1]
            return Metadata(_serialize(_kept(found), dpi), dpi)
    except Exception as error:  # whatever is wrong with the file, its pixels may be whole
        log.debug("no metadata of %s: %s", path, error)
        return Metadata()


def capture_time(path: Path) -> datetime | None:
    """When a photograph says that it was taken, by the camera's clock; None if it does not."""
    try:
        with local_copy(path) as file, Image.open(file) as image:
            exif = _read_exif(image)
            taken = exif.get_ifd(IFD.Exif)
            said = taken.get(Base.DateTimeOriginal) or exif.get(Base.DateTime)
            if not said:
                return None
            fraction = str(taken.get(Base.SubsecTimeOriginal, "")).strip("\0 ")
            moment = datetime.strptime(str(said).strip("\0 "), "%Y:%m:%d %H:%M:%S")
            return moment + timedelta(seconds=float(f"0.{fraction}") if fraction.isdigit() else 0)
    except Exception as error:  # damaged EXIF raises anything
        log.debug("no capture time of %s: %s", path, error)
        return None


def _read_exif(image: Image.Image) -> Image.Exif:
    """The EXIF of a file that is open, without decoding its pixels."""
    try:
        # PNG's own `getexif` decodes the whole image to look for EXIF behind the pixels.
        return Image.Image.getexif(image)
    except Exception as error:  # Pillow raises anything on damaged EXIF
        log.debug("EXIF left out: %s", error)
        return Image.Exif()


def _resolution(dpi: Any, exif: Image.Exif) -> tuple[float, float] | None:
    """A resolution in pixels per inch, if it is one."""
    if dpi is None and exif.get(Base.ResolutionUnit, _INCH) == _INCH:
        dpi = exif.get(Base.XResolution), exif.get(Base.YResolution)
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(value) and 1 < value <= _MAX_DPI for value in (across, down)):
        return None
    return across, down


def _kept(exif: Image.Exif) -> dict[int, Any]:
    """What is worth keeping of a photograph's EXIF, by tag; dictionaries are directories."""
    kept: dict[int, Any] = {tag: exif[tag] for tag in _KEPT if tag in exif}
    for directory in (IFD.Exif, IFD.GPSInfo):
        try:
            values = dict(exif.get_ifd(directory))
        except Exception as error:  # Pillow raises anything on damaged EXIF
            log.debug("directory %s of EXIF left out: %s", directory, error)
            continue
        kept[directory] = {tag: value for tag, value in values.items() if tag not in _LEFT_OUT}
    return kept


def _serialize(kept: Mapping[int, Any], dpi: tuple[float, float] | None) -> bytes:
    """EXIF of what was kept; nothing if there is nothing to say."""
    exif = Image.Exif()
    for tag, value in _sound(kept):
        exif[tag] = value
    if dpi is not None:
        exif[Base.XResolution], exif[Base.YResolution] = dpi
        exif[Base.ResolutionUnit] = _INCH
    if not dict(exif):
        return b""
    exif[Base.Orientation] = _UPRIGHT
    exif[IFD.Exif] = {**exif.get(IFD.Exif, {}), Base.ColorSpace: _SRGB}
    stored = _tiff(exif)
    if len(stored) > _MOST:  # what says least for its length goes first
        exif[IFD.Exif] = {Base.ColorSpace: _SRGB}
        stored = _tiff(exif)
    return stored if len(stored) <= _MOST else b""


def _sound(values: Mapping[int, Any]) -> Iterator[tuple[int, Any]]:
    """The values that can be stored; damaged EXIF has others."""
    for tag, value in values.items():
        if isinstance(value, dict):
            directory = dict(_sound(value))
            if directory:
                yield tag, directory
            continue
        probe = Image.Exif()
        try:
            probe[tag] = storable(value)
            if len(probe.tobytes()) <= _LONGEST:
                yield tag, probe[tag]
        except Exception as error:  # Pillow's writer trips over values of any kind
            log.debug("tag %s of EXIF left out: %s", tag, error)


def storable(value: Any) -> Any:
    """Text as the bytes it was read from, as Pillow would store question marks for accents.

    Args:
        value: A value as Pillow reads it; of a directory, each of its values is made storable.
    """
    if isinstance(value, dict):
        return {tag: storable(inner) for tag, inner in value.items()}
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


def _tiff(exif: Image.Exif) -> bytes:
    """EXIF without what JPEG puts before it."""
    return exif.tobytes().removeprefix(b"Exif\0\0")
