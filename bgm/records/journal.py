"""The records of one process among several that work on a run, or far from where they are kept.

On a disk a journal is a file that grows by a line for each image. Objects on remote storage cannot
grow, so there it is a series of parts. A run that ends well puts them all together.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from bgm.errors import WriteError
from bgm.records.atomic import in_words, write_atomically
from bgm.storage import RemotePath, is_remote, list_objects

log = logging.getLogger(__name__)

FOLDER = "records"
"""Of the journals, in the run's directory."""

_LINES, _SECONDS = 100, 20.0
"""When the next part is put: after so many records, or so long after the last one."""


class Journal:
    """Records of one process, safe as soon as may be.

    Args:
        root: The run's directory.
        name: What tells this process from the others, now and earlier.
    """

    def __init__(self, root: Path, name: str) -> None:
        self._folder = root / FOLDER
        self._name = name
        self._waiting: list[str] = []
        self._parts = 0
        self._last = time.monotonic()
        self._file: TextIO | None = None

    def append(self, line: str) -> None:
        """Add a record.

        Args:
            line: As JSON, with the end of the line.

        Raises:
            WriteError: It cannot be written to this disk.
        """
        if not is_remote(self._folder):
            self._append_here(line)
            return
        self._waiting.append(line)
        if len(self._waiting) >= _LINES or time.monotonic() - self._last >= _SECONDS:
            try:
                self.put()
            except WriteError as error:  # the next part is tried with these records too
                log.warning("%s", error)
                self._last = time.monotonic()

    def put(self) -> None:
        """Store what is not stored yet.

        Raises:
            WriteError: It cannot be.
        """
        if self._waiting:
            path = self._folder / f"{self._name}-{self._parts:06}.jsonl"
            write_atomically(path, "".join(self._waiting).encode())
            self._waiting.clear()
            self._parts += 1
        self._last = time.monotonic()

    def close(self) -> None:
        """Store the rest.

        Raises:
            WriteError: It cannot be.
        """
        self.put()
        if self._file is not None:
            with in_words(self._folder / self._name):
                self._file.close()

    def _append_here(self, line: str) -> None:
        path = self._folder / f"{self._name}.jsonl"
        with in_words(path):
            if self._file is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = path.open("a", encoding="utf-8")
            self._file.write(line)
            self._file.flush()


def journals(root: Path) -> list[Path]:
    """The journals, or their parts, that lie in a run's directory now.

    Raises:
        OSError: The storage does not tell.
    """
    folder = root / FOLDER
    found: Iterator[Path] = (
        list_objects(folder, depth=1) if isinstance(folder, RemotePath) else folder.glob("*.jsonl")
    )
    return sorted(path for path in found if path.suffix == ".jsonl")


def remove_journals(root: Path) -> None:
    """Remove them, once their records are kept elsewhere."""
    with suppress(OSError):
        for path in journals(root):
            path.unlink(missing_ok=True)
        if not is_remote(root):
            (root / FOLDER).rmdir()
