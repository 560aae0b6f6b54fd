"""Logs a run to Weights & Biases."""

from __future__ import annotations

import os
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from bgm.records.record import ImageRecord, Timings
from bgm.records.summary import SHOWN, Summary
from bgm.tracking.base import Preview, RunInfo, TrackerSettings, register_tracker

_SCORES = tuple(SHOWN)
_TIMES = tuple(stage.name for stage in fields(Timings))
_ALIGNMENT = ("applied", "reason", "matches", "inliers", "shift_px")
_COLUMNS: list[str | int] = [
    *("name", "status", "error", "width", "height", "refined"),
    *(f"align/{part}" for part in _ALIGNMENT),
    *(f"score/{metric}" for metric in _SCORES),
    *(f"time/{stage}" for stage in _TIMES),
]
_LONGEST_TAG = 64


def begin_run(
    settings: TrackerSettings, folder: Path, config: dict[str, Any], **more: Any
) -> tuple[Any, Any]:
    """Begin a W&B run.

    Args:
        settings: What is said about it; W&B's own environment variables win.
        folder: Where W&B keeps its files.
        config: The settings to show, as nested plain values.
        more: Further arguments of `wandb.init`.

    Returns:
        The module `wandb`, and the run.
    """
    import wandb  # slow to import, and not needed by runs that are not logged to it

    named = os.environ.get("WANDB_TAGS")
    tags = settings.tags if named is None else named.split(",")
    mode: Any = os.environ.get("WANDB_MODE", settings.mode)
    # Given one by one: W&B looks at its environment only once, and a sweep is many runs.
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", settings.project),
        name=os.environ.get("WANDB_NAME", settings.name),
        group=os.environ.get("WANDB_RUN_GROUP", settings.group),
        job_type=os.environ.get("WANDB_JOB_TYPE", settings.job_type),
        tags=[tag[:_LONGEST_TAG] for tag in tags if tag],
        dir=os.environ.get("WANDB_DIR", str(folder)),
        mode=mode,
        config=config,
        reinit="create_new",
        settings=wandb.Settings(silent=True, console="off"),
        **more,
    )
    return wandb, run


@register_tracker("wandb")
class WandbTracker:
    """One W&B run: settings, a table of images, running figures, samples and the summary.

    W&B's own environment variables win over the settings.
    """

    def __init__(self, settings: TrackerSettings) -> None:
        self._settings = settings
        self._rows: list[list[Any]] = []

    def start(self, run: RunInfo) -> None:
        """Start the W&B run in the run's own directory."""
        self._rows = [_row(record) for record in run.settled]
        self._started = time.perf_counter()
        self._wandb, self._run = begin_run(
            self._settings, run.output_dir, {**run.config, "facts": run.facts}
        )

    def image(self, record: ImageRecord, preview: Preview | None) -> None:
        """Log the running figures, keep the row, show the sample if it is one."""
        self._rows.append(_row(record))
        figures: dict[str, Any] = {
            f"time/{stage}": value
            for stage in _TIMES
            if (value := getattr(record.timings, stage)) is not None
        }
        figures["images"] = len(self._rows)
        figures["images_per_second"] = len(self._rows) / (time.perf_counter() - self._started)
        if preview is not None:
            figures["samples"] = self._wandb.Image(preview, caption=record.name)
        self._run.log(figures)

    def finish(self, summary: Summary) -> None:
        """Log the table and the summary, and say how the run ended."""
        self._run.log({"table": self._wandb.Table(columns=list(_COLUMNS), data=self._rows)})
        self._run.summary.update(summary.as_dict())
        self._run.finish(exit_code=0 if summary.status == "finished" else 1)


def _row(record: ImageRecord) -> list[Any]:
    alignment = record.alignment
    return [
        *(record.name, record.status, record.error, record.width, record.height, record.refined),
        *(None if alignment is None else getattr(alignment, part) for part in _ALIGNMENT),
        *(record.scores.get(metric) for metric in _SCORES),
        *(getattr(record.timings, stage) for stage in _TIMES),
    ]
