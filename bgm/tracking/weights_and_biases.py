"""Logs a run to Weights & Biases."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Any

from bgm.records.record import ImageRecord, Timings
from bgm.records.summary import SHOWN, Summary
from bgm.tracking.base import Preview, RunInfo, TrackerSettings, register_tracker
from bgm.tracking.wandb_session import WandbSession

_SCORES = tuple(SHOWN)
_TIMES = tuple(stage.name for stage in fields(Timings))
_ALIGNMENT = ("applied", "reason", "matches", "inliers", "shift_px")
_MOST_ROWS = 10_000  # of the table: a clip has more frames than anybody reads, or memory holds
_COLUMNS: list[str | int] = [
    *("name", "status", "error", "width", "height", "refined", "suspicion"),
    *(f"align/{part}" for part in _ALIGNMENT),
    *(f"score/{metric}" for metric in _SCORES),
    *(f"time/{stage}" for stage in _TIMES),
]


@register_tracker("wandb")
class WandbTracker:
    """One W&B run: settings, a table of images, running figures, samples and the summary.

    W&B's own environment variables win over the settings.
    """

    package = "wandb"

    def __init__(self, settings: TrackerSettings) -> None:
        self._settings = settings
        self._rows: list[list[Any]] = []
        self._done = 0

    def start(self, run: RunInfo) -> None:
        """Start the W&B run in the run's own directory."""
        self._rows = [_row(record) for record in run.settled[:_MOST_ROWS]]
        self._done = len(run.settled)
        self._started = time.perf_counter()
        config = {**run.config, "facts": run.facts}
        self._session = WandbSession(self._settings, run.working or run.output_dir, config)

    def image(self, record: ImageRecord, preview: Preview | None) -> None:
        """Log the running figures, keep the row, show the sample if it is one."""
        self._done += 1
        if len(self._rows) < _MOST_ROWS:
            self._rows.append(_row(record))
        figures: dict[str, Any] = {
            f"time/{stage}": value
            for stage in _TIMES
            if (value := getattr(record.timings, stage)) is not None
        }
        figures["images"] = self._done
        figures["images_per_second"] = self._done / (time.perf_counter() - self._started)
        if preview is not None:
            figures["samples"] = self._session.wandb.Image(preview, caption=record.name)
        self._session.run.log(figures)

    def finish(self, summary: Summary) -> None:
        """Log the table and the summary, and say how the run ended."""
        try:
            table = self._session.wandb.Table(columns=list(_COLUMNS), data=self._rows)
            self._session.run.log({"table": table})
            self._session.run.summary.update(summary.as_dict())
        finally:
            self._session.finish(0 if summary.status == "finished" else 1)


def _row(record: ImageRecord) -> list[Any]:
    alignment = record.alignment
    return [
        *(record.name, record.status, record.error, record.width, record.height, record.refined),
        None if record.check is None else record.check.suspicion,
        *(None if alignment is None else getattr(alignment, part) for part in _ALIGNMENT),
        *(record.scores.get(metric) for metric in _SCORES),
        *(getattr(record.timings, stage) for stage in _TIMES),
    ]
