"""What kind of file a name promises: a photograph, one that cannot be read here, a film."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, features

from bgm.data.exr import EXR
from bgm.storage import RemotePath

_PHOTOGRAPHS = frozenset(
    {"AVIF", "BMP", "DIB", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "SGI", "TGA"}
    | {"TIFF", "WEBP"}
)
"""Formats, by Pillow's names, that hold photographs. HEIF is there once a plug-in registers it."""

_NEEDS = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}
"""Formats that a build of Pillow may lack, and the feature it then lacks."""

_RAW = (
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .kdc .mef .mos .mrw .nef .nrw .orf "
    ".pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f"
)

_UNREAD = {
    _RAW: "a raw photograph; develop it first, to TIFF, PNG or JPEG",
    ".heic .heics .heif .hif": "a HEIC photograph, which is not read here; save it as JPEG or PNG",
    ".avif .avifs .jp2 .j2k .webp": "a photograph of a kind that the Pillow installed here does "
    "not read; a newer Pillow does, or save it as PNG",
    ".jxl .jxr .wdp .hdp": "a JPEG XL or XR photograph; save it as PNG or TIFF",
    EXR: "an OpenEXR picture; reading it needs pip install 'bgm[exr]'",
    ".hdr .dpx .cin": "a picture of a film pipeline; save it as EXR, or PNG or TIFF of 16 bits",
    ".psd .psb .xcf .kra .ora .afphoto": "a document with layers; export it as TIFF or PNG",
}

_FILM = "a video, not a picture; data=video outputs=video mattes clips, and takes them as plates"

_FILMS = frozenset(
    {".3g2", ".3gp", ".avi", ".braw", ".dv", ".f4v", ".flv", ".m2ts", ".m4v", ".mkv", ".mov"}
    | {".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".r3d", ".ts", ".vob", ".webm", ".wmv"}
    | {".y4m"}
)

_PATTERN = re.compile(r"%0?\d*d|#+|[*?]|\[[^\]]+\]|\{[^}]+\}")
"""What stands for the number of a frame: %04d, ####, *, [0-9], {1..12}."""


@lru_cache(maxsize=1)
def image_suffixes() -> frozenset[str]:
    """Extensions, in lower case, of the photographs that can be read here."""
    lacking = {kind for kind, feature in _NEEDS.items() if not features.check(feature)}
    kinds = _PHOTOGRAPHS - lacking
    by_pillow = {s for s, kind in Image.registered_extensions().items() if kind in kinds}
    return frozenset(by_pillow | ({EXR} if find_spec("OpenEXR") else set()))


def is_image(path: Path) -> bool:
    """Whether a file has the name of a photograph that can be read."""
    return path.suffix.lower() in image_suffixes()


def is_film(path: Path) -> bool:
    """Whether a file has the name of a video."""
    return path.suffix.lower() in _FILMS


def why_unread(path: Path) -> str | None:
    """What a file is that looks like a photograph but is none that can be read, and what helps.

    Returns:
        Words that go on from "it is"; None for photographs and for anything else.
    """
    suffix = path.suffix.lower()
    if suffix in image_suffixes():
        return None
    return next((what for suffixes, what in _UNREAD.items() if suffix in suffixes.split()), None)


def why_no_photograph(path: Path) -> str | None:
    """What a file is that is to be used as a photograph and cannot be: as `why_unread`, or a film.

    A kind that Pillow opens is left to the decoder, whatever its name.
    """
    if is_film(path):
        return _FILM
    suffix = path.suffix.lower()
    return None if suffix in Image.registered_extensions() else why_unread(path)


def why_missing(path: Path) -> str:
    """What to say of a path that does not exist; a pattern of frames is named as one."""
    if isinstance(path, RemotePath):
        bucket = RemotePath(*path.parts[:2])
        return "nothing is stored there" if bucket.exists() else f"there is no bucket {bucket}"
    if _PATTERN.search(path.name) and path.parent.is_dir():
        return (
            f"a pattern of frames, not a file; add data=video, or give their folder: {path.parent}"
        )
    return "no such file or directory"
