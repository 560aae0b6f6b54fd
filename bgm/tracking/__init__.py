"""Who is told about a run."""

from __future__ import annotations

from bgm.tracking.base import Preview, RunInfo, Tracker
from bgm.tracking.console import ConsoleTracker
from bgm.tracking.files import FilesTracker
from bgm.tracking.guard import Guarded
from bgm.tracking.weights_and_biases import WandbSettings, WandbTracker

__all__ = [
    "ConsoleTracker",
    "FilesTracker",
    "Guarded",
    "Preview",
    "RunInfo",
    "Tracker",
    "WandbSettings",
    "WandbTracker",
]
