"""What a tracker is: somebody who is told about a run as it goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bgm.records.record import ImageRecord
from bgm.records.summary import Summary

Preview = NDArray[np.uint8]
"""A small picture of source and matte, (H, W, 3), RGB."""


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
    """

    output_dir: Path
    images: int
    config: dict[str, Any]
    facts: dict[str, Any]
    settled: Sequence[ImageRecord] = ()
    working: Path | None = None
    unit: str = "images"


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
        options: Settings that only this tracker has.
    """

    mode: str = "offline"
    project: str = "bgm"
    name: str | None = None
    group: str | None = None
    job_type: str = "matte"
    tags: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


class Tracker(Protocol):
    """Told about one run: once at its start, once per image, once at its end."""

    def start(self, run: RunInfo) -> None:
        """The run begins."""

    def image(self, record: ImageRecord, preview: Preview | None) -> None:
        """An image is finished, whatever became of it; of the first ones there is a picture."""

    def finish(self, summary: Summary) -> None:
        """The run is over, or was interrupted."""


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
