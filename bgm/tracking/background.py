"""Tells a tracker in a thread of its own, so that nobody waits for it but its end."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

from bgm.records.record import ImageRecord
from bgm.records.summary import Summary
from bgm.tracking.base import Preview, RunInfo, Tracker


class Background:
    """Passes everything on to a tracker, in order, while the run goes on.

    Args:
        tracker: The tracker, which does not raise.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._news: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = SimpleQueue()
        # A run that is ended at once does not wait for it.
        self._thread = Thread(target=self._tell, name="tracker", daemon=True)

    def start(self, run: RunInfo) -> None:
        """The run begins."""
        self._news.put((self._tracker.start, (run,)))
        self._thread.start()

    def image(self, record: ImageRecord, preview: Preview | None) -> None:
        """An image is finished."""
        self._news.put((self._tracker.image, (record, preview)))

    def finish(self, summary: Summary) -> None:
        """The run is over; returns once the tracker knows everything."""
        if self._thread.is_alive():
            self._news.put((self._tracker.finish, (summary,)))
            self._news.put(None)
            self._thread.join()

    def _tell(self) -> None:
        while (news := self._news.get()) is not None:
            tell, what = news
            tell(*what)
