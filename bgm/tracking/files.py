"""Keeps the records of a run as files beside its images."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from bgm.errors import write_error
from bgm.records.record import ImageRecord, Summary
from bgm.tracking.base import Preview, RunInfo

IMAGES_FILE = "images.jsonl"
RUN_FILE = "run.json"
STATUS_FILE = "status.json"
"""How a job of a sweep ended, even if it never became a run."""


def read_records(output_dir: Path) -> dict[str, ImageRecord]:
    """The records that an earlier run left in a directory, by name.

    Lines that are not whole, as an interrupted run may leave the last one, are passed over.
    """
    found = {}
    path = output_dir / IMAGES_FILE
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            record = ImageRecord.from_dict(json.loads(line))
        except (ValueError, KeyError, TypeError):
            continue
        found[record.name] = record
    return found


def flatten(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested settings by their dotted keys."""
    if isinstance(settings, dict):
        for key, child in settings.items():
            yield from flatten(child, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, settings


class FilesTracker:
    """Writes `images.jsonl`, a line per image as it is finished, and `run.json`.

    Raises:
        WriteError: From any of its methods, if the files cannot be written.
    """

    def __init__(self) -> None:
        self._inputs: dict[str, dict[str, Any]] = {}

    def start(self, run: RunInfo) -> None:
        """Write what is known already, and say in `run.json` that the run has begun."""
        self._run = run
        path = run.output_dir / IMAGES_FILE
        with _in_words(path):
            # Records of an earlier run give way only once those that are kept are on disk.
            with _replacing(path) as file:
                for record in run.settled:
                    file.write(self._line(record))
            self._images: TextIO = path.open("a", encoding="utf-8")
        self._write_run(Summary(status="running", images=run.images))

    def image(self, record: ImageRecord, preview: Preview | None) -> None:
        """Write the record, at once."""
        with _in_words(self._run.output_dir / IMAGES_FILE):
            self._images.write(self._line(record))
            self._images.flush()

    def finish(self, summary: Summary) -> None:
        """Close the records and write the summary."""
        try:
            with _in_words(self._run.output_dir / IMAGES_FILE):
                self._images.close()
        finally:
            self._write_run(summary)

    def _line(self, record: ImageRecord) -> str:
        if record.inputs:
            self._inputs[record.name] = {k: asdict(file) for k, file in record.inputs.items()}
        return json.dumps(record.as_dict()) + "\n"

    def _write_run(self, summary: Summary) -> None:
        content: dict[str, Any] = {
            "summary": summary.as_dict(),
            **self._run.facts,
            "config": self._run.config,
            "inputs": self._inputs,
        }
        path = self._run.output_dir / RUN_FILE
        with _in_words(path), _replacing(path) as file:
            file.write(json.dumps(content, indent=2) + "\n")


@contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """Write a file beside another and put it in its place once it is whole and on disk."""
    partial = path.with_name(f".{path.name}.part")
    with partial.open("w", encoding="utf-8") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error
