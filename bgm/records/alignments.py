"""Alignments that were found, kept beside a run's records so that nobody looks for them again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from bgm.records.record import Alignment, from_plain

log = logging.getLogger(__name__)

ALIGNMENTS_FILE = "alignments.jsonl"


class Alignments:
    """What is known of alignments, by what they were found from.

    Jobs of a sweep may read the file of another one while that writes it: lines that are not whole
    are passed over.

    Args:
        directory: Of the run; what it finds is written there at once.
        earlier: Directories of other runs whose alignments count too.
    """

    def __init__(self, directory: Path, earlier: Iterable[Path] = ()) -> None:
        self._path = directory / ALIGNMENTS_FILE
        self._known: dict[str, Alignment] = {}
        self._own: set[str] = set()
        for folder in earlier:
            self._known |= _read(folder / ALIGNMENTS_FILE)
        own = _read(self._path)
        self._own |= own.keys()
        self._known |= own

    def get(self, key: str) -> Alignment | None:
        """What was found for a key, or None."""
        return self._known.get(key)

    def keep(self, key: str, alignment: Alignment) -> None:
        """Remember an alignment; a disk that has no room for it fails no image."""
        self._known[key] = alignment
        if key in self._own:
            return
        self._own.add(key)
        line = json.dumps({"key": key, **asdict(alignment)}) + "\n"
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            log.debug("alignment not kept: %s", error)


def alignment_key(*parts: object) -> str:
    """What an alignment is known by: hashes of the files and the settings it depends on."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read(path: Path) -> dict[str, Alignment]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        try:
            content = json.loads(line)
            alignment = from_plain(Alignment, content)
            if alignment.applied == (len(alignment.homography or ()) == 9):
                found[str(content["key"])] = alignment
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found
