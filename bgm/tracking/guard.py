"""Keeps a tracker's troubles away from the mattes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from bgm.records.record import ImageRecord
from bgm.records.summary import Summary
from bgm.tracking.base import Preview, RunInfo, Tracker

log = logging.getLogger(__name__)


class Guarded:
    """Passes everything on to a tracker until it fails; then warns once and lets it be."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._works = True

    def start(self, run: RunInfo) -> None:
        """The run begins."""
        self._try(self._tracker.start, run)

    def image(self, record: ImageRecord, preview: Preview | None) -> None:
        """An image is finished."""
        self._try(self._tracker.image, record, preview)

    def finish(self, summary: Summary) -> None:
        """The run is over."""
        self._try(self._tracker.finish, summary)

    def _try(self, tell: Callable[..., None], *news: Any) -> None:
        if not self._works:
            return
        try:
            tell(*news)
        except Exception as error:  # whatever it is, the mattes matter more
            self._works = False
            name = type(self._tracker).__name__
            log.warning("%s stopped working, the run goes on without it: %s", name, error)
            log.debug("trace of %s", name, exc_info=error)
