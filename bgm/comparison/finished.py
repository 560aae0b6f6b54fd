"""A finished run, as everything that compares runs sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bgm.records.figures import figures_of
from bgm.records.record import ImageRecord
from bgm.records.summary import Summary

CHECKPOINT_HASH = "checkpoint.sha256"
"""Stands among the settings of a run, for the file that `checkpoint` names may change."""


@dataclass(frozen=True)
class FinishedRun:
    """A run as its files tell it.

    Attributes:
        name: Its directory, as short as tells it from the others.
        path: Its directory.
        summary: Its figures.
        settings: Its configuration, by dotted key.
        records: What became of each image, by name.
        note: What else there is to say of it, such as that it dropped out of a race.
        overrides: What the command line and the sweep set for it, if that is known.
    """

    name: str
    path: Path
    summary: Summary
    settings: Mapping[str, Any]
    records: Mapping[str, ImageRecord]
    note: str | None = None
    overrides: Sequence[str] = ()

    @property
    def failed(self) -> bool:
        """Whether it broke off as a whole."""
        return self.summary.status == "failed"

    @cached_property
    def figures(self) -> Mapping[str, Mapping[str, float]]:
        """Every number that is known of each image, by its name."""
        return {name: figures_of(record) for name, record in self.records.items()}
