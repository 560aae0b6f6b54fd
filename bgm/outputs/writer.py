"""Finishes images in the background, never more than a few at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType

from bgm.data.processors import give_way
from bgm.records.record import ImageRecord
from bgm.records.timing import Timer

log = logging.getLogger(__name__)

PATIENCE_S = 60.0
"""How long an image may take to be written before something is said."""


class Writer:
    """A bounded pool of threads, each taking one image from layers to files.

    Use as a context manager; leaving it waits for the images under way.

    Args:
        workers: Threads, and so the images under way at once.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="write", initializer=give_way)
        self._under_way: dict[Future[ImageRecord], str] = {}

    def submit(self, record: ImageRecord, finish: Callable[[], ImageRecord]) -> None:
        """Hand over one image, waiting for a free place if there is none.

        Args:
            record: Its record.
            finish: Stores it and returns the record; it does not raise.
        """
        with Timer() as waiting:
            while len([future for future in self._under_way if not future.done()]) >= self._workers:
                self._wait()
        record.timings.write_wait_ms = waiting.ms
        self._under_way[self._pool.submit(finish)] = record.name

    def finished(self) -> Iterator[ImageRecord]:
        """The records of the images that have been finished since the last call."""
        for future in [future for future in self._under_way if future.done()]:
            del self._under_way[future]
            yield future.result()

    def drain(self) -> Iterator[ImageRecord]:
        """The records of the images still under way, each as soon as it is finished."""
        while self._under_way:
            self._wait()
            yield from self.finished()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True)

    def _wait(self) -> None:
        """Wait until an image under way is finished; say so if it takes very long."""
        pending = [future for future in self._under_way if not future.done()]
        done, _ = wait(pending, timeout=PATIENCE_S, return_when=FIRST_COMPLETED)
        if pending and not done:
            names = ", ".join(self._under_way[future] for future in pending)
            log.warning("still writing after %g s: %s (a slow or hung disk?)", PATIENCE_S, names)
