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
    """Passes everything on to a tracker; warns once if that fails.

    A tracker that could not start is let be. One that fails at an image is told of the next ones
    all the same, and of the end, so that a hiccup costs no more than what it was about.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._is_started = False
        self._has_warned = False

    def start(self, run: RunInfo) -> None:
        """The run begins."""
        self._is_started = self._try(
            "stopped working, the run goes on without it", self._tracker.start, run
        )

    def image(self, record: ImageRecord, preview: Preview | None) -> None:
        """An image is finished."""
        if self._is_started:
            self._try(f"was not told of {record.name}", self._tracker.image, record, preview)

    def finish(self, summary: Summary) -> None:
        """The run is over."""
        if self._is_started:
            self._try("did not store the end of the run", self._tracker.finish, summary)

    def _try(self, trouble: str, tell: Callable[..., None], *news: Any) -> bool:
        """Tell the tracker; whether that went well."""
        try:
            tell(*news)
        except Exception as error:  # whatever it is, the mattes matter more
            name = type(self._tracker).__name__
            log.log(
                logging.DEBUG if self._has_warned else logging.WARNING,
                *("%s %s: %s", name, trouble, error),
            )
            log.debug("trace of %s", name, exc_info=error)
            self._has_warned = True
            return False
        return True
