"""One run: from a configuration to files and records."""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import torch

from bgm.config.identity import settings_hash, shown
from bgm.config.schema import Config, OnExisting
from bgm.data import Pairs, leave_limit_to_settings
from bgm.errors import WriteError
from bgm.inference.device import default_threads, keep_freed_memory, set_threads
from bgm.inference.matting import Matting
from bgm.inference.memory import MemoryMeter
from bgm.records.directory import IDENTITY, RunDirectory
from bgm.records.record import ImageRecord
from bgm.records.summary import Summary, Tally
from bgm.records.timing import Timer
from bgm.runs import steps
from bgm.runs.build import create_trackers, load_network, take_settings_of_file
from bgm.runs.clips import ClipWork
from bgm.runs.engines import Engine, LocalEngine
from bgm.runs.interruption import StopRequest
from bgm.runs.plan import Plan, make_plan
from bgm.runs.plates import Stills, make_plates
from bgm.runs.preflight import create_output_dir, warn_of_little_space
from bgm.runs.provenance import describe
from bgm.runs.repeat import check_same
from bgm.runs.resume import remove_partial_files, split
from bgm.runs.reuse import Reuse, has_results
from bgm.runs.suspects import judge
from bgm.storage import locate
from bgm.tracking import Preview, RunInfo, Tracker, import_early

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
        made: What plates were made from, by their paths.
        identity: What it is known by to those who are told; one that goes on keeps it.
        clips: What there is to do of clips, where they are what is matted.
        reuse: What it shares with other jobs of its sweep; None if it shares nothing.
    """

    plan: Plan
    directory: RunDirectory
    pairs: Pairs
    settled: list[ImageRecord]
    earlier: dict[str, list[str]]
    matting: Matting
    trackers: list[Tracker]
    made: dict[str, Stills]
    identity: str
    clips: ClipWork | None = None
    reuse: Reuse | None = None

    @property
    def images(self) -> int:
        """How many images it is asked for; of clips about how many frames."""
        todo = len(self.pairs) if self.clips is None else self.clips.frames
        return todo + len(self.settled)


def prepare(
    config: Config,
    output_dir: Path,
    matting: Matting | None = None,
    working: Path | None = None,
    engine: Engine | None = None,
    *,
    console: bool = True,
    shares: bool = False,
) -> Run:
    """Check everything that can be checked, load the network, make the output directory.

    Args:
        config: What is asked for.
        output_dir: Where to write.
        matting: The network, if it is loaded already.
        working: Where on this machine the run keeps its records, if `output_dir` is not here.
        engine: Who will do the work; None for this process.
        console: Whether the run is shown to a person.
        shares: Whether pictures and coarse results are shared with other runs of this process.

    Raises:
        BgmError: Something is wrong; no image has been touched.
    """
    set_up_process(config)
    settings_here = (engine or LocalEngine()).settings_here
    if config.network_file is not None:
        matting = matting or load_network(settings_here(config))
        take_settings_of_file(config, matting)
    plan = make_plan(config, output_dir, working)
    import_early(config.tracking.name)
    matting = matting or load_network(settings_here(config), spare=shares and has_results())
    if not plan.pairs.stills():
        _check_repeats(plan, matting)
    run = _open(plan, matting, working, console=console)
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


def _check_repeats(plan: Plan, matting: Matting) -> None:
    """Refuse what is no repetition of the run that is to be repeated."""
    repeated = plan.config.repeat
    if repeated is not None and matting.checkpoint is not None:
        check_same(
            locate(repeated),
            plan.inputs(),
            matting.checkpoint,
            of_clips=plan.clips is not None,
        )


def _open(plan: Plan, matting: Matting, working: Path | None, *, console: bool) -> Run:
    """Make and lock the directory; tell what is to be done there from what is done."""
    config = plan.config
    trackers = create_trackers(config.tracking, plan.output_dir, console=console)
    create_output_dir(plan.output_dir)
    directory = RunDirectory(plan.output_dir, working)
    directory.working.mkdir(parents=True, exist_ok=True)
    directory.lock()
    try:
        made = make_plates(plan.pairs.stills(), directory.working, config.data.max_pixels)
        if made:
            _check_repeats(plan, matting)
        pairs, done, clips = split(plan, directory, matting.checkpoint)
        for record in done:
            judge(record, config.suspect_above)
        overwrites = config.on_existing is OnExisting.overwrite
        earlier = directory.remember_files() if overwrites else {}
        identity = _identity(directory, config)
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
        made=made,
        identity=identity,
        clips=clips,
    )


def _identity(directory: RunDirectory, config: Config) -> str:
    """That of the run that goes on here, or a new one."""
    before = directory.read_run() if config.on_existing is OnExisting.resume else None
    known = None if before is None else before.facts.get(IDENTITY)
    return known if isinstance(known, str) and known else uuid.uuid4().hex[:12]


def execute(run: Run, resolved: dict[str, Any], engine: Engine | None = None) -> Summary:
    """Matte every pair of a run.

    Args:
        run: What `prepare` returned.
        resolved: The configuration as nested plain values, for the records.
        engine: Who does the work; None for this process.

    Returns:
        The summary. Images that failed are counted in it, not raised.
    """
    engine = engine or LocalEngine()
    images = run.images
    facts = {**describe(run.matting.device, run.matting.checkpoint), **engine.facts}
    facts |= {"plates": run.made} if run.made else {}
    facts[IDENTITY] = run.identity
    tally = Tally()
    for record in run.settled:
        tally.add(record)
    memory, clock = MemoryMeter(run.matting.device), Timer()
    stop = StopRequest(promise=engine.promise)
    status, error = "failed", None

    def report(record: ImageRecord, preview: Preview | None) -> None:
        tally.add(record)
        run.directory.append(record)
        for tracker in run.trackers:
            tracker.image(record, preview)

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
                "images" if run.clips is None else "frames",
                identity=run.identity,
                shown=shown(resolved, facts),
            )
            for tracker in run.trackers:
                tracker.start(info)
            with memory, clock:
                engine.matte_all(run, report, stop)
        status = "interrupted" if stop.interrupted else "failed" if stop.reason else "finished"
        error = stop.reason
    except WriteError as unwritable:  # the records: without them a run is not worth going on with
        error = str(unwritable)
    except BaseException as unforeseen:
        error = steps.explain(unforeseen)
        raise
    finally:
        figures = _asked_for(run, tally, status), clock.ms / 1000, status, error
        spared = 0.0 if run.reuse is None else run.reuse.spared_seconds
        summary = replace(
            tally.summarize(*figures, spared_seconds=spared),
            peak_memory_mib=memory.peak_mib,
            device_peak_memory_mib=memory.device_peak_mib,
        )
        summary = _finish(run, summary)
    if summary.error is not None:
        log.error("stopped: %s", summary.error)
    return summary


def _asked_for(run: Run, tally: Tally, status: str) -> int:
    """Images that the run was asked for; how many a clip has is known in the end."""
    return tally.done if run.clips is not None and status == "finished" else run.images


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
