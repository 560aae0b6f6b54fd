"""Encodes and stores finished images in the background, never more than a few at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

from bgm.errors import BgmError, DiskFullError
from bgm.outputs.encode import EXTENSIONS, encode
from bgm.outputs.layers import LayerSpec, Pixels
from bgm.records.atomic import write_atomically
from bgm.records.record import ImageRecord
from bgm.records.timing import Timer

log = logging.getLogger(__name__)

PATIENCE_S = 60.0
"""How long an image may take to be written before something is said."""


def output_path(root: Path, spec: LayerSpec, name: str) -> Path:
    """Where the layer `spec` of the image `name` is stored: `<root>/<type>/<name>.<ext>`."""
    return root / spec.type / f"{name}{EXTENSIONS[spec.format]}"


class Writer:
    """A bounded pool of threads, each taking one image from layers to files.

    Use as a context manager; leaving it waits for the images under way.

    Args:
        root: The run's directory.
        specs: The layers of every image.
        workers: Threads, and so the images under way at once.
        png_level: Compression of PNG, 0 to 9.

    Attributes:
        full: What could not be written because the disk is full, once that has happened.
    """

    def __init__(self, root: Path, specs: list[LayerSpec], workers: int, png_level: int) -> None:
        self._root = root
        self._specs = specs
        self._png_level = png_level
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="write")
        self._under_way: dict[Future[ImageRecord], str] = {}
        self.full: str | None = None

    def submit(
        self,
        record: ImageRecord,
        layers: dict[str, Pixels],
        started: float,
        score: Callable[[], dict[str, float | None]] | None = None,
    ) -> None:
        """Hand over one image, waiting for a free place if there is none.

        Args:
            record: Its record, which the writer completes.
            layers: Its layers by type.
            started: When its decoding began, on the clock of `time.perf_counter`.
            score: Compares it with the truth, once its files are stored.
        """
        with Timer() as waiting:
            while len([future for future in self._under_way if not future.done()]) >= self._workers:
                self._wait()
        record.timings.write_wait_ms = waiting.ms
        future = self._pool.submit(self._finish, record, layers, started, score)
        self._under_way[future] = record.name

    def finished(self) -> Iterator[ImageRecord]:
        """The records of the images that have been finished since the last call."""
        for future in [future for future in self._under_way if future.done()]:
            del self._under_way[future]
            yield future.result()

    def drain(self) -> Iterator[ImageRecord]:
        """The records of the images still under way, each as soon as it is finished."""
        while self._under_way:
            self._wait()
            yield from self.finished()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True)

    def _wait(self) -> None:
        """Wait until an image under way is finished; say so if it takes very long."""
        pending = [future for future in self._under_way if not future.done()]
        done, _ = wait(pending, timeout=PATIENCE_S, return_when=FIRST_COMPLETED)
        if pending and not done:
            names = ", ".join(self._under_way[future] for future in pending)
            log.warning("still writing after %g s: %s (a slow or hung disk?)", PATIENCE_S, names)

    def _finish(
        self,
        record: ImageRecord,
        layers: dict[str, Pixels],
        started: float,
        score: Callable[[], dict[str, float | None]] | None,
    ) -> ImageRecord:
        self._write(record, layers)
        if score is not None and record.status == "written":
            with Timer() as scoring:
                try:
                    record.scores = score()
                except Exception as error:  # the matte is stored all the same
                    record.error = f"not scored: {error}"
            record.timings.score_ms = scoring.ms
        record.timings.total_ms = round((time.perf_counter() - started) * 1000, 3)
        return record

    def _write(self, record: ImageRecord, layers: dict[str, Pixels]) -> None:
        with Timer() as encoding:
            try:
                for spec in self._specs:
                    path = output_path(self._root, spec, record.name)
                    write_atomically(path, encode(layers[spec.type], spec, self._png_level))
                    record.files[spec.type] = path.relative_to(self._root).as_posix()
            except BgmError as error:
                record.fail(str(error))
                if isinstance(error, DiskFullError):
                    self.full = str(error)
            except Exception as error:  # one image must not take the others down
                record.fail(f"writing failed: {type(error).__name__}: {error}")
        record.timings.encode_ms = encoding.ms
