"""Reads image files of every common kind as upright sRGB."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from bgm.errors import DataError

log = logging.getLogger(__name__)

Pixels = NDArray[Any]
"""(H, W, 3), RGB: uint8, or float32 in [0, 1]."""

# What LittleCMS takes for images with an alpha channel or a palette.
_OPAQUE = {"LA": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB", "1": "L"}

_PLAIN_JPEG = ("RGB", "L")

# What makes an image upright, by its EXIF orientation.
_TRANSPOSES: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2),
    8: np.rot90,
}

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
        path: A JPEG, PNG, WebP, TIFF or BMP file, or whatever else Pillow reads.
        max_pixels: An image that claims to have more is refused before memory is taken for it.

    Returns:
        Its pixels: uint8, or float32 where the file has more than 8 bits a channel.

    Raises:
        DataError: The file is missing, not readable, not an image or too large.
    """
    with _opened(path, max_pixels) as image:
        frames = getattr(image, "n_frames", 1)
        remark = f"{path.name} has {frames} frames; the first is used" if frames > 1 else None
        return Decoded(_read(path, image), remark)


def _read(path: Path, image: Image.Image) -> Pixels:
    foreign = _foreign_profile(image)
    if _bits(image) > 8 and foreign is None:
        return _read_deep(path, image)
    if image.format == "JPEG" and image.mode in _PLAIN_JPEG and foreign is None:
        pixels = _read_jpeg(path, image)
        if pixels is not None:
            return pixels
    return np.array(_to_rgb(image, foreign))


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
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in _DEEP_GREY:
            unit = _to_unit(np.asarray(upright), upright.mode)
            return to_uint8(unit)
        if upright.has_transparency_data:
            alpha = np.array(upright.convert("RGBA").getchannel("A"))
            if alpha.min() < 255:
                return alpha
        return np.array(upright.convert("L"))


def to_uint8(pixels: Pixels) -> NDArray[np.uint8]:
    """Round floats in [0, 1] to 8 bits; uint8 is returned as it is."""
    if pixels.dtype == np.uint8:
        return pixels
    return np.asarray((pixels * 255).round(), np.uint8)


def leave_limit_to_settings() -> None:
    """Turn off Pillow's own limit on the size of images, for the whole process.

    `max_pixels` stands in its place; Pillow's would refuse the photographs of large cameras.
    """
    Image.MAX_IMAGE_PIXELS = None


@contextmanager
def _opened(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image file; whatever goes wrong with it, also while it is decoded, is a DataError."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > max_pixels:
                raise DataError(
                    f"{path} claims to be {image.width}x{image.height}, more than the "
                    f"{max_pixels / 1e6:g} megapixels of data.max_megapixels; is that true?"
                )
            yield image
    except FileNotFoundError:
        raise DataError(f"{path} does not exist (any more)") from None
    except PermissionError:
        raise DataError(f"{path} may not be read: permission denied") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} {_what_is_it(path)}") from None
    except DataError:
        raise
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
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(258, (8,))))  # type: ignore[attr-defined]
    raw_modes = [str(tile[3]) for tile in getattr(image, "tile", [])]
    return 16 if any(";16" in mode for mode in raw_modes) else 8


def _read_deep(path: Path, image: Image.Image) -> NDArray[np.float32]:
    """Decode without losing depth: colour through OpenCV, greyscale through Pillow."""
    if image.mode in _DEEP_GREY:
        pixels = np.asarray(ImageOps.exif_transpose(image))
        return np.repeat(_to_unit(pixels, image.mode)[:, :, None], 3, axis=2)
    image.load()  # Pillow notices if the file is cut short; OpenCV fills up with black
    encoded = np.fromfile(path, np.uint8)
    # Orientation is applied by OpenCV here; it is Pillow that must not be asked a second time.
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR
    decoded = cv2.imdecode(encoded, flags)
    if decoded is None:
        raise ValueError("it is damaged, or stored in a way that is not supported")
    rgb = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return _to_unit(rgb, "float" if rgb.dtype.kind == "f" else "I;16")


def _read_jpeg(path: Path, image: Image.Image) -> Pixels | None:
    """Decode an ordinary JPEG in half of Pillow's time, to the same pixels.

    None if there is anything to say against it, which Pillow then says or puts up with.
    """
    transpose = _TRANSPOSES.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    if transpose is None:
        return None
    try:
        pixels = simplejpeg.decode_jpeg(path.read_bytes(), "RGB", strict=True)
    except ValueError:
        return None
    return np.ascontiguousarray(transpose(pixels))


def _to_unit(pixels: NDArray[Any], mode: str) -> NDArray[np.float32]:
    """Scale deep pixels to [0, 1]: integers by 65535; floats are in [0, 1] already."""
    if not np.isfinite(pixels).all():
        raise ValueError("it contains values that are not finite")
    scale = 1.0 if pixels.dtype.kind == "f" else 65535.0
    if mode == "I" and pixels.size and pixels.max() > 65535:
        scale = float(np.iinfo(pixels.dtype).max)
    unit: NDArray[np.float32] = (pixels.astype(np.float32) / np.float32(scale)).clip(0, 1)
    return unit


def _to_rgb(image: Image.Image, profile: ImageCms.ImageCmsProfile | None) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _DEEP_GREY:  # with a profile, for which 8 bits must do
        unit = _to_unit(np.asarray(upright), upright.mode)
        upright = Image.fromarray(to_uint8(unit))
    if profile is not None:
        opaque = _OPAQUE.get(upright.mode)
        try:
            converted = ImageCms.profileToProfile(
                upright.convert(opaque) if opaque else upright,
                profile,
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
            if converted is not None:
                return converted
        except ImageCms.PyCMSError as error:
            log.warning("colour profile ignored: it does not fit the image (%s)", error)
    return upright.convert("RGB")


def _foreign_profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The embedded profile, unless there is none or it is sRGB, where converting only rounds."""
    embedded = image.info.get("icc_profile")
    if not embedded:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        description = ImageCms.getProfileDescription(profile)
    except (ImageCms.PyCMSError, OSError) as error:
        log.warning("colour profile ignored: it cannot be read (%s)", error)
        return None
    return None if "srgb" in description.lower() else profile
