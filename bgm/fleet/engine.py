"""The work of a run on Ray: blocks of paths to workers, records back."""

from __future__ import annotations

import logging
import queue
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from bgm.config.schema import Config, Precision
from bgm.config.video import DataKind
from bgm.data import Pairs
from bgm.errors import ConfigError
from bgm.fleet.cluster import Room, connect, leave
from bgm.fleet.manifest import MOST_ROWS, in_blocks, make_row
from bgm.fleet.worker import BlockReport, Job, Worker
from bgm.records.record import ImageRecord
from bgm.runs.build import samples_wanted
from bgm.runs.engines import known_alignments
from bgm.runs.interruption import StopRequest
from bgm.runs.pipeline import Report
from bgm.runs.resume import remove_partial_files
from bgm.runs.runner import Run

log = logging.getLogger(__name__)

_TRIES = 2  # of a block, before its images are given out one by one
_LOOK_S = 0.2  # how often the head looks whether it is asked to stop
_AT_ONCE = 2  # blocks of a worker: one is decoded and written while the other is computed


@contextmanager
def open_engine(config: Config) -> Iterator[RayEngine]:
    """Connect to the cluster that the settings name, or start one.

    Raises:
        ConfigError: It cannot be reached, or the settings do not fit it.
    """
    if config.data.kind is DataKind.video:
        raise ConfigError(
            "engine=ray gives out photographs, not frames of clips; choose engine=local, or a "
            "sweep with a clip for each job"
        )
    paths = [config.output_dir, config.data.src, config.data.bgr, config.data.pha]
    if any(path is not None and path.startswith("memory://") for path in paths):
        raise ConfigError("engine=ray: memory:// is this process's alone; choose other storage")
    with connect(config.engine, config.device.name) as room:
        yield RayEngine(room)


class RayEngine:
    """Workers of a Ray cluster.

    Args:
        room: How many, and what each gets.
    """

    promise = "what is finished is kept; what the workers have under way is left"

    def __init__(self, room: Room) -> None:
        self._room = room
        self._workers: set[str] = set()
        self.facts: Mapping[str, Any] = {
            "engine": {"workers": room.workers, "cpus": room.cpus, "gpus": room.gpus}
        }

    def settings_here(self, config: Config) -> Config:
        """How the head loads the network, to see that it can be: it need not have a GPU."""
        return replace(
            config,
            device=replace(config.device, name="cpu"),
            runtime=replace(config.runtime, name="eager"),
            precision=Precision.float32,
        )

    def matte_all(self, run: Run, report: Report, stop: StopRequest) -> None:
        """Matte every pair of a run on the workers.

        Images whose worker died, and did so again, are given out once more, each by itself: only
        what kills its worker every time fails.
        """
        seen: set[str] = set()
        samples = samples_wanted(run.plan.config.tracking)
        alignments = known_alignments(run)
        try:
            for alone in (False, True):
                todo = run.pairs.only(name for name in run.pairs.names if name not in seen)
                if todo and not stop:
                    dataset = self._dataset(run, todo, samples, alone=alone)
                    for done in _reports(dataset, stop):
                        self._pass_on(done, seen, report, stop)
                        samples -= len(done.previews)
                        for key, alignment in done.alignments.items():
                            alignments.keep(key, alignment)
                    _catch_up(run, seen, report)
        finally:
            if stop:
                leave()  # or they would go on
                _catch_up(run, seen, report)
            alignments.put(run.plan.output_dir)
            remove_partial_files(run.plan.output_dir, [spec.type for spec in run.plan.specs])
        for name in run.pairs.names if not stop else ():
            if name not in seen:
                why = "its worker died, each time; is it too large for the memory there?"
                report(ImageRecord(name).fail(why), None)

    def _pass_on(
        self, done: BlockReport, seen: set[str], report: Report, stop: StopRequest
    ) -> None:
        """Tell of the images of a block that nobody was told of yet."""
        self._workers.add(done.worker)
        for record in done.records:
            if record.name not in seen:
                seen.add(record.name)
                report(record, done.previews.get(record.name))
        if done.stopped is not None:
            stop.ask(done.stopped)

    def _dataset(self, run: Run, pairs: Pairs, samples: int, *, alone: bool) -> Any:
        """The work on some pairs, which begins when its rows are asked for.

        Args:
            run: The run.
            pairs: The pairs.
            samples: Of how many of them there shall be pictures.
            alone: Whether each is given out by itself.
        """
        import pyarrow
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # what is missing in the end is seen here
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it tells of each with a trace
        tables = []
        for block in in_blocks(pairs, self._room.workers, 1 if alone else MOST_ROWS):
            texts = [make_row(run, pair).to_text() for pair in block]
            count = max(0, min(samples, len(block)))
            samples -= count
            tables.append(pyarrow.table({"row": texts, "samples": [count] * len(block)}))
        at_once = 1 if alone else _AT_ONCE
        pool = ray.data.ActorPoolStrategy(
            size=min(self._room.workers, len(tables)),
            max_tasks_in_flight_per_actor=at_once,  # those that wait would die with it
            max_concurrent_calls_per_actor=at_once,
            enable_true_multi_threading=True,
        )
        with warnings.catch_warnings():
            # Ray 2.64 will have no other name for `max_task_retries`; without it, a picture that
            # kills its worker would be tried for ever.
            warnings.simplefilter("ignore")
            return ray.data.from_arrow(tables).map_batches(
                Worker,
                fn_constructor_args=(self._job(run),),
                batch_size=None,
                compute=pool,
                num_cpus=self._room.cpus,
                num_gpus=self._room.gpus or None,
                max_task_retries=_TRIES - 1,
            )

    def _job(self, run: Run) -> Job:
        score = run.plan.score
        return Job(
            config=run.plan.config,
            output_dir=str(run.plan.output_dir),
            cpus=self._room.cpus,
            has_truths=score is not None,
            has_trimaps=score is not None and score.has_trimaps,
        )


def _reports(dataset: Any, stop: StopRequest) -> Iterator[BlockReport]:
    """The reports of the blocks of a dataset as they come, until the run is asked to stop."""
    box: queue.Queue[BlockReport | Exception | None] = queue.Queue()

    def pull() -> None:
        try:
            for row in dataset.iter_rows():
                box.put(BlockReport.from_bytes(row["report"]))
            box.put(None)
        except Exception as error:  # of Ray; told by who asked
            box.put(error)

    threading.Thread(target=pull, name="ray", daemon=True).start()
    while not stop:
        try:
            item = box.get(timeout=_LOOK_S)
        except queue.Empty:
            continue
        if item is None:
            return
        if isinstance(item, Exception):
            raise item
        yield item


def _catch_up(run: Run, seen: set[str], report: Report) -> None:
    """Tell of what workers wrote down that ended, or whose head did, before it was told."""
    for record in run.directory.journaled():
        if record.name not in seen:
            seen.add(record.name)
            report(record, None)
