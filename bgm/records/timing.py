"""A stopwatch that does not believe an asynchronous device."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

Clock = Callable[[], float]


class Timer:
    """Measures a `with` block in milliseconds.

    Args:
        wait: Waits until a device has done what it was given, at both ends; None for work that
            stays on the host.
        clock: Seconds, monotonic.

    Attributes:
        ms: Milliseconds that the block took, once it has ended.
    """

    def __init__(
        self, wait: Callable[[], object] | None = None, clock: Clock = time.perf_counter
    ) -> None:
        self._wait = wait
        self._clock = clock
        self.ms = 0.0

    def __enter__(self) -> Timer:
        if self._wait is not None:
            self._wait()
        self._start = self._clock()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and self._wait is not None:
            self._wait()
        self.ms = round((self._clock() - self._start) * 1000, 3)
