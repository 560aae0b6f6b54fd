"""Makes the plates of a run that are not there as files: medians of stills.

Beside each lies what it was made from. A resume keeps it, and another job of the sweep copies it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bgm.data.median import choose_stills, median_plate
from bgm.data.png import encode_png
from bgm.errors import DataError
from bgm.records.atomic import in_words, write_together
from bgm.records.fingerprints import fingerprint
from bgm.records.siblings import jobs_beside

log = logging.getLogger(__name__)

Stills = list[dict[str, str]]
"""Path and SHA-256 of each picture that a plate was made from."""


def make_plates(
    wanted: Mapping[Path, Sequence[Path]], scratch: Path, max_pixels: int
) -> dict[str, Stills]:
    """Make the plates of a run that are to be made.

    A plate that cannot be made is told of in the log; its photographs fail, the others go on.

    Args:
        wanted: The stills of each, by its path.
        scratch: Directory of the run's own files; decoded stills are there too, as long as it
            takes.
        max_pixels: Stills that claim to have more are left out.

    Returns:
        What each plate was made from, by the plate's path.

    Raises:
        WriteError: The disk is full.
    """
    made: dict[str, Stills] = {}
    for path, stills in wanted.items():
        key = _key(stills, max_pixels)
        used = _take_over(path, key, scratch)
        if used is None:
            path.unlink(missing_ok=True)
            try:
                with in_words(path):
                    pixels, chosen = median_plate(stills, scratch, max_pixels)
            except DataError as error:
                log.error("%s: %s", path.relative_to(scratch), error)
                continue
            log.info("%s: median of %d stills", path.relative_to(scratch).as_posix(), len(chosen))
            used = [_identity(still) for still in chosen]
            _store(path, encode_png(pixels), key, used)
        made[str(path)] = used
    return made


def _take_over(path: Path, key: str, scratch: Path) -> Stills | None:
    """What a plate was made from that this run or another job of its sweep has; None for none."""
    relative = path.relative_to(scratch)
    for folder in [scratch, *jobs_beside(scratch)]:
        candidate = folder / relative
        try:
            note: Any = json.loads(_note(candidate).read_text(encoding="utf-8"))
            data = candidate.read_bytes()
            if note["key"] != key or note["sha256"] != hashlib.sha256(data).hexdigest():
                continue
            used: Stills = [dict(still) for still in note["stills"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if candidate != path:
            log.info("%s: taken from %s", relative.as_posix(), folder)
            _store(path, data, key, used)
        return used
    return None


def _store(path: Path, data: bytes, key: str, used: Stills) -> None:
    note = {"key": key, "sha256": hashlib.sha256(data).hexdigest(), "stills": used}
    write_together({path: data, _note(path): json.dumps(note).encode()})


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


def _key(stills: Sequence[Path], max_pixels: int) -> str:
    """What a plate depends on; of stills that cannot be read their names."""
    parts = [_identity(still) for still in choose_stills(stills)]
    return hashlib.sha256(json.dumps([parts, max_pixels]).encode()).hexdigest()


def _identity(still: Path) -> dict[str, str]:
    try:
        return {"path": str(still), "sha256": fingerprint(still).sha256}
    except OSError:
        return {"path": str(still), "sha256": ""}
