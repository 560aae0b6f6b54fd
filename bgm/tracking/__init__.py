"""Who is told about a run."""

from __future__ import annotations

from bgm.tracking.base import RunInfo, Tracker
from bgm.tracking.console import ConsoleTracker
from bgm.tracking.files import FilesTracker

__all__ = ["ConsoleTracker", "FilesTracker", "RunInfo", "Tracker"]
