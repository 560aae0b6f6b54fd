"""Decoding ahead is bounded; timing waits for the device."""

from __future__ import annotations

import threading

import pytest

from bgm.data import prefetch
from bgm.records.timing import Timer


class Counting:
    """Loads, and knows how many items have been loaded."""

    def __init__(self):
        self.loaded = 0
        self._lock = threading.Lock()

    def load(self, index):
        with self._lock:
            self.loaded += 1
        if index == 3:
            raise ValueError("three")
        return index


def test_items_come_in_order_and_errors_in_their_place():
    items = list(prefetch(Counting().load, 10, workers=3))
    assert isinstance(items[3], ValueError)
    assert [i for i in items if isinstance(i, int)] == [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_no_more_is_loaded_than_a_few_ahead(workers):
    dataset = Counting()
    for taken, _ in enumerate(prefetch(dataset.load, 50, workers), start=1):
        assert dataset.loaded <= taken + workers


def test_leaving_early_stops_loading():
    dataset = Counting()
    iterator = prefetch(dataset.load, 1000, 2)
    next(iterator)
    iterator.close()
    assert dataset.loaded < 10


def test_the_timer_synchronises_the_device_at_both_ends():
    events, now = [], iter([1.0, 3.5])

    def clock():
        events.append("clock")
        return next(now)

    with Timer(lambda: events.append("wait"), clock) as timer:
        events.append("work")
    assert events == ["wait", "clock", "work", "wait", "clock"]
    assert timer.ms == 2500
