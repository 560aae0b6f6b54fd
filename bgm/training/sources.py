"""Finds the pictures to train with, reads them, and says which of them are of no use, and why."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bgm.data import read_alpha, read_image, to_uint8
from bgm.errors import DataError

SUFFIXES = frozenset(f".{kind}" for kind in ("png", "webp", "tif", "tiff", "jpg", "jpeg", "bmp"))
"""Endings, in lower case, of files that are taken for pictures."""

LEAST_SIDE = 24
"""Pictures, or subjects in them, that are narrower than this many pixels teach nothing."""

_LEAST_COVER = 0.002
_VISIBLE = 8  # of 255: an alpha that can be seen

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """A picture to train with.

    Attributes:
        path: Its file.
        alpha: The file of its alpha; None if it is part of the picture, or there is none.
        kind: What sort of subject: the word before the first `-` of its name, or its directory.
    """

    path: Path
    kind: str
    alpha: Path | None = None


def find_sources(wanted: Sequence[str], alphas: str | None = None) -> list[Source]:
    """Find pictures.

    Args:
        wanted: Directories, which are searched with all below them; files; or globs.
        alphas: Directory of alpha mattes under the same relative names, whatever their endings;
            None if the pictures carry their alpha themselves.

    Returns:
        The pictures in the order of their names below what was wanted, which depends neither on
        the file system nor on where the pictures lie: what is made of them is the same anywhere.

    Raises:
        DataError: A directory, file or glob names nothing, or a picture has no alpha matte.
    """
    mattes = {} if alphas is None else _by_relative_stem(Path(alphas))
    found: dict[Path, tuple[str, Source]] = {}
    for item in wanted:
        for path, relative in _expand(item):
            key = relative.with_suffix("").as_posix()
            if alphas is not None and key not in mattes:
                raise DataError(f"{path} has no alpha matte {key}.* in {alphas}")
            found[path] = key, Source(path, _kind(path), mattes.get(key))
    ordered = sorted(found.values(), key=lambda entry: (entry[0], entry[1].path))
    return [source for _, source in ordered]


def _expand(item: str) -> list[tuple[Path, Path]]:
    """The files that a setting names, each with its name below the directory."""
    path = Path(item).expanduser()
    if path.is_dir():
        files = [(file, file.relative_to(path)) for file in _pictures(path.rglob("*"))]
    else:
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - absolute ones too
        files = [(file, Path(file.name)) for file in _pictures(matches)]
    if not files:
        raise DataError(f"{item}: there is no picture ({', '.join(sorted(SUFFIXES))})")
    return files


def _pictures(paths: Iterable[Path]) -> list[Path]:
    return [
        path
        for path in paths
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]


def _by_relative_stem(folder: Path) -> dict[str, Path]:
    paths = _pictures(folder.rglob("*"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}


def _kind(path: Path) -> str:
    word, dash, _ = path.stem.partition("-")
    return word if dash and word.isalpha() else path.parent.name


def split(
    sources: Sequence[Source], held_out: float, always: Sequence[str] = ()
) -> tuple[list[Source], list[Source]]:
    """Part pictures into those to train with and those that are kept for validation.

    A picture's part depends on nothing but its name, so that it stays there when others come.

    Args:
        sources: The pictures.
        held_out: The share to keep for validation, in [0, 1).
        always: Names, without ending, of pictures that are never trained with.

    Returns:
        The two parts: training, validation.
    """
    parts: tuple[list[Source], list[Source]] = ([], [])
    for source in sources:
        digest = hashlib.sha256(source.path.stem.encode()).digest()
        kept = source.path.stem in always or int.from_bytes(digest[:4], "big") < held_out * 2**32
        parts[kept].append(source)
    return parts


def read_foreground(source: Source) -> Pixels:
    """Read a cut-out, trimmed to what can be seen of it.

    Returns:
        Straight colour and alpha, uint8, (H, W, 4).

    Raises:
        DataError: It cannot be read, or is no cut-out that could teach anything.
    """
    rgba = _read_rgba(source) if source.alpha is None else _join(source.path, source.alpha)
    alpha = rgba[:, :, 3]
    if alpha.min() == 255:
        raise DataError(f"{source.path} is opaque everywhere: not a cut-out")
    seen = alpha >= _VISIBLE
    if seen.mean() < _LEAST_COVER:
        raise DataError(f"{source.path} is transparent everywhere")
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    trimmed = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _large_enough(trimmed, source.path)


def read_background(source: Source) -> Pixels:
    """Read a photograph, uint8, (H, W, 3).

    Raises:
        DataError: It cannot be read, or is tiny.
    """
    return _large_enough(to_uint8(read_image(source.path)), source.path)


def _large_enough(pixels: Pixels, path: Path) -> Pixels:
    height, width = pixels.shape[:2]
    if min(height, width) < LEAST_SIDE:
        raise DataError(
            f"{path} is tiny: {width}x{height} pixels, of which {LEAST_SIDE} are needed"
        )
    return pixels


def _read_rgba(source: Source) -> Pixels:
    try:
        with Image.open(source.path) as image:
            upright = ImageOps.exif_transpose(image)
            if not upright.has_transparency_data:
                raise DataError(f"{source.path} has no alpha channel")
            return np.array(upright.convert("RGBA"))
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise anything on damaged files
        raise DataError(f"{source.path} cannot be read: {error}") from None


def _join(colour: Path, alpha: Path) -> Pixels:
    pixels, matte = to_uint8(read_image(colour)), read_alpha(alpha)
    if pixels.shape[:2] != matte.shape:
        raise DataError(f"{colour} and its alpha {alpha} differ in size")
    joined: NDArray[Any] = np.dstack([pixels, matte])
    return joined
