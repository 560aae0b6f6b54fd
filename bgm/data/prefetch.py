"""Decodes ahead of the network, but never further than a few images.

Threads serve here better than the processes of torch's DataLoader: decoding happens in C with
the interpreter's lock released, and no image has to be copied through shared memory.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from bgm.errors import DataError

log = logging.getLogger(__name__)

PATIENCE_S = 60.0
"""How long an item may take before something is said."""

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
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
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
