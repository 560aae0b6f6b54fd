"""One run: from a configuration to files and records."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import torch

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
from bgm.machine import default_threads, helper_threads, keep_freed_memory, set_threads
from bgm.matting import Matting
from bgm.memory import MemoryMeter
from bgm.outputs import LayerBuilder, LayerSpec, Writer, output_path
from bgm.pipeline import Pipeline, explain
from bgm.preflight import check_paths, create_output_dir, split_existing
from bgm.provenance import describe
from bgm.records import ImageRecord, Summary, summarize
from bgm.repeat import check_same
from bgm.tracking import Preview, RunInfo, Tracker
from bgm.tracking.files import read_records

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
    set_threads(config.threads or default_threads())
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
    matting = matting or load_network(config)
    if config.repeat is not None and matting.checkpoint is not None:
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
    data, outputs = run.config.data, run.config.outputs
    helpers = helper_threads(torch.get_num_threads())
    writers = outputs.workers or helpers
    with Writer(run.output_dir, run.build_layers.specs, writers, outputs.png_level) as writer:
        pipeline = Pipeline(
            *(run.matting.predictor, run.build_layers, writer, report, run.score),
            *(data.batch_size, run.previews, run.samples),
        )
        try:
            pipeline.run(_samples(run, data.workers or helpers), run.pairs)
        except KeyboardInterrupt:
            status = "interrupted"
        for finished in writer.drain():
            report(finished)
    return status


def seed_everything(seed: int) -> None:
    """Seed what is random: torch, and OpenCV's RANSAC."""
    torch.manual_seed(seed)
    cv2.setRNGSeed(seed)


def _samples(run: Run, workers: int) -> Iterator[Sample | Exception]:
    data = run.config.data
    dataset = ZipDataset(run.pairs, align=data.align, resize_background=data.resize_background)
    return prefetch(dataset, workers)


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
