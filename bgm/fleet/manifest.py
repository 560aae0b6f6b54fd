"""What is to be done, as rows of paths in blocks that one worker takes at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bgm.data import Pair, Pairs
from bgm.runs.runner import Run
from bgm.storage import locate

_SHARES = 2  # a block is at most this part of what is left for each worker, in images and bytes
MOST_ROWS = 32
"""Of a block: few enough to hear of them while they are done, enough to keep the worker busy."""


@dataclass(frozen=True)
class Row:
    """One image.

    Attributes:
        pair: Its files.
        truths: What it is compared with, by kind.
        earlier: Files of earlier runs that give way.
    """

    pair: Pair
    truths: dict[str, str] = field(default_factory=dict)
    earlier: list[str] = field(default_factory=list)

    def to_text(self) -> str:
        """The row as Ray carries it."""
        pair = self.pair
        files = [str(pair.src), str(pair.bgr)]
        return json.dumps([pair.name, *files, pair.plate, self.truths, self.earlier])

    @classmethod
    def from_text(cls, text: str) -> Row:
        """The row that `to_text` was called on."""
        name, src, bgr, plate, truths, earlier = json.loads(text)
        return cls(Pair(name, locate(src), locate(bgr), plate), truths, earlier)


def make_row(run: Run, pair: Pair) -> Row:
    """The row of one pair of a run."""
    truths = run.plan.score.files(pair.name) if run.plan.score else {}
    return Row(
        pair,
        {kind: str(path) for kind, path in truths.items()},
        list(run.earlier.get(pair.name, ())),
    )


def in_blocks(pairs: Pairs, workers: int, most_rows: int = MOST_ROWS) -> Iterator[Pairs]:
    """Pairs in blocks: the largest files first, and smaller and smaller blocks.

    So a picture that takes minutes is begun early, by itself, and what is done last is small. A
    small one follows it, because a worker is given two blocks before the others have one.

    Args:
        pairs: The pairs.
        workers: How many workers share them.
        most_rows: How many pairs are in a block at most.
    """
    sizes = np.fromiter((_size(pairs.source(name)) for name in pairs.names), np.int64, len(pairs))
    order = np.argsort(-sizes, kind="stable")

    def block(begin: int, end: int) -> Pairs:
        return pairs.only(pairs.names[at] for at in order[begin:end].tolist())

    shares = workers * _SHARES
    left = int(sizes.sum())
    begin, end = 0, len(order)
    while begin < end:
        rows = min(most_rows, math.ceil((end - begin) / shares))
        held = np.cumsum(sizes[order[begin : begin + rows]])
        fitting = int(np.searchsorted(held, left / shares, side="right"))
        rows = min(max(1, fitting), len(held))
        yield block(begin, begin + rows)
        begin += rows
        left -= int(held[rows - 1])
        if fitting == 0 and begin < end:
            end -= 1
            yield block(end, end + 1)
            left -= int(sizes[order[end]])


def _size(path: Path) -> int:
    """Bytes of a file; of one that is gone 0."""
    with suppress(OSError):
        return path.stat().st_size
    return 0
