"""A store of decoded pictures on disk, mapped into memory: decoded once, shared by all workers.

Each picture is kept as a pyramid, every level half as large as the one before, so that a small
crop of a large picture costs no more than a small picture.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from bgm.errors import BgmError, write_error
from bgm.records.atomic import PARTIAL_SUFFIX, write_atomically
from bgm.training.sources import Pixels, Source

log = logging.getLogger(__name__)

_VERSION = 2
_SMALLEST = 48
_AT_ONCE = 8
_RGBA = 4
_SOLID = 200  # of 255
_CUT = 0.35  # of the lower edge


class Level(NamedTuple):
    """Where one size of a picture lies in the file."""

    offset: int
    height: int
    width: int


@dataclass(frozen=True)
class Entry:
    """A picture in the store.

    Attributes:
        name: Its file's name.
        kind: What sort of subject it is.
        levels: Its sizes, the largest first.
        cut: Whether the subject reaches the lower edge, as if cut off there.
    """

    name: str
    kind: str
    levels: list[Level]
    cut: bool


class PictureStore:
    """Decoded pictures in one file.

    Args:
        path: The index, a `.json` file; the pixels are in the `.bin` beside it.
    """

    def __init__(self, path: Path) -> None:
        index = json.loads(path.read_text(encoding="utf-8"))
        self.channels: int = index["channels"]
        self.entries = [
            Entry(**{**entry, "levels": [Level(*level) for level in entry["levels"]]})
            for entry in index["entries"]
        ]
        self.refused: list[str] = index["refused"]
        self._pixels_path = path.with_suffix(".bin")
        self._map: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}  # a worker maps the file itself

    def level(self, index: int, scale: float, spare: float = 1) -> tuple[Pixels, float]:
        """A picture for use at some scale.

        Args:
            index: Number of the picture.
            scale: The scale wanted, relative to the largest level.
            spare: How much larger than wanted it shall be at least; what is then reduced by
                interpolation looks as rough as what the network's own reduction leaves.

        Returns:
            The smallest level that is not smaller than wanted, (H, W, channels), not to be
            written to; and the scale that is left to do.
        """
        levels = self.entries[index].levels
        chosen = 0
        while chosen + 1 < len(levels) and scale * spare <= 0.5:
            scale *= 2
            chosen += 1
        return self._read(levels[chosen]), scale

    def _read(self, level: Level) -> Pixels:
        if self._map is None:
            self._map = np.memmap(self._pixels_path, np.uint8, "r")
        size = level.height * level.width * self.channels
        flat = self._map[level.offset : level.offset + size]
        return flat.reshape(level.height, level.width, self.channels)


def build_store(
    sources: Sequence[Source],
    read: Callable[[Source], Pixels],
    folder: Path,
    longest_side: int,
    threads: int,
) -> PictureStore:
    """Decode pictures into a store, unless there is one of just these files already.

    Args:
        sources: The pictures.
        read: Reads one; what it refuses with a `BgmError` is named and left out.
        folder: Where stores are kept.
        longest_side: Larger pictures are reduced to this many pixels.
        threads: Pictures to decode at a time.

    Raises:
        WriteError: The store cannot be written.
    """
    path = folder / f"{_key(sources, read.__name__, longest_side)}.json"
    if not path.is_file():
        log.info("decoding %d pictures into %s", len(sources), folder)
        try:
            _write(path, sources, read, longest_side, threads)
        except OSError as error:
            raise write_error(path, error) from error
    store = PictureStore(path)
    for refusal in store.refused:
        log.warning("left out: %s", refusal)
    return store


def _key(sources: Sequence[Source], reader: str, longest_side: int) -> str:
    """What a store is called: it changes with the files and with how they are read."""
    digest = hashlib.sha256(f"{_VERSION} {reader} {longest_side}".encode())
    for source in sources:
        for path in (source.path, source.alpha):
            if path is not None:
                facts = path.stat()
                digest.update(
                    f"{path}|{source.kind}|{facts.st_size}|{facts.st_mtime_ns}\n".encode()
                )
    return digest.hexdigest()[:20]


def _write(
    path: Path,
    sources: Sequence[Source],
    read: Callable[[Source], Pixels],
    longest_side: int,
    threads: int,
) -> None:
    def attempt(source: Source) -> list[Pixels] | str:
        try:
            return list(_pyramid(read(source), longest_side))
        except BgmError as error:
            return str(error)

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex[:12]}{PARTIAL_SUFFIX}")
    index: dict[str, Any] = {"channels": 0, "entries": [], "refused": []}
    with partial.open("wb") as file, ThreadPoolExecutor(threads) as pool:
        for some in _chunks(sources, threads * _AT_ONCE):  # or memory could fill up with pictures
            for source, result in zip(some, pool.map(attempt, some), strict=True):
                if isinstance(result, str):
                    index["refused"].append(result)
                else:
                    index["channels"] = result[0].shape[2]
                    index["entries"].append(asdict(_append(file, source, result)))
    partial.replace(path.with_suffix(".bin"))
    write_atomically(path, json.dumps(index).encode())


def _append(file: BinaryIO, source: Source, pyramid: Sequence[Pixels]) -> Entry:
    """Write a picture's levels to the end of a file."""
    levels = []
    for pixels in pyramid:
        levels.append(Level(file.tell(), *pixels.shape[:2]))
        file.write(np.ascontiguousarray(pixels).data)
    edge = pyramid[0][-1]
    cut = edge.shape[1] == _RGBA and bool((edge[:, 3] > _SOLID).mean() > _CUT)
    return Entry(source.path.name, source.kind, levels, cut)


def _chunks(sources: Sequence[Source], size: int) -> Iterator[Sequence[Source]]:
    for start in range(0, len(sources), size):
        yield sources[start : start + size]


def _pyramid(pixels: Pixels, longest_side: int) -> Iterator[Pixels]:
    """A picture in ever smaller sizes, its colours weighted with alpha where it has one."""
    linear: NDArray[Any] = pixels.astype(np.float32) / 255
    if pixels.shape[2] == _RGBA:
        linear = premultiply(pixels)
    longest = max(pixels.shape[:2])
    if longest > longest_side:
        linear = _reduce(linear, longest_side / longest)
    while True:
        yield _to_straight(linear)
        if max(linear.shape[:2]) <= _SMALLEST:
            return
        linear = _reduce(linear, 0.5)


def premultiply(pixels: Pixels) -> NDArray[np.float32]:
    """Straight RGBA, uint8, as premultiplied floats in [0, 1]."""
    premultiplied = pixels.astype(np.float32)
    premultiplied *= np.float32(1 / 255)
    premultiplied[:, :, :3] *= premultiplied[:, :, 3:]
    return premultiplied


def _reduce(pixels: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))


def _to_straight(linear: NDArray[np.float32]) -> Pixels:
    if linear.shape[2] == _RGBA:
        linear = linear.copy()
        linear[:, :, :3] /= np.maximum(linear[:, :, 3:], 1e-6)
    return np.asarray((linear * 255 + 0.5).clip(0, 255), np.uint8)
