"""The images of a run on their way: decoded ahead, matted in batches, written behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgm.data import Pair
from bgm.data.datasets import Sample
from bgm.data.metadata import Metadata
from bgm.errors import DiskFullError
from bgm.evaluation import Scorer
from bgm.inference.fallback import Fallback
from bgm.inference.matte import Matte
from bgm.inference.predictor import Staged
from bgm.outputs import LayerBuilder, Pixels, Sink, Writer, strip
from bgm.records.record import ImageRecord
from bgm.runs import steps
from bgm.runs.interruption import StopRequest
from bgm.runs.suspects import Suspects
from bgm.tracking import Preview

log = logging.getLogger(__name__)

_SMALL = 4_000_000  # pixels

Report = Callable[[ImageRecord, Preview | None], None]


@dataclass(frozen=True)
class Parts:
    """What the images pass through.

    Attributes:
        fallback: The network, and what to do if its device has no memory.
        build_layers: What is made of a matte.
        sink: Keeps the layers.
        score: Compares a matte with the truth; None without truth.
        batch_size: Images of one size that go through the network together, at most; None for what
            is quickest without taking much memory.
        writers: Images that are encoded and stored at once, at most.
        samples: Of how many images there shall be pictures.
        sample_every: From one of these to the next.
        stop_on_error: Whether an image that fails ends the run.
        suspects: What becomes of mattes that contradict their photographs.
        turn: Held while the network computes, where others of this process want it too.
    """

    fallback: Fallback
    build_layers: LayerBuilder
    sink: Sink
    score: Scorer | None
    batch_size: int | None
    writers: int
    samples: int
    sample_every: int
    stop_on_error: bool
    suspects: Suspects
    turn: AbstractContextManager[Any] = field(default_factory=nullcontext)


@dataclass
class Batch:
    """Images of one size that go through the network together.

    Attributes:
        samples: The images.
        records: Their records.
        staged: The images on the device; or why they could not be brought there.
    """

    samples: list[Sample]
    records: list[ImageRecord]
    staged: Staged | Exception


@dataclass(frozen=True)
class Made:
    """What was made of one image, on its way to the files.

    Attributes:
        record: Its record.
        layers: Its layers by type.
        pixels: Foreground and alpha, (H, W, 4), uint8.
        metadata: What the photograph says of itself, if that is kept.
        truth: What is true of it, where that came with it.
        started: When its decoding began, on the clock of `time.perf_counter`.
        small: Small versions of photograph and plate, to check the matte by; None for no check.
        draw: Draws the sample picture, if there shall be one.
    """

    record: ImageRecord
    layers: dict[str, Pixels]
    pixels: NDArray[Any]
    metadata: Metadata | None
    truth: Mapping[str, Pixels | Exception] | None
    started: float
    small: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None
    draw: Callable[[], Preview] | None


class Pipeline:
    """Takes decoded samples to files.

    Args:
        parts: What they pass through.
        report: Told of every image that is finished, whatever became of it.
        stop: Asked before each image whether no more shall be begun; asked by the pipeline to end
            the run if the disk is full, or if an image fails and that shall end it.
    """

    def __init__(self, parts: Parts, report: Report, stop: StopRequest) -> None:
        self._parts = parts
        self._tell = report
        self._stop = stop
        self._samples = parts.samples
        self._made = 0
        self._previews: dict[str, Preview] = {}
        self._writer = Writer(parts.writers)

    def run(self, items: Iterator[tuple[Sample | Exception, Pair]]) -> None:
        """Matte everything.

        Args:
            items: Each pair's sample, or why it could not be loaded, with the pair.
        """
        with self._writer:
            waiting: Batch | None = None
            for batch in self._batches(items):
                # The next batch is on its way to the device while this one is computed.
                if waiting is not None:
                    self._matte(waiting)
                waiting = batch
                self._report_finished()
            if waiting is not None:
                self._matte(waiting)
            for record in self._writer.drain():
                self._report(record)

    def _report_finished(self) -> None:
        for record in self._writer.finished():
            self._report(record)

    def _report(self, record: ImageRecord) -> None:
        """Tell of a finished image; end the run if it is one to end it for."""
        if record.status == "failed":
            with suppress(OSError):  # nothing of it shall be taken for its matte
                self._parts.sink.discard(record.name)
            if self._parts.stop_on_error:
                self._stop.ask(f"{record.name}: {record.error} (on_error=stop)")
        self._tell(record, self._previews.pop(record.name, None))

    def _batches(self, items: Iterator[tuple[Sample | Exception, Pair]]) -> Iterator[Batch]:
        """Stage consecutive samples of one size together; report what cannot be matted."""
        samples: list[Sample] = []
        for item, pair in items:
            if self._stop:
                break
            if isinstance(item, Exception):
                self._report(steps.failed_record(pair, item))
                continue
            if samples and not _are_alike(samples[0], item):
                yield self._stage(samples)
                samples = []
            samples.append(item)
            if len(samples) >= self._most_together(item):
                yield self._stage(samples)
                samples = []
        if samples:
            yield self._stage(samples)

    def _most_together(self, sample: Sample) -> int:
        """How many images like this one go through the network together."""
        if self._parts.batch_size is not None:
            return self._parts.batch_size
        # Two keep a processor's threads busier than one, if what is done for each is little.
        height, width = sample.src.shape[1:]
        small = height * width <= _SMALL and self._parts.fallback.device.type == "cpu"
        return 2 if small else 1

    def _stage(self, samples: list[Sample]) -> Batch:
        staged = self._parts.fallback.stage([(sample.src, sample.bgr) for sample in samples])
        return Batch(samples, [steps.begin_record(sample) for sample in samples], staged)

    def _matte(self, batch: Batch) -> None:
        """Run the network on a batch and hand what comes out to the writer."""
        with self._parts.turn:
            mattes = steps.matte(self._parts.fallback, batch.staged, batch.samples, batch.records)
        for sample, record, matte in zip(batch.samples, batch.records, mattes, strict=True):
            try:
                if isinstance(matte, Exception):
                    raise matte
                self._pass_on(sample, record, matte)
            except Exception as error:  # a bad image must not take the batch down
                self._report(record.fail(steps.explain(error)))

    def _pass_on(self, sample: Sample, record: ImageRecord, matte: Matte) -> None:
        parts = self._parts
        with parts.turn:
            layers, pixels = steps.build(parts.fallback, parts.build_layers, sample, record, matte)
        draw = None
        if self._samples and self._made % parts.sample_every == 0:
            self._samples -= 1
            draw = partial(strip, sample.src, pixels, matte)
        self._made += 1
        made = Made(
            record=record,
            layers=layers,
            pixels=pixels,
            metadata=sample.metadata,
            truth=sample.truth,
            started=sample.started,
            small=sample.small,
            draw=draw,
        )
        self._writer.submit(record, partial(self._finish, made))

    def _finish(self, made: Made) -> ImageRecord:
        """Draw, store and score an image; among the writers."""
        record = made.record
        try:
            if made.draw is not None:
                self._previews[record.name] = made.draw()
        except Exception as error:  # the matte matters more than its picture
            log.warning("no sample picture of %s: %s", record.name, steps.explain(error))
        try:
            if made.small is not None:
                self._parts.suspects.examine(record, made.small, made.pixels)
            steps.store(self._parts.sink, record, made.layers, made.metadata)
            self._parts.suspects.set_aside(record)
            if self._parts.score is not None:
                steps.score(self._parts.score, record, made.pixels, made.truth)
        except DiskFullError as full:
            self._stop.ask(f"{full}; make room and go on with on_existing=resume")
            record.fail(str(full))
        except Exception as error:  # one image must not take the others down
            record.fail(steps.explain(error))
        record.timings.total_ms = round((time.perf_counter() - made.started) * 1000, 3)
        return record


def _are_alike(first: Sample, second: Sample) -> bool:
    return first.src.shape == second.src.shape and all(
        one.dtype == other.dtype
        for one, other in ((first.src, second.src), (first.bgr, second.bgr))
    )
