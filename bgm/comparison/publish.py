"""Tells the tracker of a sweep's jobs how they compare."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bgm.comparison.compare import Comparison
from bgm.comparison.gallery import PICTURES
from bgm.comparison.page import PAGE
from bgm.comparison.tables import headings, run_rows
from bgm.errors import RecordError
from bgm.records.directory import IDENTITY, RunDirectory
from bgm.tracking import TRACKERS, ComparisonInfo, ComparisonTracker, TrackerSettings

log = logging.getLogger(__name__)


def publish(
    comparison: Comparison, folder: Path, jobs: Sequence[Path], settings: Mapping[str, Any]
) -> None:
    """Tell the tracker, if there is one that wants to know; its troubles are not the sweep's.

    Args:
        comparison: The comparison.
        folder: Where it was written to.
        jobs: Directories of the jobs on this machine.
        settings: Those of a job, by dotted key.
    """
    tracking = {
        key.removeprefix("tracking."): value
        for key, value in settings.items()
        if key.startswith("tracking.")
    }
    make = TRACKERS.get(str(tracking.get("name")))
    identity = _identity(jobs)
    if make is None or identity is None:
        return
    try:
        tracker = make(
            TrackerSettings(
                mode=tracking.get("mode", TrackerSettings.mode),
                project=tracking.get("project", TrackerSettings.project),
                name=f"{folder.name}/comparison",
                group=tracking.get("group"),
                job_type="comparison",
                sync=tracking.get("sync", TrackerSettings.sync),
            )
        )
        if isinstance(tracker, ComparisonTracker):
            tracker.comparison(_info(comparison, folder, jobs, identity))
    except Exception as error:  # whatever it is, the comparison is on disk
        log.warning("%s was not told of the comparison: %s", tracking["name"], error)
        log.debug("trace", exc_info=error)


def _info(
    comparison: Comparison, folder: Path, jobs: Sequence[Path], identity: str
) -> ComparisonInfo:
    page = folder / PAGE
    rows = [
        [cell.text or None if cell.value is None else cell.value for cell in row]
        for row in run_rows(comparison)
    ]
    files = sorted([*folder.glob(f"{page.stem}.*"), *folder.glob(f"{PICTURES}/*")])
    return ComparisonInfo(folder, identity, headings(comparison), rows, files, page, jobs)


def _identity(jobs: Sequence[Path]) -> str | None:
    """What the comparison is known by, now and when the sweep goes on: after its first job."""
    for path in jobs:
        try:
            run = RunDirectory(path).read_run()
        except RecordError:
            continue
        known = None if run is None else run.facts.get(IDENTITY)
        if known:
            return f"{known}-sweep"
    return None
