"""What a training writes down about itself as it goes: `metrics.jsonl`, a line for each event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bgm.errors import write_error
from bgm.records.atomic import write_atomically

METRICS_FILE = "metrics.jsonl"

Entry = dict[str, Any]


class Journal:
    """The lines of `metrics.jsonl`.

    Args:
        folder: The run's directory.
        steps: Steps that the run has behind it; what the file says of later ones, which were lost
            when it was interrupted, is taken out.
    """

    def __init__(self, folder: Path, steps: int = 0) -> None:
        self._path = folder / METRICS_FILE
        kept = [entry for entry in read_journal(folder) if entry["step"] <= steps and steps]
        write_atomically(self._path, "".join(map(_line, kept)).encode())

    def add(self, entry: Entry) -> None:
        """Write a line, at once; it must have a `step`."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(entry))
        except OSError as error:
            raise write_error(self._path, error) from error


def read_journal(folder: Path) -> list[Entry]:
    """The lines that a run has left; a last one that is not whole is passed over."""
    path = folder / METRICS_FILE
    if not path.is_file():
        return []
    return list(_parsed(path.read_text(encoding="utf-8").splitlines()))


def _parsed(lines: list[str]) -> Iterator[Entry]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _line(entry: Entry) -> str:
    return json.dumps(entry) + "\n"
