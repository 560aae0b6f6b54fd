"""The two that are compared, each in a process of its own, which measures itself when asked."""

from __future__ import annotations

import os
import shutil
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bgm.config.schema import BenchmarkConfig
from bgm.data.processors import POLITE, wait_politely
from bgm.errors import BgmError

if TYPE_CHECKING:
    from bgm.benchmark.steps import StepTimes

BGM, REFERENCE = "bgm", "reference"


@dataclass(frozen=True)
class Shots:
    """What is matted: pairs of files of one size.

    Attributes:
        src: Directory of sources.
        bgr: Directory of backgrounds.
    """

    src: Path
    bgr: Path


@dataclass(frozen=True)
class Measurement:
    """One answer of a contender.

    Attributes:
        seconds: For one image.
        peak_mib: Largest resident size meanwhile, in MiB, above that after the libraries were
            imported.
        device_peak_mib: Most memory that torch held on a CUDA device, in MiB; None elsewhere.
        steps: What its steps took, if they were measured.
    """

    seconds: float
    peak_mib: float
    device_peak_mib: float | None = None
    steps: StepTimes | None = None


class Contender:
    """A process that measures one side of the comparison.

    Args:
        side: `bgm` or `reference`.
        config: What is measured.
        shots: What is matted.
        scratch: Directory for outputs; emptied every time.
    """

    def __init__(self, side: str, config: BenchmarkConfig, shots: Shots, scratch: Path) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # Each side has the environment that it would have on its own.
        with _environment_of(side):
            self._process = context.Process(
                target=_serve, args=(side, config, shots, scratch, theirs), daemon=True
            )
            self._process.start()
        theirs.close()

    def measure(self, part: str) -> Measurement:
        """Measure one part once: `network`, `pipeline`, `free` or `steps`.

        Raises:
            BgmError: The settings do not fit this machine.
            RuntimeError: The process failed; with its trace.
        """
        self._pipe.send(part)
        try:
            answer = self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"the process that measures {part} has died") from None
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Measurement)
        return answer

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()


@contextmanager
def _environment_of(side: str) -> Iterator[None]:
    before = dict(os.environ)
    for name in POLITE:
        os.environ.pop(name, None)
    if side == BGM:
        wait_politely()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _serve(
    side: str, config: BenchmarkConfig, shots: Shots, scratch: Path, pipe: Connection
) -> None:
    from bgm.benchmark.sides import create_side
    from bgm.inference.memory import MemoryMeter, resident_mib

    measured: Any = None
    while True:
        try:
            part = pipe.recv()
        except EOFError:
            return
        try:
            if measured is None:
                imported_mib = resident_mib()
                measured = create_side(side, config, shots)
            with MemoryMeter(measured.device) as memory:
                seconds, steps = _time(measured, part, scratch)
            peak = round(memory.peak_mib - imported_mib, 1)
            pipe.send(Measurement(seconds, peak, memory.device_peak_mib, steps))
        except BgmError as error:
            pipe.send(error)
        except Exception:
            pipe.send(RuntimeError(traceback.format_exc()))


def _time(measured: Any, part: str, scratch: Path) -> tuple[float, StepTimes | None]:
    """Seconds for one image; and of its steps, if those are what is measured."""
    if part == "network":
        started = time.perf_counter()
        measured.run_network()
        return time.perf_counter() - started, None
    shutil.rmtree(scratch, ignore_errors=True)
    if part == "steps":
        steps: StepTimes = measured.run_steps(scratch)
        return sum(asdict(steps).values()) / 1000, steps
    seconds: float = measured.run_pipeline(scratch, free=part == "free")
    return seconds, None
