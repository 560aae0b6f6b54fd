"""One run: from a configuration to files and records."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import torch

from bgm.config.schema import Config, OnExisting, OnOutOfMemory, TrackingConfig, Unmatched, to_plain
from bgm.data import Pair, find_pairs, leave_limit_to_settings, prefetch
from bgm.data import describe as describe_problems
from bgm.data.datasets import Sample, ZipDataset
from bgm.errors import BgmError, DataError, WriteError
from bgm.evaluation import Scorer
from bgm.inference.device import default_threads, helper_threads, keep_freed_memory, set_threads
from bgm.inference.fallback import Fallback
from bgm.inference.matting import Matting
from bgm.inference.memory import MemoryMeter
from bgm.outputs import LayerBuilder, LayerSpec, Writer, output_path
from bgm.records.atomic import PARTIAL_SUFFIX
from bgm.records.lock import DirectoryLock
from bgm.records.record import ImageRecord, Summary, summarize
from bgm.runs.build import (
    create_scorer,
    create_trackers,
    layer_specs,
    load_network,
    samples_wanted,
)
from bgm.runs.interruption import StopRequest
from bgm.runs.pipeline import Pipeline, explain
from bgm.runs.preflight import check_paths, create_output_dir, split_existing, warn_of_little_space
from bgm.runs.provenance import describe
from bgm.runs.repeat import check_same
from bgm.runs.resume import check_same_settings, remove_partial_files, split_done
from bgm.tracking import Preview, RunInfo, Tracker
from bgm.tracking.files import RUN_FILE, read_records

log = logging.getLogger(__name__)


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
        lock: Keeps other runs out of the directory until this one has ended.
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
    lock: DirectoryLock
    previews: dict[str, Preview] = field(default_factory=dict)
    samples: int = 0


def prepare(config: Config, output_dir: Path, matting: Matting | None = None) -> Run:
    """Check everything that can be checked, load the network, make the output directory.

    Args:
        config: What is asked for.
        output_dir: Where to write.
        matting: The network, if it is loaded already.

    Raises:
        BgmError: Something is wrong; no image has been touched.
    """
    keep_freed_memory()
    leave_limit_to_settings()
    set_threads(config.threads or default_threads())
    check_paths(config, output_dir)
    pairing = find_pairs(
        Path(config.data.src),
        Path(config.data.bgr),
        skip_unmatched=config.data.unmatched is Unmatched.skip,
    )
    if not pairing.pairs:
        what = describe_problems(pairing.leftovers, "file without partner")
        raise DataError(f"no photograph has a background\n{what}")
    score = create_scorer(config, pairing.pairs)
    specs = layer_specs(config.outputs)
    settled = [ImageRecord(name, "unmatched", why) for name, why in pairing.leftovers.items()]
    seed_everything(config.seed)
    matting = matting or load_network(config)
    if config.repeat is not None and matting.checkpoint is not None:
        check_same(Path(config.repeat), _inputs(pairing.pairs, score), matting.checkpoint)
    build_layers = LayerBuilder(specs)
    trackers = create_trackers(config.tracking, output_dir)
    create_output_dir(output_dir)
    lock = DirectoryLock(output_dir)
    try:
        pairs, done = _split(config, pairing.pairs, specs, output_dir, matting)
        remove_partial_files(output_dir, [spec.type for spec in specs], PARTIAL_SUFFIX)
        warn_of_little_space(pairs, specs, output_dir)
    except BaseException:
        lock.release()
        raise
    return Run(
        *(config, output_dir, pairs, settled + done, matting, build_layers, score, trackers, lock),
        samples=samples_wanted(config.tracking),
    )


def _split(
    config: Config,
    pairs: list[Pair],
    specs: list[LayerSpec],
    output_dir: Path,
    matting: Matting,
) -> tuple[list[Pair], list[ImageRecord]]:
    """Apply `on_existing`: the pairs to matte, and records of those that need no work."""
    if config.on_existing is OnExisting.resume:
        check_same_settings(output_dir, to_plain(config), matting.checkpoint)
        todo, records = split_done(pairs, specs, output_dir)
        return todo, [replace(record, status="skipped") for record in records]
    todo, done = split_existing(pairs, specs, output_dir, config.on_existing)
    return todo, _skipped(done, specs, output_dir)


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
    records: list[ImageRecord] = [*run.settled]

    def report(record: ImageRecord) -> None:
        records.append(record)
        preview = run.previews.pop(record.name, None)
        for tracker in trackers:
            tracker.image(record, preview)

    started = time.perf_counter()
    status, error = "failed", None
    memory = MemoryMeter(run.matting.device)
    stop = StopRequest()
    try:
        for tracker in trackers:
            tracker.start(RunInfo(run.output_dir, images, resolved, facts, run.settled))
        with memory, stop:
            _matte_all(run, report, stop)
        status = "interrupted" if stop.interrupted else "failed" if stop.reason else "finished"
        error = stop.reason
    except WriteError as unwritable:  # the records: without them a run is not worth going on with
        error = str(unwritable)
    except BaseException as unforeseen:
        error = explain(unforeseen)
        raise
    finally:
        seconds = time.perf_counter() - started
        summary = replace(
            summarize(records, images, seconds, status, error),
            peak_memory_mib=memory.peak_mib,
            device_peak_memory_mib=memory.device_peak_mib,
        )
        for tracker in trackers:
            try:
                tracker.finish(summary)
            except WriteError as unwritable:
                summary = replace(summary, status="failed", error=str(unwritable))
        run.lock.release()
    if summary.error is not None:
        log.error("stopped: %s", summary.error)
    return summary


def record_refusal(
    tracking: TrackingConfig, output_dir: Path, resolved: dict[str, Any], error: BgmError
) -> None:
    """Leave a record of a run that could not start, so that a sweep can show it as failed.

    What an earlier run left in the directory stays as it is.
    """
    if (output_dir / RUN_FILE).exists():
        return
    output_dir.mkdir(parents=True, exist_ok=True)
    for tracker in create_trackers(tracking, output_dir, console=False):
        tracker.start(RunInfo(output_dir, 0, resolved, {}))
        tracker.finish(Summary(status="failed", images=0, error=str(error)))


def _matte_all(run: Run, report: Callable[[ImageRecord], None], stop: StopRequest) -> None:
    """Matte every pair, unless and until the run is asked to stop."""
    data, outputs = run.config.data, run.config.outputs
    helpers = helper_threads(torch.get_num_threads())
    writers = outputs.workers or helpers
    use_cpu = run.config.device.oom is OnOutOfMemory.cpu
    with Writer(run.output_dir, run.build_layers.specs, writers, outputs.png_level) as writer:
        predictor = run.matting.predictor
        pipeline = Pipeline(
            predictor,
            run.build_layers,
            writer,
            report,
            run.score,
            stop=stop,
            on_error=run.config.on_error.name,
            fallback=Fallback(predictor, use_cpu=use_cpu),
            batch_size=data.batch_size,
            previews=run.previews,
            samples=run.samples,
        )
        with closing(_samples(run, data.workers or helpers)) as samples:
            pipeline.run(samples, run.pairs)


def seed_everything(seed: int) -> None:
    """Seed what is random: torch, and OpenCV's RANSAC."""
    torch.manual_seed(seed)
    cv2.setRNGSeed(seed)


def _samples(run: Run, workers: int) -> Generator[Sample | Exception, None, None]:
    data = run.config.data
    dataset = ZipDataset(
        run.pairs,
        align=data.align,
        resize_background=data.resize_background,
        max_pixels=round(data.max_megapixels * 1e6),
    )
    return prefetch(dataset, workers, lambda index: run.pairs[index].name)


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
