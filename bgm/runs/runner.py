"""One run: from a configuration to files and records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch

from bgm.config.identity import settings_hash
from bgm.config.schema import Config, OnExisting, OnOutOfMemory
from bgm.data import Pair, leave_limit_to_settings, prefetch
from bgm.data.datasets import Sample, ZipDataset
from bgm.errors import WriteError
from bgm.inference.device import default_threads, helper_threads, keep_freed_memory, set_threads
from bgm.inference.fallback import Fallback
from bgm.inference.matting import Matting
from bgm.inference.memory import MemoryMeter
from bgm.outputs import PictureFolders
from bgm.records.alignments import Alignments
from bgm.records.directory import STATUS_FILE, RunDirectory
from bgm.records.record import ImageRecord
from bgm.records.summary import Summary, Tally
from bgm.records.timing import Timer
from bgm.runs import steps
from bgm.runs.build import create_trackers, load_network, samples_wanted
from bgm.runs.interruption import StopRequest
from bgm.runs.pipeline import Parts, Pipeline
from bgm.runs.plan import Plan, make_plan
from bgm.runs.preflight import create_output_dir, warn_of_little_space
from bgm.runs.provenance import describe
from bgm.runs.repeat import check_same
from bgm.runs.resume import remove_partial_files, split
from bgm.runs.reuse import Reuse
from bgm.storage import locate
from bgm.tracking import Preview, RunInfo, Tracker

log = logging.getLogger(__name__)


@dataclass
class Run:
    """A run that nothing stands in the way of any more.

    Attributes:
        plan: What was asked for.
        directory: Where it writes; locked until the run has ended.
        pairs: What is to be matted.
        settled: Records of what needs no work: skipped and unmatched images.
        earlier: Files of earlier runs that give way, by image.
        matting: The network.
        trackers: Who is told.
        reuse: What it shares with other jobs of its sweep; None if it shares nothing.
    """

    plan: Plan
    directory: RunDirectory
    pairs: list[Pair]
    settled: list[ImageRecord]
    earlier: dict[str, list[str]]
    matting: Matting
    trackers: list[Tracker]
    reuse: Reuse | None = None


def prepare(
    config: Config,
    output_dir: Path,
    matting: Matting | None = None,
    working: Path | None = None,
    *,
    shares: bool = False,
) -> Run:
    """Check everything that can be checked, load the network, make the output directory.

    Args:
        config: What is asked for.
        output_dir: Where to write.
        matting: The network, if it is loaded already.
        working: Where on this machine the run keeps its records, if `output_dir` is not here.
        shares: Whether pictures and coarse results are shared with other runs of this process.

    Raises:
        BgmError: Something is wrong; no image has been touched.
    """
    set_up_process(config)
    plan = make_plan(config, output_dir)
    matting = matting or load_network(config)
    if config.repeat is not None and matting.checkpoint is not None:
        check_same(locate(config.repeat), plan.inputs(), matting.checkpoint)
    run = _open(plan, matting, working)
    if shares:
        run.reuse = Reuse(config)
        run.reuse.remember_coarse(matting)
    return run


def set_up_process(config: Config) -> None:
    """Prepare the libraries: memory, threads, limits, random numbers."""
    keep_freed_memory()
    leave_limit_to_settings()
    set_threads(config.threads or default_threads())
    torch.manual_seed(config.seed)
    cv2.setRNGSeed(config.seed)  # RANSAC of the alignment


def _open(plan: Plan, matting: Matting, working: Path | None) -> Run:
    """Make and lock the directory; tell what is to be done there from what is done."""
    config = plan.config
    trackers = create_trackers(config.tracking, plan.output_dir)
    create_output_dir(plan.output_dir)
    directory = RunDirectory(plan.output_dir, working)
    directory.working.mkdir(parents=True, exist_ok=True)
    directory.lock()
    try:
        pairs, done = split(plan, directory, matting.checkpoint)
        overwrites = config.on_existing is OnExisting.overwrite
        earlier = directory.remember_files() if overwrites else {}
        remove_partial_files(plan.output_dir, [spec.type for spec in plan.specs])
        warn_of_little_space(pairs, plan.specs, plan.output_dir)
    except BaseException:
        directory.release()
        raise
    return Run(
        plan=plan,
        directory=directory,
        pairs=pairs,
        settled=[*plan.unmatched, *done],
        earlier=earlier,
        matting=matting,
        trackers=trackers,
    )


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
    tally = Tally()
    for record in run.settled:
        tally.add(record)
    memory, clock, stop = MemoryMeter(run.matting.device), Timer(), StopRequest()
    status, error = "failed", None
    try:
        with stop:
            facts["config_sha256"] = settings_hash(resolved)
            run.directory.begin(images, resolved, facts, run.settled)
            info = RunInfo(
                run.plan.output_dir,
                images,
                resolved,
                facts,
                run.settled,
                run.directory.working,
            )
            for tracker in run.trackers:
                tracker.start(info)
            with memory, clock:
                _matte_all(run, tally, stop)
        status = "interrupted" if stop.interrupted else "failed" if stop.reason else "finished"
        error = stop.reason
    except WriteError as unwritable:  # the records: without them a run is not worth going on with
        error = str(unwritable)
    except BaseException as unforeseen:
        error = steps.explain(unforeseen)
        raise
    finally:
        seconds = clock.ms / 1000
        spared = 0.0 if run.reuse is None else run.reuse.spared_seconds(_loaders(run))
        summary = replace(
            tally.summarize(images, seconds, status, error, spared_seconds=spared),
            peak_memory_mib=memory.peak_mib,
            device_peak_memory_mib=memory.device_peak_mib,
        )
        summary = _finish(run, summary)
    if summary.error is not None:
        log.error("stopped: %s", summary.error)
    return summary


def _finish(run: Run, summary: Summary) -> Summary:
    """Close the records, tell everybody, let other runs in."""
    try:
        try:
            run.directory.finish(summary)
        except WriteError as unwritable:
            summary = replace(summary, status="failed", error=str(unwritable))
        for tracker in run.trackers:
            tracker.finish(summary)
    finally:
        run.directory.release()
    return summary


def _matte_all(run: Run, tally: Tally, stop: StopRequest) -> None:
    """Matte every pair, unless and until the run is asked to stop."""
    config = run.plan.config
    parts = Parts(
        fallback=Fallback(run.matting.predictor, use_cpu=config.device.oom is OnOutOfMemory.cpu),
        build_layers=run.plan.build_layers,
        sink=PictureFolders(
            run.plan.output_dir, run.plan.specs, config.outputs.png_level, run.earlier
        ),
        score=run.plan.score,
        batch_size=config.data.batch_size,
        writers=config.outputs.workers or helper_threads(torch.get_num_threads()),
        samples=samples_wanted(config.tracking),
        stop_on_error=config.on_error.name == "stop",
    )

    def report(record: ImageRecord, preview: Preview | None) -> None:
        tally.add(record)
        run.directory.append(record)
        for tracker in run.trackers:
            tracker.image(record, preview)

    with closing(_samples(run)) as samples:
        Pipeline(parts, report, stop).run(samples, run.pairs)


def _loaders(run: Run) -> int:
    return run.plan.config.data.workers or helper_threads(torch.get_num_threads())


def _samples(run: Run) -> Generator[Sample | Exception, None, None]:
    data = run.plan.config.data
    dataset = ZipDataset(
        run.pairs,
        align=data.align,
        alignments=known_alignments(run.plan) if data.align else None,
        resize_background=data.resize_background,
        max_pixels=round(data.max_megapixels * 1e6),
        metadata=run.plan.config.outputs.metadata,
    )
    load: Callable[[int], Sample] = partial(steps.load, dataset)
    if run.reuse is not None:
        load = run.reuse.remember_samples(load, run.pairs)
    return prefetch(load, len(dataset), _loaders(run), lambda index: run.pairs[index].name)


def known_alignments(plan: Plan) -> Alignments:
    """What this run, the run that it repeats and the other jobs of its sweep found before."""
    output_dir = plan.output_dir
    earlier = [Path(plan.config.repeat)] if plan.config.repeat is not None else []
    if (output_dir / STATUS_FILE).exists():
        earlier += [path.parent for path in output_dir.parent.glob(f"*/{STATUS_FILE}")]
    return Alignments(output_dir, earlier)
