"""Decodes ahead of the network, but never further than a few images.

Threads serve here better than the processes of torch's DataLoader: decoding happens in C with
the interpreter's lock released, and no image has to be copied through shared memory.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from itertools import islice
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

from bgm.data.processors import give_way
from bgm.errors import DataError

log = logging.getLogger(__name__)

PATIENCE_S = 60.0
"""How long an item may take before something is said."""

_END = StopIteration()
_POLL_S = 0.1

Item = TypeVar("Item")


def prefetch(
    load: Callable[[int], Item], count: int, workers: int, describe: Callable[[int], str] = str
) -> Generator[Item | Exception, None, None]:
    """Yield items in order, loading the next ones in the background.

    Args:
        load: Loads an item by its index; called by several threads at once.
        count: How many items there are.
        workers: Threads that load; at most one item more than that is held ready.
        describe: What to call an item, by its index, if it takes very long.

    Yields:
        Each item, or the exception that loading it raised.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="decode", initializer=give_way) as pool:
        indices = iter(range(count))
        waiting: deque[Future[Item]] = deque(
            pool.submit(load, index) for index in islice(indices, workers + 1)
        )
        try:
            for number in range(count):
                future = waiting.popleft()
                while not wait([future], timeout=PATIENCE_S).done:
                    what = describe(number)
                    log.warning("still reading after %g s: %s (a hung drive?)", PATIENCE_S, what)
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    error = DataError(f"its decoder was ended: {error!r}")
                item = error or future.result()
                del future  # or it would keep the decoded image alive while the next one loads
                yield item
                del item
                for index in islice(indices, 1):
                    waiting.append(pool.submit(load, index))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def read_ahead(items: Generator[Item, None, None], ahead: int) -> Generator[Item, None, None]:
    """Run a generator in a thread of its own, a few items ahead of who takes them.

    Args:
        items: What is run; it is closed in the end.
        ahead: Items that are held ready, at most.

    Raises:
        BaseException: Whatever the generator raises, in its turn.
    """
    ready: Queue[tuple[Item | None, BaseException | None]] = Queue(ahead)
    stopped = Event()

    def put(item: Item | None, error: BaseException | None) -> None:
        while not stopped.is_set():
            try:
                ready.put((item, error), timeout=_POLL_S)
                return
            except Full:
                continue

    def run() -> None:
        give_way()
        try:
            with closing(items):
                for item in items:
                    put(item, None)
                    if stopped.is_set():
                        return
            put(None, _END)
        except BaseException as error:  # is raised where the items are taken
            put(None, error)

    thread = Thread(target=run, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item, error = ready.get(timeout=PATIENCE_S)
            except Empty:
                log.warning("still reading after %g s (a hung drive?)", PATIENCE_S)
                continue
            if error is _END:
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
            del item
    finally:
        stopped.set()
        thread.join()
