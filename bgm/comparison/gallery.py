"""The pictures of a comparison: every image under every run, as small as the page needs them."""

from __future__ import annotations

import base64
import io
import logging
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bgm.comparison.finished import FinishedRun
from bgm.data import read_alpha, read_image, to_uint8
from bgm.data.decode import MAX_PIXELS
from bgm.data.kinds import is_film
from bgm.data.processors import usable_cpus
from bgm.errors import BgmError, DataError
from bgm.records.fingerprints import fingerprint
from bgm.records.record import ImageRecord
from bgm.storage import is_remote, local_copy, locate

log = logging.getLogger(__name__)

_MOST_IMAGES = 200
_LARGEST_SIDE = 1600
_SMALLEST_SIDE = 96
_BYTES_PER_PIXEL = 0.2  # of a panel, as base64, about; pages that become too large are made again
_COMPARED_SIDE = 256  # alphas are compared at this size
_QUALITY = 82
_ALPHA_QUALITY = 90  # within 1 of 255, in two thirds of the time


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        data: A `data:` URI.
        file: The full-size file relative to the page, as a URL; None if there is none.
    """

    data: str
    file: str | None = None


@dataclass
class GalleryImage:
    """One image under every run.

    Attributes:
        name: Its name.
        width: Width of the original in pixels.
        height: Height of the original in pixels.
        source: The photograph, if it is still there.
        truth: Its true alpha, if it was scored and that is still there.
        panels: For each run the layers it has, by `alpha` and `cutout`.
        difference: How far the alphas of the runs are apart: the mean over the pixels of the
            largest difference between any two, in [0, 1].
        suspicion: The largest that a run has of its matte, in [0, 1]; 0 of what was not checked.
    """

    name: str
    width: int
    height: int
    source: Panel | None = None
    truth: Panel | None = None
    panels: list[dict[str, Panel]] = field(default_factory=list)
    difference: float = 0.0
    suspicion: float = 0.0


def make_gallery(runs: Sequence[FinishedRun], page: Path, page_mb: float) -> list[GalleryImage]:
    """Make the pictures of every image that at least one run has matted.

    Args:
        runs: The runs.
        page: The page that shows them; full-size files are named relative to it.
        page_mb: Megabytes that all of them together may take; they are scaled to fit.

    Returns:
        The images, those first on which the runs differ most; of very many only those.
    """
    names = {name: None for run in runs for name, record in run.records.items() if record.files}
    if not names:
        return []
    shown = list(names)
    if len(shown) > _MOST_IMAGES:
        with ThreadPoolExecutor(usable_cpus()) as pool:
            differences = dict(
                zip(shown, pool.map(partial(_difference_of, runs), shown), strict=True)
            )
        shown = sorted(shown, key=lambda name: -differences[name])[:_MOST_IMAGES]
    side = _side_that_fits(len(shown), len(runs), page_mb)
    images = _make(runs, shown, page, side)
    size = sum(len(panel.data) for image in images for panel in _panels(image)) / 1e6
    if size > page_mb:
        smaller = max(_SMALLEST_SIDE, int(side * math.sqrt(page_mb / size) * 0.95))
        images = _make(runs, shown, page, smaller)
    return sorted(images, key=lambda image: (-image.difference, image.name))


def _panels(image: GalleryImage) -> Iterator[Panel]:
    if image.source is not None:
        yield image.source
    if image.truth is not None:
        yield image.truth
    for layers in image.panels:
        yield from layers.values()


def _side_that_fits(images: int, runs: int, page_mb: float) -> int:
    pixels = page_mb * 1e6 / _BYTES_PER_PIXEL / images / (1 + 2 * runs)
    longest = math.sqrt(pixels * 1.5)
    return max(_SMALLEST_SIDE, min(_LARGEST_SIDE, int(longest)))


def _make(
    runs: Sequence[FinishedRun], names: Sequence[str], page: Path, side: int
) -> list[GalleryImage]:
    with ThreadPoolExecutor(usable_cpus()) as pool:
        return list(pool.map(partial(_make_one, runs, page, side), names))


def _make_one(runs: Sequence[FinishedRun], page: Path, side: int, name: str) -> GalleryImage:
    records = [run.records.get(name) for run in runs]
    known = next(record for record in records if record is not None and record.files)
    image = GalleryImage(name, known.width or 0, known.height or 0)
    path = _input(known, "src")
    source = _read(path) if path is not None else None
    if source is not None and path is not None:
        image.source = Panel(_encode(_shrink(source, side)), _url(path, page))
    path = _input(known, "pha")
    truth = _read_matte(path) if path is not None else None
    if truth is not None and path is not None:
        image.truth = Panel(_encode(_shrink(truth, side), lossless=True), _url(path, page))
    alphas = []
    for run, record in zip(runs, records, strict=True):
        layers: dict[str, Panel] = {}
        if record is not None and record.files:
            layers, alpha = _layers(run, record, source, page, side)
            if alpha is not None:
                alphas.append(alpha)
        image.panels.append(layers)
    image.difference = _difference(alphas)
    checks = [record.check for record in records if record is not None]
    image.suspicion = max((check.suspicion for check in checks if check), default=0.0)
    return image


def _layers(
    run: FinishedRun,
    record: ImageRecord,
    source: Image.Image | None,
    page: Path,
    side: int,
) -> tuple[dict[str, Panel], Image.Image | None]:
    """The panels of one image under one run, and its alpha at the size alphas are compared at."""
    files = {kind: path for kind in record.files if (path := _output(run, record, kind))}
    panels: dict[str, Panel] = {}
    cutout = _read(files["com"], keep_alpha=True) if "com" in files else None
    alpha = _read_matte(files["pha"]) if "pha" in files else None
    if alpha is None and cutout is not None and cutout.mode == "RGBA":
        alpha = cutout.getchannel("A")
    if cutout is not None:
        panels["cutout"] = Panel(_encode(_shrink(cutout, side)), _url(files["com"], page))
    elif alpha is not None:
        colour = _read(files["fgr"]) if "fgr" in files else source
        if colour is not None and colour.size == alpha.size:
            small = _shrink(colour, side)
            small.putalpha(_shrink(alpha, side))
            panels["cutout"] = Panel(_encode(small))
    if alpha is None:
        return panels, None
    full = _url(files["pha"], page) if "pha" in files else None
    panels["alpha"] = Panel(_encode(_shrink(alpha, side), lossless=True), full)
    return panels, _shrink(alpha, _COMPARED_SIDE)


def _output(run: FinishedRun, record: ImageRecord, kind: str) -> Path | None:
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


def _input(record: ImageRecord, kind: str) -> Path | None:
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


def _read(path: Path, *, keep_alpha: bool = False) -> Image.Image | None:
    """An image; None, with a word in the log, if it is gone or cannot be read."""
    try:
        if keep_alpha:
            with local_copy(path) as file, Image.open(file) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(f"{path} claims to be {image.width}x{image.height}")
                return image.convert("RGBA" if image.has_transparency_data else "RGB")
        return Image.fromarray(to_uint8(read_image(path)))
    except Exception as error:  # Pillow raises anything
        log.info("not in the gallery: %s", error)
        return None


def _read_matte(path: Path) -> Image.Image | None:
    try:
        return Image.fromarray(read_alpha(path))
    except BgmError as error:
        log.info("not in the gallery: %s", error)
        return None


def _shrink(image: Image.Image, side: int) -> Image.Image:
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=None)
    return small


def _encode(image: Image.Image, *, lossless: bool = False) -> str:
    """A picture as an address; PNG without loss takes a tenth of the time of WebP."""
    file, kind = io.BytesIO(), "png" if lossless else "webp"
    if lossless:
        image.save(file, kind)
    else:
        image.save(file, kind, quality=_QUALITY, method=2, alpha_quality=_ALPHA_QUALITY)
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode()


def _url(path: Path, page: Path) -> str | None:
    """Where a browser finds a file from the page; what is on remote storage, nowhere."""
    if is_remote(path):
        return None
    try:
        relative = Path(os.path.relpath(path.absolute(), page.absolute().parent)).as_posix()
    except ValueError:  # on another drive of Windows
        return path.absolute().as_uri()
    return "/".join(map(_quote, relative.split("/")))


def _quote(part: str) -> str:
    return quote(os.fsencode(part))


def _difference_of(runs: Sequence[FinishedRun], name: str) -> float:
    """How far the stored alphas of one image are apart."""
    alphas = []
    for run in runs:
        record = run.records.get(name)
        path = _output(run, record, "pha") if record is not None else None
        alpha = _read_matte(path) if path is not None else None
        if alpha is not None:
            alphas.append(_shrink(alpha, _COMPARED_SIDE))
    return _difference(alphas)


def _difference(alphas: Sequence[Image.Image]) -> float:
    sizes = {alpha.size for alpha in alphas}
    if len(alphas) < 2 or len(sizes) != 1:
        return 0.0
    stack: NDArray[np.uint8] = np.stack([np.asarray(alpha) for alpha in alphas])
    return float(np.ptp(stack, axis=0).mean()) / 255
