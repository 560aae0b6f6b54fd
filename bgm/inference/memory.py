"""How much memory a run takes at its peak."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil
import torch

from bgm.inference.device import peak_memory_mib, reset_peak_memory

_INTERVAL_S = 0.05
_MIB = 2**20


class MemoryMeter:
    """Watches the memory of this process, and of a CUDA device, during a `with` block.

    The operating system's own peak covers the whole life of a process, which for the jobs of a
    sweep is not their own; so the resident size is looked at twenty times a second.

    Args:
        device: The device that the run computes on.

    Attributes:
        peak_mib: Largest resident size of the process that was seen, in MiB.
        device_peak_mib: Most memory that torch held on a CUDA device, in MiB; None elsewhere.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self.peak_mib = 0.0
        self.device_peak_mib: float | None = None

    def __enter__(self) -> MemoryMeter:
        reset_peak_memory(self._device)
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        self.device_peak_mib = peak_memory_mib(self._device)

    def _watch(self) -> None:
        while not self._over.wait(_INTERVAL_S):
            self._look()

    def _look(self) -> None:
        self.peak_mib = max(self.peak_mib, resident_mib())


def resident_mib() -> float:
    """Resident size of this process, in MiB."""
    return round(psutil.Process().memory_info().rss / _MIB, 1)
