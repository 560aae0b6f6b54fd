"""The table of a run's images in Weights & Biases, sent in parts while the run goes on."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from bgm.records.record import ImageRecord, Timings
from bgm.records.summary import SHOWN
from bgm.tracking.wandb_session import WandbSession

KEY = "table"

SCORES = tuple(SHOWN)
TIMES = tuple(stage.name for stage in fields(Timings))

_ALIGNMENT = ("applied", "reason", "matches", "inliers", "shift_px")
_COLUMNS: list[str | int] = [
    *("name", "status", "error", "width", "height", "refined", "suspicion"),
    *(f"score/{metric}" for metric in SCORES),
    *(f"time/{stage}" for stage in TIMES),
    *(f"align/{part}" for part in _ALIGNMENT),
]
_SMALLEST_PART, _LARGEST_PART = 50, 2000


class ImagesTable:
    """A row per image: what became of it, scores, times, suspicion.

    W&B shows the parts as one table, of at most a hundred of them. So each is larger than the one
    before it, up to a size at which rows take little memory: those that are sent are forgotten.

    Args:
        session: The W&B run.
    """

    def __init__(self, session: WandbSession) -> None:
        self._run = session.run
        self._table = session.wandb.Table(columns=list(_COLUMNS), log_mode="INCREMENTAL")
        self._sent = 0

    def add(self, record: ImageRecord) -> None:
        """Add an image; send what there is, if it is enough for a part."""
        self._table.add_data(*_row(record))
        due = min(max(self._sent // 4, _SMALLEST_PART), _LARGEST_PART)
        if len(self._table.data) - self._sent >= due:
            self.send()

    def send(self) -> None:
        """Send the rows that W&B does not have yet."""
        rows = len(self._table.data)
        if rows > self._sent:
            self._run.log({KEY: self._table})
            self._sent = rows
            self._table.data[:] = [()] * rows  # W&B goes by their number only


def _row(record: ImageRecord) -> list[Any]:
    alignment = record.alignment
    return [
        *(record.name, record.status, record.error, record.width, record.height, record.refined),
        None if record.check is None else record.check.suspicion,
        *(record.scores.get(metric) for metric in SCORES),
        *(getattr(record.timings, stage) for stage in TIMES),
        *(None if alignment is None else getattr(alignment, part) for part in _ALIGNMENT),
    ]
