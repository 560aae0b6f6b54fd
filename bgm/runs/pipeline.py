"""The images of a run on their way: decoded ahead, matted in batches, written behind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgm.data import Pair
from bgm.data.datasets import Sample
from bgm.errors import BgmError
from bgm.evaluation import Scorer
from bgm.inference.device import synchronize
from bgm.inference.fallback import Fallback
from bgm.inference.matte import Matte
from bgm.inference.predictor import Predictor, Staged, check_pair
from bgm.outputs import LayerBuilder, Writer, strip, to_rgba8
from bgm.outputs.layers import Pixels
from bgm.records.fingerprints import InputFile, fingerprint
from bgm.records.record import ImageRecord
from bgm.records.timing import Timer
from bgm.runs.interruption import StopRequest
from bgm.tracking import Preview

log = logging.getLogger(__name__)

Report = Callable[[ImageRecord], None]


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


class Pipeline:
    """Takes decoded samples to files.

    Args:
        predictor: The network.
        build_layers: What is made of a matte.
        writer: Stores the layers.
        report: Told of every image that is finished, whatever became of it.
        score: Compares a matte with the truth; None without truth.
        stop: Asked before each image whether no more shall be begun; asked by the pipeline to end
            the run if the disk is full, or if an image fails and that shall end it.
        on_error: `continue` or `stop`: what to do when an image fails.
        fallback: Runs the predictor, and knows what to do if its device has no memory.
        batch_size: Images of one size that go through the network together, at most.
        previews: Filled with pictures of the first images, by name.
        samples: How many of those there shall be.
    """

    def __init__(
        self,
        predictor: Predictor,
        build_layers: LayerBuilder,
        writer: Writer,
        report: Report,
        score: Scorer | None,
        *,
        stop: StopRequest,
        on_error: str,
        fallback: Fallback,
        batch_size: int,
        previews: dict[str, Preview],
        samples: int,
    ) -> None:
        self._predictor = predictor
        self._build_layers = build_layers
        self._writer = writer
        self._tell = report
        self._score = score
        self._stop = stop
        self._on_error = on_error
        self._fallback = fallback
        self._batch_size = batch_size
        self._previews = previews
        self._samples = samples

    def run(self, items: Iterator[Sample | Exception], pairs: Sequence[Pair]) -> None:
        """Matte everything.

        Args:
            items: For each pair its sample, or why it could not be decoded.
            pairs: What the items belong to.
        """
        waiting: Batch | None = None
        for batch in self._batches(zip(items, pairs, strict=False)):
            # The next batch is on its way to the device while this one is computed.
            if waiting is not None:
                self._matte(waiting)
            waiting = batch
            for finished in self._writer.finished():
                self._report(finished)
        if waiting is not None:
            self._matte(waiting)
        for finished in self._writer.drain():
            self._report(finished)

    def _report(self, record: ImageRecord) -> None:
        """Tell of a finished image; end the run if it is one to end it for."""
        if self._writer.full is not None:
            self._stop.ask(f"{self._writer.full}; make room and go on with on_existing=resume")
        if record.status == "failed" and self._on_error == "stop":
            self._stop.ask(f"{record.name}: {record.error} (on_error=stop)")
        self._tell(record)

    def _batches(self, items: Iterator[tuple[Sample | Exception, Pair]]) -> Iterator[Batch]:
        """Stage consecutive samples of one size together; report what cannot be matted."""
        samples: list[Sample] = []
        for item, pair in items:
            if self._stop:
                break
            try:
                if isinstance(item, Exception):
                    raise item
                check_pair(item.src, item.bgr)
            except Exception as error:  # a bad image must not take the batch down
                self._report(ImageRecord(pair.name, inputs=_inputs(pair)).fail(explain(error)))
                continue
            if samples and not _are_alike(samples[0], item):
                yield self._stage(samples)
                samples = []
            samples.append(item)
            if len(samples) == self._batch_size:
                yield self._stage(samples)
                samples = []
        if samples:
            yield self._stage(samples)

    def _stage(self, samples: list[Sample]) -> Batch:
        records = []
        for sample in samples:
            record = ImageRecord(sample.pair.name)
            record.height, record.width = sample.src.shape[1:]
            record.alignment, record.inputs = sample.alignment, sample.inputs
            record.remarks += sample.remarks
            if sample.alignment is not None and not sample.alignment.is_settled:
                record.remarks.append(f"not aligned: the plate is {sample.alignment.reason}")
            record.timings.load_ms, record.timings.align_ms = sample.load_ms, sample.align_ms
            records.append(record)
        staged = self._fallback.stage([(sample.src, sample.bgr) for sample in samples])
        return Batch(samples, records, staged)

    def _matte(self, batch: Batch) -> None:
        """Run the network on a batch and hand what comes out to the writer."""
        mattes: Sequence[tuple[Matte | Exception, str | None]]
        try:
            with Timer(partial(synchronize, self._predictor.device)) as forward:
                pairs = [(sample.src, sample.bgr) for sample in batch.samples]
                mattes = self._fallback.run(batch.staged, pairs)
        except Exception as error:
            mattes = [(error, None)] * len(batch.records)
        for sample, record, (matte, remark) in zip(
            batch.samples, batch.records, mattes, strict=True
        ):
            record.timings.forward_ms = round(forward.ms / len(mattes), 3)
            record.remarks += [remark] if remark else []
            try:
                if isinstance(matte, Exception):
                    raise matte
                self._pass_on(sample, record, matte)
            except Exception as error:
                self._report(record.fail(explain(error)))

    def _build(self, matte: Matte) -> tuple[NDArray[np.uint8], dict[str, Pixels]]:
        pixels = to_rgba8(matte)
        return pixels, self._build_layers(matte, pixels)

    def _pass_on(self, sample: Sample, record: ImageRecord, matte: Matte) -> None:
        with Timer() as building:
            (pixels, layers), remark = self._fallback.build(matte, self._build)
        record.remarks += [remark] if remark else []
        record.refined = matte.refined_share
        record.timings.layers_ms = building.ms
        score = None
        if self._score is not None:
            score = partial(_score, self._score, record, pixels[:, :, 3], pixels[:, :, :3])
        if self._samples:
            self._samples -= 1
            try:
                self._previews[record.name] = strip(sample.src.to(self._predictor.device), matte)
            except Exception as error:  # the matte matters more than its picture
                log.warning("no sample picture of %s: %s", record.name, explain(error))
        self._writer.submit(record, layers, sample.started, score)


def _inputs(pair: Pair) -> dict[str, InputFile]:
    """The files of an image that could not be matted, as far as they can be read."""
    inputs = {}
    for kind, path in (("src", pair.src), ("bgr", pair.bgr)):
        with suppress(OSError):
            inputs[kind] = fingerprint(path)
    return inputs


def _are_alike(first: Sample, second: Sample) -> bool:
    return first.src.shape == second.src.shape and all(
        one.dtype == other.dtype
        for one, other in ((first.src, second.src), (first.bgr, second.bgr))
    )


def _score(
    scorer: Scorer, record: ImageRecord, alpha: NDArray[Any], foreground: NDArray[Any]
) -> dict[str, float | None]:
    scores = scorer(record.name, alpha, foreground)
    truths = scorer.files(record.name)
    record.inputs |= {kind: fingerprint(path) for kind, path in truths.items()}
    return scores


def explain(error: BaseException) -> str:
    """An error in words; one that nobody foresaw keeps its type, and its trace goes to the log."""
    if isinstance(error, BgmError):
        return str(error)
    log.debug("unexpected error", exc_info=error)
    return f"{type(error).__name__}: {error}"
