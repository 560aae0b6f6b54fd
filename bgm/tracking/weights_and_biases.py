"""Logs a run to Weights & Biases."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from bgm.records.record import ImageRecord, Timings
from bgm.records.summary import SHOWN, Summary
from bgm.tracking.base import Preview, RunInfo, TrackerSettings, register_tracker

log = logging.getLogger(__name__)

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
        import wandb  # slow to import, and not needed by runs that are not logged to it

        self._wandb = wandb
        self._rows = [_row(record) for record in run.settled]
        self._started = time.perf_counter()
        folder = Path(_given("DIR") or run.output_dir).absolute()
        mode = _given("MODE") or self._settings.mode
        self._environment = _Environment(folder / "wandb", keep_config=mode != "offline")
        try:
            self._run: Any = wandb.init(**self._arguments(run, folder, mode))
        except BaseException:
            self._environment.restore()
            raise

    def _arguments(self, run: RunInfo, folder: Path, mode: str) -> dict[str, Any]:
        """What W&B is told; given one by one, for it looks at its environment only once."""
        settings = self._settings
        named = _given("TAGS")
        tags = settings.tags if named is None else named.split(",")
        quiet = self._wandb.Settings(silent=True, console="off")
        if mode == "online" and not self._may_log_in(quiet):
            mode = "offline"
            log.warning(
                "no API key of W&B, so the run is kept on disk (tracking.mode=offline); `wandb "
                "login` or WANDB_API_KEY logs in, `wandb sync %s` sends it then",
                folder / "wandb" / "offline-run-*",
            )
        return {
            "project": _given("PROJECT") or settings.project,
            "name": _given("NAME") or settings.name,
            "group": _given("RUN_GROUP") or settings.group,
            "job_type": _given("JOB_TYPE") or settings.job_type,
            "tags": [tag[:_LONGEST_TAG] for tag in tags if tag],
            "dir": str(folder),
            "mode": mode,
            "config": {**run.config, "facts": run.facts},
            "reinit": "create_new",
            "settings": quiet,
        }

    def _may_log_in(self, quiet: Any) -> bool:
        """Whether there is a key, or what else stands for one; W&B itself would ask for it."""
        self._wandb.setup(settings=quiet)
        try:
            return bool(self._wandb.login(prompt=False))
        except TypeError:  # before W&B could be told not to ask
            return self._wandb.api.api_key is not None

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
        try:
            table = self._wandb.Table(columns=list(_COLUMNS), data=self._rows)
            self._run.log({"table": table})
            self._run.summary.update(summary.as_dict())
        finally:
            try:
                self._run.finish(exit_code=0 if summary.status == "finished" else 1)
            finally:
                self._environment.restore()


class _Environment:
    """Keeps W&B's files in the run's own directory, and empty variables from meaning anything.

    W&B has no other settings for it than variables of the environment; those that are set win.

    Args:
        folder: Where its files go.
        keep_config: Whether it shall know what the person has configured for all runs.
    """

    def __init__(self, folder: Path, *, keep_config: bool) -> None:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            if not os.environ[name]:
                del os.environ[name]
        parts = ["DATA", "CACHE"] if keep_config else ["DATA", "CACHE", "CONFIG"]
        places = {f"WANDB_{part}_DIR": str(folder / part.lower()) for part in parts}
        self._own = {name: place for name, place in places.items() if name not in os.environ}
        os.environ.update(self._own)

    def restore(self) -> None:
        """Leave the places to the next run of the process."""
        for name in self._own:
            os.environ.pop(name, None)


def _given(name: str) -> str | None:
    """A variable of the environment for W&B; an empty one counts as not set."""
    return os.environ.get(f"WANDB_{name}") or None


def _row(record: ImageRecord) -> list[Any]:
    alignment = record.alignment
    return [
        *(record.name, record.status, record.error, record.width, record.height, record.refined),
        *(None if alignment is None else getattr(alignment, part) for part in _ALIGNMENT),
        *(record.scores.get(metric) for metric in _SCORES),
        *(getattr(record.timings, stage) for stage in _TIMES),
    ]
