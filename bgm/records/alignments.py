"""Alignments that were found, kept beside a run's records so that nobody looks for them again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from bgm.errors import WriteError
from bgm.records.atomic import write_atomically
from bgm.records.record import Alignment, from_plain
from bgm.storage import is_remote

log = logging.getLogger(__name__)

ALIGNMENTS_FILE = "alignments.jsonl"


class Alignments:
    """What is known of alignments, by what they were found from.

    Jobs of a sweep may read the file of another one while that writes it: lines that are not whole
    are passed over.

    Args:
        directory: A folder of this machine, where what is found is written at once; None if it is
            only to be remembered.
        earlier: Directories of other runs whose alignments count too.
    """

    def __init__(self, directory: Path | None, earlier: Iterable[Path] = ()) -> None:
        self._path = None if directory is None else directory / ALIGNMENTS_FILE
        self._known: dict[str, Alignment] = {}
        for folder in earlier:
            self._known |= _read(folder / ALIGNMENTS_FILE)
        own = {} if self._path is None else _read(self._path)
        self._known |= own
        self._written = set(own)
        self._found: dict[str, Alignment] = {}

    def get(self, key: str) -> Alignment | None:
        """What was known of a key before this run, or None."""
        return self._known.get(key)

    def keep(self, key: str, alignment: Alignment) -> None:
        """Write an alignment down; a disk that has no room for it fails no image."""
        if self._path is None:
            if key not in self._known:
                self._found[key] = alignment
        elif key not in self._written:
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(_line(key, alignment))
            except OSError as error:
                log.debug("alignment not kept: %s", error)

    def take_found(self) -> dict[str, Alignment]:
        """What was kept since the last call and not known before, where it is not written down."""
        found, self._found = self._found, {}
        return found

    def put(self, directory: Path) -> None:
        """Store them in the directory of a run that is not on this machine, with those it has."""
        if self._path is None or not is_remote(directory):
            return
        path = directory / ALIGNMENTS_FILE
        lines = (_line(*item) for item in (_read(path) | _read(self._path)).items())
        try:
            write_atomically(path, "".join(lines).encode())
        except WriteError as error:  # they can be found again
            log.warning("alignments not kept: %s", error)


def _line(key: str, alignment: Alignment) -> str:
    return json.dumps({"key": key, **asdict(alignment)}) + "\n"


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
