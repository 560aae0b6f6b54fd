"""Ends a run in an orderly way when it is asked to: by Ctrl-C, a signal, or its own troubles."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

log = logging.getLogger(__name__)

_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # the last two not on every system
    if hasattr(signal, name)
]
_EXIT_INTERRUPTED = 130


class StopRequest:
    """Whether no new images shall be begun, and why.

    While it is used as a context manager, the first Ctrl-C, SIGTERM or SIGHUP sets it; the second
    ends the process at once. Files under their final names are whole all the same.

    Args:
        end: Ends the process.
        promise: What is done before the run ends.
        same_s: Signals that come within so many seconds of the first are the same request, as
            when one is sent to a process and to its group.

    Attributes:
        reason: Why the run ends before its last image; None if a signal asked for it.
    """

    def __init__(
        self,
        end: Callable[[int], Any] = os._exit,
        promise: str = "images under way are finished first",
        same_s: float = 0.0,
    ) -> None:
        self._end = end
        self._promise = promise
        self._same_s = same_s
        self._first = 0.0
        self._requested = threading.Event()
        self._before: dict[int, Any] = {}
        self.interrupted = False
        self.reason: str | None = None

    def __bool__(self) -> bool:
        return self._requested.is_set()

    def ask(self, reason: str) -> None:
        """Ask the run to end; the first reason counts."""
        if not self:
            self.reason = reason
            self._requested.set()

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup: it shall go on
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            if time.monotonic() - self._first >= self._same_s:
                self._end(_EXIT_INTERRUPTED)
            return
        self._first = time.monotonic()
        self.interrupted = True
        self._requested.set()
        log.warning("stopping: %s; again to stop at once", self._promise)
