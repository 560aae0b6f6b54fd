"""Reads image files of every common kind as upright sRGB."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from bgm.data import colour, exr, tiff
from bgm.data.long_texts import without_long_texts
from bgm.data.pixels import Pixels, to_uint8, upright
from bgm.data.png_colour import said_by_png
from bgm.errors import DataError
from bgm.storage import StorageError, local_copy

_PLAIN_JPEG = ("RGB", "L")
_JPEGS = ("JPEG", "MPO")

_DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")


MAX_PIXELS = 400_000_000
"""Pixels of the largest image that is decoded if nothing else is said."""


@dataclass(frozen=True)
class Decoded:
    """A decoded image file.

    Attributes:
        pixels: RGB, (H, W, 3): uint8, or float32 in [0, 1].
        remark: What there is to say about it, such as that it has more frames; or None.
    """

    pixels: Pixels
    remark: str | None = None


def read_image(path: Path) -> Pixels:
    """The pixels of what `decode` makes of a file."""
    return decode(path).pixels


def decode(path: Path, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode an image file; of several frames, the first.

    EXIF orientation is applied, an embedded colour profile is converted to sRGB, an alpha
    channel is dropped; greyscale, palette and CMYK images become RGB.

    Args:
        path: A JPEG, PNG, WebP, TIFF, BMP or OpenEXR file, or whatever else Pillow reads.
        max_pixels: An image that claims to have more is refused before memory is taken for it.

    Returns:
        Its pixels: uint8, or float32 where the file has more than 8 bits a channel.

    Raises:
        DataError: The file is missing, not readable, not an image or too large.
    """
    with _explained(path), local_copy(path) as file:
        if file.suffix.lower() == exr.EXR:
            opened = _opened_exr(file, max_pixels)
            return Decoded(*exr.to_srgb(opened, exr.read_channels(opened)))
        deep = _deep_tiff(file, max_pixels)
        if deep is not None:
            return Decoded(_read_tiff(deep), _remark_on_frames(file, deep.frames))
        with _opened(file, max_pixels) as image:
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            bits = _bits(image)  # asked first: afterwards Pillow does not know any more
            orientation, damage = _orientation(file, image)
            remarks = filter(None, (_remark_on_frames(file, frames), damage))
            return Decoded(_read(file, image, bits, orientation), "; ".join(remarks) or None)


def _remark_on_frames(path: Path, frames: int) -> str | None:
    # The further pictures in an MPO are previews, gains and depths, which every telephone adds.
    return f"{path.name} has {frames} frames; the first is used" if frames > 1 else None


def _opened_exr(path: Path, max_pixels: int) -> exr.Exr:
    opened = exr.open_exr(path)
    _check_size(path, opened.size, max_pixels)
    return opened


def _deep_tiff(path: Path, max_pixels: int) -> tiff.Tiff | None:
    """The tags of a TIFF file with more than 8 bits a channel; None if it is something else."""
    opened = tiff.open_tiff(path)
    if opened is None or not tiff.needs_reading(opened):
        return None
    _check_size(path, opened.size, max_pixels)
    return opened


def _read_tiff(opened: tiff.Tiff) -> Pixels:
    pixels = tiff.read(opened)
    if opened.has_own_colours:
        return pixels
    said = opened.profile or (colour.adobe_rgb() if _says_adobe_rgb(opened.path) else None)
    profile = colour.foreign(said) if said else None
    return pixels if profile is None else colour.unit_to_srgb(pixels, profile, grey=opened.is_grey)


def _says_adobe_rgb(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return colour.says_adobe_rgb(image)
    except Exception:  # of many layouts, Pillow reads not even the tags
        return False


def _read(path: Path, image: Image.Image, bits: int, orientation: int) -> Pixels:
    said = said_by_png(path) if image.format == "PNG" else None  # counts before all else
    foreign = colour.foreign(said) if said else colour.foreign_profile(image)
    if bits > 8 and image.mode != "CMYK":
        pixels = upright(_read_deep(path, image), orientation)
        is_grey = image.mode in _DEEP_GREY
        return pixels if foreign is None else colour.unit_to_srgb(pixels, foreign, grey=is_grey)
    if image.format in _JPEGS and image.mode in _PLAIN_JPEG and foreign is None:
        decoded = _read_jpeg(path)
        if decoded is not None:
            return upright(decoded, orientation)
    rgb = image.convert("RGB") if foreign is None else colour.to_srgb(image, foreign)
    return upright(np.array(rgb), orientation)


def _orientation(path: Path, image: Image.Image) -> tuple[int, str | None]:
    """How an image lies by its EXIF, 1 to 8, and what is wrong with that."""
    if image.format not in _JPEGS:
        image.load()  # what is cut short fails here; a TIFF is turned, and loses its orientation
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF raises anything; the pixels are whole all the same
        return 1, f"the EXIF of {path.name} is damaged; it is taken to be upright"
    if isinstance(value, tuple) and value:
        value = value[0]
    if value in range(9):
        return int(value) or 1, None
    return 1, f"{path.name} has no valid orientation in its EXIF; it is taken to be upright"


def read_alpha(path: Path) -> NDArray[np.uint8]:
    """Decode an alpha matte or a trimap.

    Args:
        path: A greyscale image; or, as other tools store mattes, an image whose alpha channel is
            the matte. Of a colour image without transparency, the brightness.

    Returns:
        (H, W), uint8; deeper files are rounded to 8 bits.

    Raises:
        DataError: The file is missing, not readable or not an image.
    """
    with _explained(path), local_copy(path) as file:
        if file.suffix.lower() == exr.EXR:
            return _exr_alpha(_opened_exr(file, MAX_PIXELS))
        deep = _deep_tiff(file, MAX_PIXELS)
        if deep is not None and deep.is_grey:
            return to_uint8(tiff.read(deep)[..., 0])
        with _opened(file, MAX_PIXELS) as image:
            alpha = upright(_alpha(image), _orientation(file, image)[0])
            return np.asarray(alpha, np.uint8)


def _exr_alpha(opened: exr.Exr) -> NDArray[np.uint8]:
    channels = exr.read_channels(opened)
    alpha = channels.get("A", channels.get("Y"))
    if alpha is None or ("R" in channels and alpha.min() >= 1):
        pixels, _ = exr.to_srgb(opened, channels)
        return np.array(Image.fromarray(to_uint8(pixels)).convert("L"))
    return to_uint8(alpha.clip(0, 1))


def _alpha(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in _DEEP_GREY:
        return to_uint8(_to_unit(np.asarray(image), image.mode))
    if image.has_transparency_data:
        alpha = np.array(image.convert("RGBA").getchannel("A"))
        if alpha.min() < 255:
            return alpha
    return np.array(image.convert("L"))


def leave_limit_to_settings() -> None:
    """Turn off Pillow's own limit on the size of images, for the whole process.

    `max_pixels` stands in its place; Pillow's would refuse the photographs of large cameras.
    """
    Image.MAX_IMAGE_PIXELS = None


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    with Image.open(without_long_texts(path) or path) as image:
        _check_size(path, image.size, max_pixels)
        yield image


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise DataError(
            f"{path} claims to be {width}x{height}, more than the "
            f"{max_pixels / 1e6:g} megapixels of data.max_megapixels; is that true?"
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Whatever goes wrong with an image file, also while it is decoded, is a DataError."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path} does not exist (any more)") from None
    except StorageError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except PermissionError:
        raise DataError(f"{path} may not be read: permission denied") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} {_what_is_it(path)}") from None
    except DataError:
        raise
    except tiff.RawPhotographError as error:
        raise DataError(f"{path} {error}") from None
    except Exception as error:  # Pillow's decoders raise anything on damaged files
        raise DataError(f"{path} cannot be decoded: {error}") from error


def _what_is_it(path: Path) -> str:
    if path.stat().st_size == 0:
        return "is empty"
    return "is not an image of a known kind, whatever its name says"


def _bits(image: Image.Image) -> int:
    """Bits per channel in the file; Pillow's mode alone does not tell for colour images."""
    if image.mode in _DEEP_GREY:
        return 32 if image.mode in ("I", "F") else 16
    raw_modes = [str(tile[3]) for tile in getattr(image, "tile", [])]
    return 16 if any(";16" in mode for mode in raw_modes) else 8


def _read_deep(path: Path, image: Image.Image) -> NDArray[np.float32]:
    """Decode without losing depth: colour through OpenCV, greyscale through Pillow."""
    if image.mode in _DEEP_GREY:
        pixels = np.asarray(image)
        return np.repeat(_to_unit(pixels, image.mode)[:, :, None], 3, axis=2)
    image.load()  # Pillow notices if the file is cut short; OpenCV fills up with black
    encoded = np.fromfile(path, np.uint8)
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    decoded = cv2.imdecode(encoded, flags)
    if decoded is None:
        raise ValueError("it is damaged, or stored in a way that is not supported")
    rgb = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return _to_unit(rgb, "float" if rgb.dtype.kind == "f" else "I;16")


def _read_jpeg(path: Path) -> Pixels | None:
    """Decode an ordinary JPEG in half of Pillow's time, to the same pixels.

    None if there is anything to say against it, which Pillow then says or puts up with.
    """
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(path.read_bytes(), "RGB", strict=True)
    except ValueError:
        return None
    return pixels


def _to_unit(pixels: NDArray[Any], mode: str) -> NDArray[np.float32]:
    """Scale deep pixels to [0, 1]: integers by 65535; floats are in [0, 1] already."""
    if not np.isfinite(pixels).all():
        raise ValueError("it contains values that are not finite")
    scale = 1.0 if pixels.dtype.kind == "f" else 65535.0
    if mode == "I" and pixels.size and pixels.max() > 65535:
        scale = float(np.iinfo(pixels.dtype).max)
    unit: NDArray[np.float32] = (pixels.astype(np.float32) / np.float32(scale)).clip(0, 1)
    return unit
