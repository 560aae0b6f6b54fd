"""What a tracker is: somebody who is told about a run as it goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bgm.records.record import ImageRecord
from bgm.records.summary import Summary


@dataclass(frozen=True)
class Preview:
    """A small picture of source and matte.

    Attributes:
        strip: Panels side by side, (H, W, 3), RGB, uint8: the photograph, its alpha, and more.
        panel: Width of each panel in pixels.
    """

    strip: NDArray[np.uint8]
    panel: int

    @property
    def photograph(self) -> NDArray[np.uint8]:
        """The photograph, (H, panel, 3), RGB."""
        return self.strip[:, : self.panel]

    @property
    def alpha(self) -> NDArray[np.uint8]:
        """Its alpha, (H, panel)."""
        return self.strip[:, self.panel : 2 * self.panel, 0]


@dataclass(frozen=True)
class RunInfo:
    """What is known of a run before its first image.

    Attributes:
        output_dir: The run's directory.
        images: Images to come.
        config: The resolved configuration, as nested plain values.
        facts: Versions, machine, checkpoint.
        settled: Records of images that need no work; they are counted in `images`.
        working: Its directory on this machine, where that is another one.
        unit: What the images are: `images`, or the `frames` of clips, of which `images` is an
            estimate.
        identity: What the run is known by, also when it goes on after an interruption.
        shown: What of the configuration and the facts tells runs apart; None for all of it.
    """

    output_dir: Path
    images: int
    config: dict[str, Any]
    facts: dict[str, Any]
    settled: Sequence[ImageRecord] = ()
    working: Path | None = None
    unit: str = "images"
    identity: str | None = None
    shown: dict[str, Any] | None = None


@dataclass(frozen=True)
class ComparisonInfo:
    """The runs of a sweep side by side.

    Attributes:
        folder: Where that is written.
        identity: What it is known by, also when the sweep goes on after an interruption.
        headings: Names of the columns of its table; the first names the run.
        rows: Numbers, texts and None.
        files: The files that it was written to.
        page: The one of them to look at.
        runs: The directories of the jobs on this machine.
    """

    folder: Path
    identity: str
    headings: Sequence[str]
    rows: Sequence[Sequence[float | str | None]]
    files: Sequence[Path]
    page: Path
    runs: Sequence[Path] = ()


@dataclass(frozen=True)
class TrackerSettings:
    """What a tracker may want to know before it starts.

    Attributes:
        mode: `offline` (nothing is sent), `online` or `disabled`.
        project: Project the run belongs to.
        name: Name of the run; None lets the tracker invent one.
        group: Runs that belong together, such as the jobs of a sweep.
        job_type: Kind of run.
        tags: Labels of the run.
        sync: What becomes of a run that was kept offline: `none`, or sent at its `end`.
        options: Settings that only this tracker has.
    """

    mode: str = "offline"
    project: str = "bgm"
    name: str | None = None
    group: str | None = None
    job_type: str = "matte"
    tags: list[str] = field(default_factory=list)
    sync: str = "none"
    options: dict[str, Any] = field(default_factory=dict)


class Tracker(Protocol):
    """Told about one run: once at its start, once per image, once at its end."""

    def start(self, run: RunInfo) -> None:
        """The run begins."""

    def image(self, record: ImageRecord, preview: Preview | None) -> None:
        """An image is finished, whatever became of it; of the first ones there is a picture."""

    def finish(self, summary: Summary) -> None:
        """The run is over, or was interrupted."""


@runtime_checkable
class ComparisonTracker(Protocol):
    """A tracker that wants to know of the comparison at the end of a sweep too."""

    def comparison(self, info: ComparisonInfo) -> None:
        """The jobs have ended; this is told to a tracker of its own, nothing else."""


TRACKERS: dict[str, Callable[[TrackerSettings], Tracker]] = {}
"""Trackers that a configuration can name, beside the run's own files and the console."""


def import_early(name: str) -> None:
    """Import what a tracker needs in a thread of its own, beside the loading of the network.

    Whatever goes wrong with that is said where the tracker starts.

    Args:
        name: The tracker's.
    """
    package = getattr(TRACKERS.get(name), "package", None)
    if package is not None and package not in sys.modules:
        Thread(target=_import, args=(package,), name=f"import {package}").start()


def _import(package: str) -> None:
    with suppress(Exception):
        import_module(package)


def register_tracker(name: str) -> Callable[[type], type]:
    """Register a class of trackers, made with `TrackerSettings`, as `tracking.name=<name>`.

    If it has an attribute `package`, that is imported early.
    """

    def register(tracker: type) -> type:
        TRACKERS[name] = tracker
        return tracker

    return register
