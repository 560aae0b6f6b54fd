"""A stopwatch that does not believe an asynchronous device."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

import torch

Clock = Callable[[], float]


def synchronize(device: torch.device) -> None:
    """Wait until the work queued on `device` is done; on the CPU nothing ever is.

    On CUDA that is the current stream's; copies of the next images go on beside it.
    """
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


class Timer:
    """Measures a `with` block in milliseconds.

    Args:
        device: Device to synchronise at both ends; none for work that stays on the host.
        clock: Seconds, monotonic.
        wait: How to synchronise the device.

    Attributes:
        ms: Milliseconds that the block took, once it has ended.
    """

    def __init__(
        self,
        device: torch.device | None = None,
        clock: Clock = time.perf_counter,
        wait: Callable[[torch.device], None] = synchronize,
    ) -> None:
        self._device = device
        self._clock = clock
        self._wait = wait
        self.ms = 0.0

    def __enter__(self) -> Timer:
        self._synchronize()
        self._start = self._clock()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._synchronize()
        self.ms = round((self._clock() - self._start) * 1000, 3)

    def _synchronize(self) -> None:
        if self._device is not None:
            self._wait(self._device)
