"""Encodes and stores finished images in the background, never more than a few at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

from bgm.errors import BgmError
from bgm.outputs.encode import EXTENSIONS, encode, store
from bgm.outputs.layers import LayerSpec, Pixels
from bgm.records import ImageRecord
from bgm.timing import Timer


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
    """

    def __init__(self, root: Path, specs: list[LayerSpec], workers: int, png_level: int) -> None:
        self._root = root
        self._specs = specs
        self._png_level = png_level
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="write")
        self._under_way: set[Future[ImageRecord]] = set()

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
                wait(self._under_way, return_when=FIRST_COMPLETED)
        record.timings.write_wait_ms = waiting.ms
        self._under_way.add(self._pool.submit(self._finish, record, layers, started, score))

    def finished(self) -> Iterator[ImageRecord]:
        """The records of the images that have been finished since the last call."""
        done = {future for future in self._under_way if future.done()}
        self._under_way -= done
        for future in done:
            yield future.result()

    def drain(self) -> Iterator[ImageRecord]:
        """The records of the images still under way, each as soon as it is finished."""
        while self._under_way:
            wait(self._under_way, return_when=FIRST_COMPLETED)
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
                except BgmError as error:
                    record.error = f"not scored: {error}"
            record.timings.score_ms = scoring.ms
        record.timings.total_ms = round((time.perf_counter() - started) * 1000, 3)
        return record

    def _write(self, record: ImageRecord, layers: dict[str, Pixels]) -> None:
        with Timer() as encoding:
            try:
                for spec in self._specs:
                    path = output_path(self._root, spec, record.name)
                    store(encode(layers[spec.type], spec, self._png_level), path)
                    record.files[spec.type] = path.relative_to(self._root).as_posix()
            except BgmError as error:
                record.fail(str(error))
            except Exception as error:  # one image must not take the others down
                record.fail(f"writing failed: {type(error).__name__}: {error}")
        record.timings.encode_ms = encoding.ms
