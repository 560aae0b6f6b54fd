"""Keeps the records of a run as files beside its images."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from bgm.records import ImageRecord, Summary
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


class FilesTracker:
    """Writes `images.jsonl`, a line per image as it is finished, and `run.json`."""

    def __init__(self) -> None:
        self._inputs: dict[str, dict[str, Any]] = {}

    def start(self, run: RunInfo) -> None:
        """Open the records and say in `run.json` that the run has begun."""
        self._run = run
        self._images: TextIO = (run.output_dir / IMAGES_FILE).open("w", encoding="utf-8")
        self._write_run(Summary(status="running", images=run.images))

    def image(self, record: ImageRecord, preview: Preview | None) -> None:
        """Write the record, at once."""
        if record.inputs:
            self._inputs[record.name] = {k: asdict(file) for k, file in record.inputs.items()}
        self._images.write(json.dumps(record.as_dict()) + "\n")
        self._images.flush()

    def finish(self, summary: Summary) -> None:
        """Close the records and write the summary."""
        self._images.close()
        self._write_run(summary)

    def _write_run(self, summary: Summary) -> None:
        content: dict[str, Any] = {
            "summary": summary.as_dict(),
            **self._run.facts,
            "config": self._run.config,
            "inputs": self._inputs,
        }
        partial = self._run.output_dir / f".{RUN_FILE}.part"
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        partial.replace(self._run.output_dir / RUN_FILE)
