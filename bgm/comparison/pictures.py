"""Reads the pictures of finished runs, and says where a browser finds them."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from bgm.comparison.finished import FinishedRun
from bgm.data import read_alpha, read_image, to_uint8
from bgm.data.decode import MAX_PIXELS
from bgm.data.exr import EXR, open_exr, read_channels, to_srgb
from bgm.data.kinds import is_film
from bgm.errors import BgmError, DataError
from bgm.records.fingerprints import fingerprint
from bgm.records.record import ImageRecord
from bgm.storage import is_remote, local_copy, locate

log = logging.getLogger(__name__)

_NO_BROWSER = (EXR, ".tif", ".tiff")
"""Endings of files that browsers do not show."""


def output_of(run: FinishedRun, record: ImageRecord, kind: str) -> Path | None:
    """A layer of an image; None, with a word in the log, if it is not inside the run.

    Runs come from other people too: what is not their output is not read.
    """
    if kind not in record.files:
        return None
    try:
        path = run.path / record.files[kind]
        if _is_film(path):
            return None
        if path.resolve().is_relative_to(run.path.resolve()):
            return path
        log.warning("not in the gallery: %s of %s is outside of %s", path, record.name, run.path)
    except (OSError, TypeError, ValueError, RuntimeError) as error:  # a link to itself, no path
        log.info("not in the gallery: %s of %s: %s", kind, record.name, error)
    return None


def input_of(record: ImageRecord, kind: str) -> Path | None:
    """A file that an image was made from, wherever it is; None unless it is still the same.

    Only who has read a file can tell its hash, so that a record cannot point at any other.
    """
    try:
        file = record.inputs[kind]
        path = locate(file.path)
        if _is_film(path):
            return None
        if path.is_file() and fingerprint(path).sha256 == file.sha256:
            return path
        log.info("not in the gallery: %s is gone or has changed", path)
    except KeyError:
        pass
    except (OSError, TypeError, ValueError) as error:
        log.info("not in the gallery: %s of %s: %s", kind, record.name, error)
    return None


@lru_cache(maxsize=64)
def _is_film(path: Path) -> bool:
    """Whether a frame is inside a video, where the gallery does not look; said once for each."""
    if is_film(path):
        log.info("not in the gallery: the frames of %s (formats png and jpg are shown)", path)
        return True
    return False


def read_picture(path: Path, *, keep_alpha: bool = False) -> Image.Image | None:
    """An image; None, with a word in the log, if it is gone or cannot be read."""
    try:
        if keep_alpha and path.suffix == EXR:
            return _read_exr(path)
        if keep_alpha:
            with local_copy(path) as file, Image.open(file) as image:
                _check_size(path, image.size)
                return image.convert("RGBA" if image.has_transparency_data else "RGB")
        return Image.fromarray(to_uint8(read_image(path)))
    except Exception as error:  # Pillow raises anything
        log.info("not in the gallery: %s", error)
        return None


def _read_exr(path: Path) -> Image.Image:
    with local_copy(path) as file:
        layer = open_exr(file)
        _check_size(path, layer.size)
        channels = read_channels(layer)
    colours = Image.fromarray(to_uint8(to_srgb(layer, channels)[0]))
    if "A" in channels:
        colours.putalpha(Image.fromarray(to_uint8(channels["A"].clip(0, 1))))
    return colours


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise DataError(f"{path} claims to be {width}x{height}")


def read_matte(path: Path) -> Image.Image | None:
    """An alpha matte, grey; None, with a word in the log, if it is gone or cannot be read."""
    try:
        return Image.fromarray(read_alpha(path))
    except BgmError as error:
        log.info("not in the gallery: %s", error)
        return None


def url_of(path: Path, page: Path) -> str | None:
    """Where a browser finds a file from the page; None for what it cannot get or show."""
    if is_remote(path) or path.suffix.lower() in _NO_BROWSER:
        return None
    try:
        relative = Path(os.path.relpath(path.absolute(), page.absolute().parent)).as_posix()
    except ValueError:  # on another drive of Windows
        return path.absolute().as_uri()
    return "/".join(map(_quote, relative.split("/")))


def _quote(part: str) -> str:
    return quote(os.fsencode(part))
