"""Decodes ahead of the network, but never further than a few images.

Threads serve here better than the processes of torch's DataLoader: decoding happens in C with
the interpreter's lock released, and no image has to be copied through shared memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol, TypeVar

Item = TypeVar("Item", covariant=True)


class Indexed(Protocol[Item]):
    """A dataset."""

    def __getitem__(self, index: int, /) -> Item: ...

    def __len__(self) -> int: ...


def prefetch(dataset: Indexed[Item], workers: int) -> Iterator[Item | Exception]:
    """Yield the items of `dataset` in order, loading the next ones in the background.

    Args:
        dataset: What to load from; used by several threads at once.
        workers: Threads that load; at most one item more than that is held ready.

    Yields:
        Each item, or the exception that loading it raised.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        indices = iter(range(len(dataset)))
        waiting: deque[Future[Item]] = deque(
            pool.submit(dataset.__getitem__, index) for index in islice(indices, workers + 1)
        )
        try:
            while waiting:
                future = waiting.popleft()
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                item = error or future.result()
                del future  # or it would keep the decoded image alive while the next one loads
                yield item
                del item
                for index in islice(indices, 1):
                    waiting.append(pool.submit(dataset.__getitem__, index))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
