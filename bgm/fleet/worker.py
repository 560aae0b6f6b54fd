"""One process of a cluster that mattes blocks of pairs, by the steps of any run."""

from __future__ import annotations

import os
import pickle
import socket
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from bgm.config.schema import Config
from bgm.data.processors import wait_politely
from bgm.errors import WriteError
from bgm.records.record import Alignment, ImageRecord
from bgm.tracking.base import Preview


@dataclass(frozen=True)
class Job:
    """What every worker of a run is told once.

    Attributes:
        config: The settings.
        output_dir: Where the files go.
        cpus: Threads that compute, if the settings do not say.
        has_truths: Whether mattes are compared with the truth.
        has_trimaps: Whether any image of the run has a trimap.
    """

    config: Config
    output_dir: str
    cpus: int
    has_truths: bool
    has_trimaps: bool


@dataclass
class BlockReport:
    """What became of a block.

    Attributes:
        records: Of its images, as far as they were begun.
        previews: Sample pictures, by name.
        alignments: What was found, by key.
        stopped: Why its images were not all begun, if they were not.
        worker: Who did it.
    """

    worker: str
    records: list[ImageRecord] = field(default_factory=list)
    previews: dict[str, Preview] = field(default_factory=dict)
    alignments: dict[str, Alignment] = field(default_factory=dict)
    stopped: str | None = None

    def to_bytes(self) -> bytes:
        """The report as Ray carries it."""
        return pickle.dumps(self)

    @staticmethod
    def from_bytes(data: bytes) -> BlockReport:
        """The report that `to_bytes` was called on, in a process of the same run."""
        report: BlockReport = pickle.loads(data)
        return report


class Worker:
    """Holds the network; called by Ray with blocks, two at a time.

    Each record is safe in the worker's journal before the head is told of it: whatever dies, what
    was finished is known.

    Args:
        job: What to do.
    """

    def __init__(self, job: Job) -> None:
        wait_politely()
        from bgm.outputs import LayerBuilder
        from bgm.records.alignments import Alignments
        from bgm.records.journal import Journal
        from bgm.runs.build import create_edges, kept_layers, load_network
        from bgm.runs.runner import set_up_process
        from bgm.storage import locate

        self._job = job
        config = replace(job.config, threads=job.config.threads or job.cpus)
        self._config = config
        self._output_dir: Path = locate(job.output_dir)
        set_up_process(config)
        self._matting = load_network(config)
        layers = kept_layers(config.outputs)
        self._specs = [layer.spec for layer in layers]
        self._build_layers = LayerBuilder(layers, create_edges(config.edges))
        self._name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._journal = Journal(self._output_dir, self._name)
        # Two blocks are under way at once: one is decoded and written while the other is computed.
        self._turn, self._writing = Lock(), Lock()
        self._alignments = None
        if config.data.align:
            repeat = [] if config.repeat is None else [locate(config.repeat)]
            self._alignments = Alignments(None, [*repeat, self._output_dir])

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Matte a block.

        Args:
            batch: `row`, a `Row` for each image; `samples`, of how many of them there shall be
                pictures.

        Returns:
            `report`, one `BlockReport`.
        """
        from bgm.fleet.manifest import Row
        from bgm.outputs import PictureFolders
        from bgm.records.directory import to_line
        from bgm.runs.engines import create_parts, matte_pairs
        from bgm.runs.interruption import StopRequest

        rows = [Row.from_text(text) for text in batch["row"]]
        done = BlockReport(self._name)
        stop = StopRequest()

        def report(record: ImageRecord, preview: Preview | None) -> None:
            with self._writing:
                self._journal.append(to_line(record))
            done.records.append(record)
            if preview is not None:
                done.previews[record.name] = preview

        sink = PictureFolders(
            self._output_dir,
            self._specs,
            self._config.outputs.png_level,
            {row.pair.name: row.earlier for row in rows},
        )
        parts = create_parts(
            self._config, self._matting, self._build_layers, sink, self._scorer(rows)
        )
        parts = replace(parts, samples=int(batch["samples"][0]), turn=self._turn)
        pairs = [row.pair for row in rows]
        try:
            matte_pairs(self._config, parts, pairs, self._alignments, report, stop)
            with self._writing:
                self._journal.put()
        except WriteError as unwritable:  # the records: the head keeps them, and ends the run
            stop.ask(str(unwritable))
        if self._alignments is not None:
            done.alignments = self._alignments.take_found()
        done.stopped = stop.reason
        return {"report": [done.to_bytes()]}

    def _scorer(self, rows: list[Any]) -> Any:
        from bgm.evaluation import Scorer, unknown_only
        from bgm.storage import locate

        if not self._job.has_truths:
            return None
        scores = self._config.scores
        return Scorer(
            {row.pair.name: {k: locate(p) for k, p in row.truths.items()} for row in rows},
            unknown_only=unknown_only(scores.region.name, self._config.data.trimap),
            band=scores.band,
            has_trimaps=self._job.has_trimaps,
        )
