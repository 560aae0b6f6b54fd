"""One run: from a configuration to files and records."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
from numpy.typing import NDArray

from bgm.builders import (
    create_scorer,
    create_trackers,
    layer_specs,
    load_network,
    samples_wanted,
)
from bgm.config import Config, TrackingConfig, Unmatched
from bgm.data import Pair, Sample, ZipDataset, find_pairs, prefetch
from bgm.errors import BgmError
from bgm.evaluation import Scorer
from bgm.fingerprints import fingerprint
from bgm.matting import Matting
from bgm.memory import MemoryMeter
from bgm.outputs import LayerBuilder, LayerSpec, Writer, output_path, strip, to_host
from bgm.preflight import check_paths, create_output_dir, split_existing
from bgm.provenance import describe, usable_cpus
from bgm.records import ImageRecord, Summary, summarize
from bgm.repeat import check_same
from bgm.timing import Timer
from bgm.tracking import Preview, RunInfo, Tracker
from bgm.tracking.files import read_records

log = logging.getLogger(__name__)

_MOST_WORKERS = 4


@dataclass
class Run:
    """A run that nothing stands in the way of any more.

    Attributes:
        config: What was asked for.
        output_dir: Where it writes.
        pairs: What is to be matted.
        settled: Records of what needs no work: skipped and unmatched images.
        matting: The network.
        build_layers: What is made of a matte.
        score: Compares a matte with the truth; None without truth.
        trackers: Who is told.
        previews: Pictures of the first images, by name, until they are reported.
        samples: Pictures still to be made.
    """

    config: Config
    output_dir: Path
    pairs: list[Pair]
    settled: list[ImageRecord]
    matting: Matting
    build_layers: LayerBuilder
    score: Scorer | None
    trackers: list[Tracker]
    previews: dict[str, Preview] = field(default_factory=dict)
    samples: int = 0


def prepare(config: Config, output_dir: Path) -> Run:
    """Check everything that can be checked, load the network, make the output directory.

    Raises:
        BgmError: Something is wrong; no image has been touched.
    """
    check_paths(config, output_dir)
    pairing = find_pairs(
        Path(config.data.src),
        Path(config.data.bgr),
        skip_unmatched=config.data.unmatched is Unmatched.skip,
    )
    score = create_scorer(config, pairing.pairs)
    specs = layer_specs(config.outputs)
    pairs, done = split_existing(pairing.pairs, specs, output_dir, config.on_existing)
    settled = [ImageRecord(name, "unmatched", why) for name, why in pairing.leftovers.items()]
    settled += _skipped(done, specs, output_dir)
    seed_everything(config.seed)
    matting = load_network(config)
    if config.repeat is not None:
        check_same(Path(config.repeat), _inputs(pairing.pairs, score), matting.checkpoint)
    build_layers = LayerBuilder(specs)
    trackers = create_trackers(config.tracking, output_dir)
    create_output_dir(output_dir)
    return Run(
        *(config, output_dir, pairs, settled, matting, build_layers, score, trackers),
        samples=samples_wanted(config.tracking),
    )


def _inputs(pairs: Sequence[Pair], score: Scorer | None) -> dict[str, dict[str, Path]]:
    """The files that each image is made from and compared with, by kind."""
    return {
        pair.name: {"src": pair.src, "bgr": pair.bgr, **(score.files(pair.name) if score else {})}
        for pair in pairs
    }


def execute(run: Run, resolved: dict[str, Any]) -> Summary:
    """Matte every pair of a run.

    Args:
        run: What `prepare` returned.
        resolved: The configuration as nested plain values, for the records.

    Returns:
        The summary. Images that failed are counted in it, not raised.
    """
    images = len(run.pairs) + len(run.settled)
    facts = describe(run.matting.device, run.matting.checkpoint)
    trackers = run.trackers
    for tracker in trackers:
        tracker.start(RunInfo(run.output_dir, images, resolved, facts))

    records: list[ImageRecord] = []

    def report(record: ImageRecord) -> None:
        records.append(record)
        preview = run.previews.pop(record.name, None)
        for tracker in trackers:
            tracker.image(record, preview)

    started = time.perf_counter()
    status, error = "failed", None
    memory = MemoryMeter(run.matting.device)
    try:
        with memory:
            for record in run.settled:
                report(record)
            status = _matte_all(run, report)
    except Exception as unforeseen:
        error = _say(unforeseen)
        raise
    finally:
        seconds = time.perf_counter() - started
        summary = replace(
            summarize(records, images, seconds, status, error),
            peak_memory_mib=memory.peak_mib,
            device_peak_memory_mib=memory.device_peak_mib,
        )
        for tracker in trackers:
            tracker.finish(summary)
    return summary


def record_refusal(
    tracking: TrackingConfig, output_dir: Path, resolved: dict[str, Any], error: BgmError
) -> None:
    """Leave a record of a run that could not start, so that a sweep can show it as failed."""
    output_dir.mkdir(parents=True, exist_ok=True)
    for tracker in create_trackers(tracking, output_dir, console=False):
        tracker.start(RunInfo(output_dir, 0, resolved, {}))
        tracker.finish(Summary(status="failed", images=0, error=str(error)))


def _matte_all(run: Run, report: Callable[[ImageRecord], None]) -> str:
    """Matte every pair; say whether the run was `finished` or `interrupted`."""
    status = "finished"
    outputs = run.config.outputs
    writers = outputs.workers or default_workers()
    with Writer(run.output_dir, run.build_layers.specs, writers, outputs.png_level) as writer:
        try:
            for item, pair in zip(_samples(run), run.pairs, strict=True):
                record = ImageRecord(pair.name)
                if isinstance(item, Exception):
                    report(record.fail(_say(item)))
                elif not _matte(run, item, record, writer):
                    report(record)
                for finished in writer.finished():
                    report(finished)
        except KeyboardInterrupt:
            status = "interrupted"
        for finished in writer.drain():
            report(finished)
    return status


def seed_everything(seed: int) -> None:
    """Seed what is random: torch, and OpenCV's RANSAC."""
    torch.manual_seed(seed)
    cv2.setRNGSeed(seed)


def default_workers() -> int:
    """Threads that decode, or that write: one per processor, up to a few."""
    return min(_MOST_WORKERS, usable_cpus())


def _samples(run: Run) -> Any:
    data = run.config.data
    dataset = ZipDataset(run.pairs, align=data.align, resize_background=data.resize_background)
    return prefetch(dataset, data.workers or default_workers())


def _matte(run: Run, sample: Sample, record: ImageRecord, writer: Writer) -> bool:
    """Matte one sample and hand it to the writer; False if it failed before that."""
    record.height, record.width = sample.src.shape[1:]
    record.alignment, record.inputs = sample.alignment, sample.inputs
    record.timings.load_ms, record.timings.align_ms = sample.load_ms, sample.align_ms
    try:
        with Timer(run.matting.device) as forward:
            matte = run.matting(sample.src, sample.bgr)
        with Timer() as building:
            layers = run.build_layers(matte)
    except Exception as error:  # a bad image must not take the batch down
        record.fail(_say(error))
        return False
    record.refined = matte.refined_share
    record.timings.forward_ms, record.timings.layers_ms = forward.ms, building.ms
    score = None
    if run.score is not None:
        pixels = to_host(matte.alpha), to_host(matte.foreground)
        score = partial(_score, run.score, record, *pixels)
    if run.samples:
        run.samples -= 1
        run.previews[record.name] = strip(sample.src.to(run.matting.device), matte)
    writer.submit(record, layers, sample.started, score)
    return True


def _score(
    scorer: Scorer, record: ImageRecord, alpha: NDArray[Any], foreground: NDArray[Any]
) -> dict[str, float | None]:
    scores = scorer(record.name, alpha, foreground)
    truths = scorer.files(record.name)
    record.inputs |= {kind: fingerprint(path) for kind, path in truths.items()}
    return scores


def _skipped(
    pairs: Sequence[Pair], specs: Sequence[LayerSpec], output_dir: Path
) -> list[ImageRecord]:
    """Records of images that are skipped, with what an earlier run knew about them."""
    earlier = read_records(output_dir) if pairs else {}
    records = []
    for pair in pairs:
        paths = {spec.type: output_path(output_dir, spec, pair.name) for spec in specs}
        files = {kind: path.relative_to(output_dir).as_posix() for kind, path in paths.items()}
        known = earlier.get(pair.name, ImageRecord(pair.name))
        records.append(replace(known, status="skipped", error=None, files=files))
    return records


def _say(error: Exception) -> str:
    """An error in words; one that nobody foresaw keeps its type, and its trace goes to the log."""
    if isinstance(error, BgmError):
        return str(error)
    log.debug("unexpected error", exc_info=error)
    return f"{type(error).__name__}: {error}"
