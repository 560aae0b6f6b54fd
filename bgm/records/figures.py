"""The numbers that records hold of what came of an image, by their names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import UnionType
from typing import Union, get_args, get_origin, get_type_hints

from bgm.records.directory import flatten
from bgm.records.record import ImageRecord
from bgm.records.summary import SHOWN

_NO_FIGURES = (
    *("name", "status", "error", "remarks", "width", "height", "inputs", "files"),
    *("backbone_scale", "sample_pixels"),
)
"""Fields of a record that say what an image is and how it was matted, not what came of it."""

_DONE = ("written", "skipped")

WHOLE_RUN = {"images_per_second": "high", "peak_memory_mib": "low", "device_peak_memory_mib": "low"}
"""Figures of a run as a whole, and whether more or less of them is better."""


def figures_of(record: ImageRecord) -> dict[str, float]:
    """Every number that a record has of what came of an image, by its name.

    Scores, milliseconds, the refined share; and whatever else a record may come to hold.
    """
    found: dict[str, float] = {}
    if record.status not in _DONE:
        return found
    for field in dataclasses.fields(record):
        if field.name in _NO_FIGURES:
            continue
        value = getattr(record, field.name)
        has_fields = dataclasses.is_dataclass(value) and not isinstance(value, type)
        plain = dataclasses.asdict(value) if has_fields else value
        for key, leaf in flatten(plain, field.name):
            if isinstance(leaf, (int, float)) and not isinstance(leaf, bool):
                found.setdefault(key.rpartition(".")[2], float(leaf))
    return found


def known_figures() -> list[str]:
    """Names of all figures of images that this version of bgm may record."""
    numbers = [name for name in _numbers(ImageRecord) if name not in _NO_FIGURES]
    return [*dict.fromkeys([*SHOWN, *numbers])]


def _numbers(kind: type) -> Iterator[str]:
    """The fields of a dataclass, and of those in it, that hold a number."""
    for name, hint in get_type_hints(kind).items():
        if name in _NO_FIGURES:
            continue
        parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if any(part in (int, float) for part in parts):
            yield name
        for part in parts:
            if dataclasses.is_dataclass(part) and isinstance(part, type):
                yield from _numbers(part)
