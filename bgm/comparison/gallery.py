"""The pictures of a comparison: every image under every run, as small as the page needs them."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bgm.comparison.finished import FinishedRun
from bgm.comparison.pictures import input_of, output_of, read_matte, read_picture, url_of
from bgm.data.processors import usable_cpus
from bgm.records.atomic import write_atomically
from bgm.records.record import ImageRecord

PICTURES = "comparison_pictures"
"""Folder beside the page for pictures that do not fit into it."""

_LEAST_INSIDE = 160  # pixels: if pictures inside the page had to be smaller, they go beside it
_SIDE_OF_PIECES = 256
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
        piece: The file beside the page that holds its pictures; None if they are in the page.
    """

    name: str
    width: int
    height: int
    source: Panel | None = None
    truth: Panel | None = None
    panels: list[dict[str, Panel]] = field(default_factory=list)
    difference: float = 0.0
    suspicion: float = 0.0
    piece: str | None = None


def make_gallery(
    runs: Sequence[FinishedRun], page: Path, page_mb: float, most: int = 1000
) -> list[GalleryImage]:
    """Make the pictures of every image that at least one run has matted.

    Args:
        runs: The runs.
        page: The page that shows them; full-size files are named relative to it.
        page_mb: Megabytes that all of them together may take; they are scaled to fit. Those that
            would become too small to see anything go into files beside the page, one for each
            image.
        most: How many images have pictures.

    Returns:
        The images, those first on which the runs differ most; of too many only those.
    """
    names = {name: None for run in runs for name, record in run.records.items() if record.files}
    if not names or not most:
        return []
    shown = list(names)
    if len(shown) > most:
        with ThreadPoolExecutor(usable_cpus()) as pool:
            differences = dict(
                zip(shown, pool.map(partial(_difference_of, runs), shown), strict=True)
            )
        shown = sorted(shown, key=lambda name: -differences[name])[:most]
    side = _side_that_fits(len(shown), len(runs), page_mb)
    folder = page.with_name(PICTURES)
    _remove_pieces(folder)
    if side < _LEAST_INSIDE:
        images = _make(runs, shown, page, _SIDE_OF_PIECES, folder)
    else:
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
    runs: Sequence[FinishedRun],
    names: Sequence[str],
    page: Path,
    side: int,
    folder: Path | None = None,
) -> list[GalleryImage]:
    """The images with their pictures; if there is a folder, those are stored there instead."""

    def make(numbered: tuple[int, str]) -> GalleryImage:
        number, name = numbered
        image = _make_one(runs, page, side, name)
        return image if folder is None else _store(image, folder / f"{number}.js")

    with ThreadPoolExecutor(usable_cpus()) as pool:
        return list(pool.map(make, enumerate(names)))


def _store(image: GalleryImage, path: Path) -> GalleryImage:
    """Write the pictures of an image as a script: pages from a disk may load nothing else."""
    piece = f"{path.parent.name}/{path.name}"
    content = f"piece({to_script(piece)}, {to_script(asdict(image))});\n"
    write_atomically(path, content.encode())
    return replace(image, source=None, truth=None, panels=[], piece=piece)


def _remove_pieces(folder: Path) -> None:
    """Remove what an earlier page had beside it."""
    for path in folder.glob("*.js") if folder.is_dir() else ():
        path.unlink()


def to_script(content: Any) -> str:
    """JSON that may stand inside a script element: nothing in it ends the element."""
    return json.dumps(content).replace("<", "\\u003c")


def _make_one(runs: Sequence[FinishedRun], page: Path, side: int, name: str) -> GalleryImage:
    records = [run.records.get(name) for run in runs]
    known = next(record for record in records if record is not None and record.files)
    image = GalleryImage(name, known.width or 0, known.height or 0)
    path = input_of(known, "src")
    source = read_picture(path) if path is not None else None
    if source is not None and path is not None:
        image.source = Panel(_encode(_shrink(source, side)), url_of(path, page))
    path = input_of(known, "pha")
    truth = read_matte(path) if path is not None else None
    if truth is not None and path is not None:
        image.truth = Panel(_encode(_shrink(truth, side), lossless=True), url_of(path, page))
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
    files = {kind: path for kind in record.files if (path := output_of(run, record, kind))}
    panels: dict[str, Panel] = {}
    cutout = read_picture(files["com"], keep_alpha=True) if "com" in files else None
    alpha = read_matte(files["pha"]) if "pha" in files else None
    if alpha is None and cutout is not None and cutout.mode == "RGBA":
        alpha = cutout.getchannel("A")
    if cutout is not None:
        panels["cutout"] = Panel(_encode(_shrink(cutout, side)), url_of(files["com"], page))
    elif alpha is not None:
        colour = read_picture(files["fgr"]) if "fgr" in files else source
        if colour is not None and colour.size == alpha.size:
            small = _shrink(colour, side)
            small.putalpha(_shrink(alpha, side))
            panels["cutout"] = Panel(_encode(small))
    if alpha is None:
        return panels, None
    full = url_of(files["pha"], page) if "pha" in files else None
    panels["alpha"] = Panel(_encode(_shrink(alpha, side), lossless=True), full)
    return panels, _shrink(alpha, _COMPARED_SIDE)


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


def _difference_of(runs: Sequence[FinishedRun], name: str) -> float:
    """How far the stored alphas of one image are apart."""
    alphas = []
    for run in runs:
        record = run.records.get(name)
        path = output_of(run, record, "pha") if record is not None else None
        alpha = read_matte(path) if path is not None else None
        if alpha is not None:
            alphas.append(_shrink(alpha, _COMPARED_SIDE))
    return _difference(alphas)


def _difference(alphas: Sequence[Image.Image]) -> float:
    sizes = {alpha.size for alpha in alphas}
    if len(alphas) < 2 or len(sizes) != 1:
        return 0.0
    stack: NDArray[np.uint8] = np.stack([np.asarray(alpha) for alpha in alphas])
    return float(np.ptp(stack, axis=0).mean()) / 255
