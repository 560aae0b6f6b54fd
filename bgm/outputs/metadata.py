"""Puts what a photograph says of itself into the files of its layers."""

from __future__ import annotations

import io
import struct
from functools import lru_cache

from PIL import Image, ImageCms, TiffImagePlugin
from PIL.ExifTags import Base

from bgm.data.metadata import Metadata, storable
from bgm.data.png import png_chunk

PREMULTIPLIED, STRAIGHT = 1, 2
"""What TIFF 6.0 calls the kinds of alpha."""

_EXTRA_SAMPLES = 338
_INCH_IN_METRES = 0.0254
_PERCEPTUAL = b"\0"
_PROFILE_DATE = slice(24, 36)


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """An ICC profile of sRGB, the same bytes every time."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # LittleCMS writes the time of day, which would make two runs differ.
    profile[_PROFILE_DATE] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(profile)


def png_chunks(metadata: Metadata | None) -> bytes:
    """What stands between a PNG's header and its pixels."""
    if metadata is None:
        return b""
    chunks = png_chunk(b"sRGB", _PERCEPTUAL)
    if metadata.dpi is not None:
        across, down = (round(value / _INCH_IN_METRES) for value in metadata.dpi)
        chunks += png_chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
    if metadata.exif:
        chunks += png_chunk(b"eXIf", metadata.exif)
    return chunks


def pillow_options(metadata: Metadata | None, *, is_colour: bool) -> dict[str, object]:
    """What Pillow is to store with a JPEG or WebP.

    Args:
        metadata: Of the photograph, or None.
        is_colour: Whether the file has colours. A grey one takes no profile of colours; and what
            is a measure, such as alpha, is not to be converted by anyone.
    """
    if metadata is None:
        return {}
    options: dict[str, object] = {"icc_profile": srgb_profile()} if is_colour else {}
    if metadata.exif:
        options["exif"] = b"Exif\0\0" + metadata.exif
    if metadata.dpi is not None:
        options["dpi"] = metadata.dpi
    return options


def extend_tiff(
    data: bytes, metadata: Metadata | None, *, is_colour: bool, alpha: int | None
) -> bytes:
    """Add tags to a TIFF file of one image, without touching its pixels.

    Args:
        data: The file, little-endian, as OpenCV writes it.
        metadata: Of the photograph, or None.
        is_colour: Whether the file has colours, and so a profile.
        alpha: `STRAIGHT` or `PREMULTIPLIED`; None without alpha.

    Returns:
        The file with a second directory of tags behind the pixels, which replaces the first.
    """
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    if metadata is not None and metadata.exif:
        exif = Image.Exif()
        exif.load(metadata.exif)
        for tag in exif:
            is_directory = tag in (Base.ExifOffset, Base.GPSInfo)
            tags[tag] = storable(dict(exif.get_ifd(tag)) if is_directory else exif[tag])
    if metadata is not None and is_colour:
        tags[Base.InterColorProfile] = srgb_profile()
    if alpha is not None:
        tags[_EXTRA_SAMPLES] = alpha
    return _with_tags(data, tags) if len(tags) else data


def _with_tags(data: bytes, tags: TiffImagePlugin.ImageFileDirectory_v2) -> bytes:
    """Append a directory of the file's own tags and new ones: the same but for the new values."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        entries[struct.unpack_from("<H", data, place)[0]] = data[place : place + 12]
    for tag in entries.keys() & tags.keys():
        del entries[tag]
    at = len(data) + len(data) % 2
    # Values stand behind the directory, which is longer here by the entries that were there.
    stored = tags.tobytes(at + 12 * len(entries))
    own = 2 + 12 * len(tags)
    for place in range(2, own, 12):
        entries[struct.unpack_from("<H", stored, place)[0]] = stored[place : place + 12]
    directory = struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries))
    file = io.BytesIO()
    file.write(data[:4] + struct.pack("<I", at) + data[8:].ljust(at - 8, b"\0"))
    file.write(directory + stored[own:])
    return file.getvalue()
