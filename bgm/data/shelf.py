"""A store of bounded size for what the jobs of a sweep would otherwise do again."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any


@dataclass
class _Kept:
    value: Any
    size: int
    job: int


class Shelf:
    """Keeps values until it is full, and then what it has; used by several threads at once.

    Each job goes through the same pictures in the same order. To give way to the newest value, as
    caches often do, would throw each one out shortly before it is wanted again.

    Args:
        limit: Bytes that may be kept.

    Attributes:
        limit: Bytes that may be kept.
        size: Bytes that are kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._kept: dict[Hashable, _Kept] = {}
        self._job = 0
        self._lock = Lock()

    def begin_job(self, limit: int) -> None:
        """Drop what the job before made no use of, or all if less may be kept than there is."""
        with self._lock:
            self.limit = limit
            for key, kept in list(self._kept.items()):
                if kept.job < self._job or self.size > limit:
                    self.size -= self._kept.pop(key).size
            self._job += 1

    def get(self, key: Hashable) -> Any:
        """The value that is kept under a key; None if there is none."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            kept.job = self._job
            return kept.value

    def keep(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value, if there is room for it.

        Args:
            key: What to ask for it by.
            value: The value, which nobody changes any more.
            size: Bytes that it takes.
        """
        with self._lock:
            if key not in self._kept and self.size + size <= self.limit:
                self._kept[key] = _Kept(value, size, self._job)
                self.size += size
