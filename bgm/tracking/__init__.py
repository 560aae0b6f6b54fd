"""Who is told about a run. A new tracker is a module here and a file in `conf/tracking/`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from bgm.tracking.background import Background
from bgm.tracking.base import (
    TRACKERS,
    ComparisonInfo,
    ComparisonTracker,
    Preview,
    RunInfo,
    Tracker,
    TrackerSettings,
    import_early,
    register_tracker,
)
from bgm.tracking.console import ConsoleTracker
from bgm.tracking.guard import Guarded

for _module in iter_modules(__path__):  # each registers what it has
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "TRACKERS",
    "Background",
    "ComparisonInfo",
    "ComparisonTracker",
    "ConsoleTracker",
    "Guarded",
    "Preview",
    "RunInfo",
    "Tracker",
    "TrackerSettings",
    "import_early",
    "register_tracker",
]
