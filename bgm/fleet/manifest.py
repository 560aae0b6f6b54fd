"""What is to be done, as rows of paths in blocks that one worker takes at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from bgm.data import Pair
from bgm.runs.runner import Run
from bgm.storage import locate

_SHARES = 16  # a block is at most this part of a worker's work: how uneven the end may be
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


def in_blocks(
    pairs: Sequence[Pair], workers: int, most_rows: int = MOST_ROWS
) -> Iterator[list[Pair]]:
    """Pairs in blocks: the largest files first, by themselves if they are very large.

    So a picture that takes minutes is begun early, and what is done last is small.

    Args:
        pairs: The pairs.
        workers: How many workers share them.
        most_rows: How many pairs are in a block at most.
    """
    sized = sorted(((_size(pair), pair) for pair in pairs), key=lambda item: -item[0])
    shares = workers * _SHARES
    rows = min(most_rows, math.ceil(len(sized) / shares))
    most = sum(size for size, _ in sized) / shares
    block: list[Pair] = []
    held = 0
    for size, pair in sized:
        if block and (len(block) >= rows or held + size > most):
            yield block
            block, held = [], 0
        block.append(pair)
        held += size
    if block:
        yield block


def _size(pair: Pair) -> int:
    """Bytes of the photograph; of one that is gone 0."""
    with suppress(OSError):
        return pair.src.stat().st_size
    return 0
