"""Who does the work of a run: this process, and what it shares with those of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch

from bgm.config.schema import Config, OnOutOfMemory
from bgm.data import Pair, prefetch
from bgm.data.datasets import Sample, ZipDataset
from bgm.evaluation import Scorer
from bgm.inference.device import helper_threads
from bgm.inference.fallback import Fallback
from bgm.inference.matting import Matting
from bgm.outputs import LayerBuilder, PictureFolders, Sink
from bgm.records.alignments import Alignments
from bgm.records.record import ImageRecord
from bgm.records.siblings import jobs_beside
from bgm.runs import steps
from bgm.runs.build import samples_wanted
from bgm.runs.interruption import StopRequest
from bgm.runs.pipeline import Parts, Pipeline, Report
from bgm.runs.reuse import Reuse
from bgm.runs.suspects import Suspects
from bgm.storage import is_remote, locate
from bgm.tracking import Preview

if TYPE_CHECKING:
    from bgm.runs.runner import Run


class Engine(Protocol):
    """Who does the work of a run.

    Attributes:
        promise: What happens to images under way when the run is asked to stop.
        facts: What the records shall say of it, as nested plain values.
    """

    promise: str
    facts: Mapping[str, Any]

    def settings_here(self, config: Config) -> Config:
        """The settings with which this process loads the network."""

    def matte_all(self, run: Run, report: Report, stop: StopRequest) -> None:
        """Matte every pair of a run, unless and until it is asked to stop.

        Args:
            run: What is to be done.
            report: Told of every image that is finished, whatever became of it.
            stop: Whether no more shall be begun; asked if something ends the run.
        """


class LocalEngine:
    """This process."""

    promise = "images under way are finished first"
    facts: Mapping[str, Any] = {}

    def settings_here(self, config: Config) -> Config:
        """The settings as they are."""
        return config

    def matte_all(self, run: Run, report: Report, stop: StopRequest) -> None:
        """Matte every pair of a run here, or every frame of its clips."""
        plan, clips = run.plan, run.clips
        if clips is None:
            sink = PictureFolders(
                plan.output_dir, plan.specs, plan.config.outputs.png_level, run.earlier
            )
            parts = create_parts(plan.config, run.matting, plan.build_layers, sink, plan.score)
            alignments = known_alignments(run)
            try:
                matte_pairs(plan.config, parts, run.pairs, alignments, report, stop, run.reuse)
            finally:
                alignments.put(plan.output_dir)
            return
        films = clips.sink(plan.output_dir, run.earlier)
        parts = create_parts(plan.config, run.matting, plan.build_layers, films, plan.score)
        parts = replace(parts, sample_every=max(1, run.images // max(1, parts.samples)))

        def report_frame(record: ImageRecord, preview: Preview | None) -> None:
            clips.look_at(record)
            report(record, preview)

        try:
            with closing(clips.items(films)) as frames:
                Pipeline(parts, report_frame, stop).run(frames)
        finally:
            films.close()
            run.directory.tell(clips=clips.told())


def create_parts(
    config: Config,
    matting: Matting,
    build_layers: LayerBuilder,
    sink: Sink,
    score: Scorer | None,
) -> Parts:
    """What the images of a process pass through."""
    return Parts(
        fallback=Fallback(matting.predictor, use_cpu=config.device.oom is OnOutOfMemory.cpu),
        build_layers=build_layers,
        sink=sink,
        score=score,
        batch_size=config.data.batch_size,
        writers=config.outputs.workers or helper_threads(torch.get_num_threads()),
        samples=samples_wanted(config.tracking),
        sample_every=1,
        stop_on_error=config.on_error.name == "stop",
        suspects=Suspects(config.on_suspect.name, config.suspect_above, locate(config.output_dir)),
    )


def matte_pairs(
    config: Config,
    parts: Parts,
    pairs: Sequence[Pair],
    alignments: Alignments | None,
    report: Report,
    stop: StopRequest,
    reuse: Reuse | None = None,
) -> None:
    """Take pairs through the pipeline of this process, decoded ahead and written behind."""
    data = config.data
    dataset = ZipDataset(
        pairs,
        align=bool(data.align),
        alignments=alignments,
        match_exposure=data.match_exposure,
        look=True,
        resize_background=data.resize_background,
        max_pixels=data.max_pixels,
        metadata=config.outputs.metadata,
    )
    workers = data.workers or helper_threads(torch.get_num_threads())
    load: Callable[[int], Sample] = partial(steps.load, dataset)
    if reuse is not None:
        load = reuse.remember_samples(load, pairs)
    ahead = prefetch(load, len(dataset), workers, lambda index: pairs[index].name)
    with closing(ahead) as samples:
        Pipeline(parts, report, stop).run(zip(samples, pairs, strict=False))


def known_alignments(run: Run) -> Alignments:
    """What this run, the run that it repeats and the other jobs of its sweep found before."""
    if not run.plan.config.data.align:
        return Alignments(None)
    repeat, working = run.plan.config.repeat, run.directory.working
    earlier = [locate(repeat)] if repeat is not None else []
    if is_remote(run.directory.path):
        earlier.append(run.directory.path)
    return Alignments(working, earlier + jobs_beside(working))
