"""Runs the measurements of `bgm-benchmark` in turns, and reports medians with their spread."""

from __future__ import annotations

import csv
import json
import logging
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rich
from numpy.typing import NDArray
from rich.table import Table

from bgm.benchmark.codecs import CodecFigures, measure_codecs
from bgm.benchmark.contender import BGM, REFERENCE, Contender, Measurement, Shots
from bgm.benchmark.steps import StepFigures, sum_up_steps
from bgm.config.schema import BenchmarkConfig, BenchmarkPart, demo_path
from bgm.data import find_pairs, read_alpha, read_image
from bgm.inference.device import default_threads, select_device
from bgm.records.directory import RunDirectory
from bgm.records.summary import Summary
from bgm.runs.build import create_trackers
from bgm.runs.provenance import describe_machine, describe_versions
from bgm.tracking import RunInfo, Tracker

log = logging.getLogger(__name__)

_WHAT = {
    BenchmarkPart.network: "network alone",
    BenchmarkPart.pipeline: "files to files",
    BenchmarkPart.free: "network free",
}

_QUICK = 3  # times as many rounds of what is over at once


@dataclass(frozen=True)
class Figures:
    """One part, one side.

    Attributes:
        part: `network`, `pipeline` or `free`.
        side: `bgm` or `reference`.
        median_ms: Milliseconds per image, median of the rounds.
        low_ms: The fastest round.
        high_ms: The slowest round.
        images_per_second: By the median.
        peak_mib: Largest resident size, above that after importing the libraries, in MiB.
        device_peak_mib: Most memory that torch held on a CUDA device, in MiB; None elsewhere.
        speedup: How many times as fast as the reference; None without one.
    """

    part: str
    side: str
    median_ms: float
    low_ms: float
    high_ms: float
    images_per_second: float
    peak_mib: float
    device_peak_mib: float | None = None
    speedup: float | None = None


@dataclass
class Report:
    """What was measured.

    Attributes:
        figures: The parts, bgm's and the reference's.
        steps: The steps of one image, bgm's.
        codecs: Ways to decode and encode.
    """

    figures: list[Figures] = field(default_factory=list)
    steps: list[StepFigures] = field(default_factory=list)
    codecs: list[CodecFigures] = field(default_factory=list)


def run_benchmark(config: BenchmarkConfig, output_dir: Path, resolved: dict[str, Any]) -> Report:
    """Measure, print, write `benchmark.json` and `benchmark.csv`, tell the trackers.

    Args:
        config: What to measure.
        output_dir: Where to write.
        resolved: The configuration as nested plain values.

    Raises:
        BgmError: The settings do not fit this machine.
    """
    device = select_device(config.device.name)
    trackers = create_trackers(config.tracking, output_dir, console=False)
    facts = {
        "versions": describe_versions(),
        "machine": {**describe_machine(device), "threads": config.threads or default_threads()},
    }
    directory = RunDirectory(output_dir)
    directory.begin(config.images, resolved, facts)
    for tracker in trackers:
        tracker.start(RunInfo(output_dir, config.images, resolved, facts))
    try:
        report = _measure_all(config, output_dir)
    except Exception as error:
        _finish(Summary("failed", config.images, error=str(error)), directory, trackers)
        raise
    _write(report, {**facts, "config": resolved}, output_dir)
    _print(config, report, facts["machine"])
    named = {f"{f.part}/{f.side}": asdict(f) for f in report.figures}
    named |= {f"steps/{step.step}": asdict(step) for step in report.steps}
    _finish(Summary("finished", config.images, figures=named), directory, trackers)
    return report


def _finish(summary: Summary, directory: RunDirectory, trackers: list[Tracker]) -> None:
    directory.finish(summary)
    for tracker in trackers:
        tracker.finish(summary)


def _measure_all(config: BenchmarkConfig, output_dir: Path) -> Report:
    report = Report()
    with tempfile.TemporaryDirectory(dir=output_dir, prefix="scratch-") as scratch:
        shots = make_shots(Path(scratch), config)
        with _contenders(config, shots, Path(scratch)) as sides:
            report.figures = list(_measure(config, sides))
            if BenchmarkPart.steps in config.parts:
                report.steps = _measure_steps(config, sides[BGM])
        if BenchmarkPart.codecs in config.parts:
            photograph = min(shots.src.iterdir())
            report.codecs = measure_codecs(photograph, _cutout(config), config.rounds)
    return report


def make_shots(folder: Path, config: BenchmarkConfig) -> Shots:
    """The demo's photographs on a tripod at the wanted size, as many as wanted."""
    shots = Shots(folder / "src", folder / "bgr")
    pairs = find_pairs(Path(demo_path("src")), Path(demo_path("bgr"))).pairs
    for kind in ("src", "bgr"):
        (folder / kind).mkdir()
        encoded = [
            cv2.imencode(".jpg", _scaled(read_image(getattr(pair, kind)), config)[:, :, ::-1])[1]
            for pair in pairs
        ]
        for index in range(config.images):
            path = folder / kind / f"{index:05}.jpg"
            path.write_bytes(encoded[index % len(encoded)].tobytes())
    return shots


def _scaled(pixels: NDArray[Any], config: BenchmarkConfig) -> NDArray[Any]:
    size = (config.width, config.height)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def _cutout(config: BenchmarkConfig) -> NDArray[np.uint8]:
    name = "tripod/lemur-brook"
    colours = _scaled(read_image(Path(demo_path("src")) / f"{name}.jpg"), config)
    alpha = _scaled(read_alpha(Path(demo_path("pha")) / f"{name}.png"), config)
    pixels = np.dstack([colours, alpha])
    pixels[alpha == 0] = 0
    return pixels


@contextmanager
def _contenders(
    config: BenchmarkConfig, shots: Shots, scratch: Path
) -> Iterator[dict[str, Contender]]:
    """Both sides, or bgm alone; none if what is to be measured needs none."""
    compared = any(part in config.parts for part in _WHAT)
    sides = {}
    if compared or BenchmarkPart.steps in config.parts:
        sides[BGM] = Contender(BGM, config, shots, scratch / "bgm")
    if compared and config.reference:
        sides[REFERENCE] = Contender(REFERENCE, config, shots, scratch / "reference")
    try:
        yield sides
    finally:
        for contender in sides.values():
            contender.close()


def _measure(config: BenchmarkConfig, sides: dict[str, Contender]) -> Iterator[Figures]:
    for part in [part for part in _WHAT if part in config.parts]:
        rounds = config.rounds * (_QUICK if part is BenchmarkPart.network else 1)
        log.info("%s: %d rounds of %s", _WHAT[part], rounds, " and ".join(sides))
        found: dict[str, list[Measurement]] = {side: [] for side in sides}
        for turn in range(1 + rounds):
            for side, contender in sides.items():
                measurement = contender.measure(part.name)
                if turn:  # the first warms up
                    found[side].append(measurement)
        yield from _sum_up(part, found)


def _measure_steps(config: BenchmarkConfig, contender: Contender) -> list[StepFigures]:
    rounds = config.rounds * _QUICK
    log.info("one image step by step: %d rounds", rounds)
    found = [contender.measure(BenchmarkPart.steps.name).steps for _ in range(1 + rounds)]
    return sum_up_steps([times for times in found[1:] if times is not None])


def _sum_up(part: BenchmarkPart, found: dict[str, list[Measurement]]) -> Iterator[Figures]:
    medians = {side: statistics.median(m.seconds for m in ms) for side, ms in found.items()}
    for side, measurements in found.items():
        times = [measurement.seconds * 1000 for measurement in measurements]
        slow = medians.get(REFERENCE)
        yield Figures(
            part=part.name,
            side=side,
            median_ms=round(medians[side] * 1000, 1),
            low_ms=round(min(times), 1),
            high_ms=round(max(times), 1),
            images_per_second=round(1 / medians[side], 2),
            peak_mib=max(measurement.peak_mib for measurement in measurements),
            device_peak_mib=max(
                (m.device_peak_mib for m in measurements if m.device_peak_mib is not None),
                default=None,
            ),
            speedup=None if slow is None else round(slow / medians[side], 2),
        )


def _write(report: Report, facts: dict[str, Any], output_dir: Path) -> None:
    content = {**asdict(report), **facts}
    rows = content["figures"]
    path = output_dir / "benchmark.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(Figures.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(rows)


def _print(config: BenchmarkConfig, report: Report, machine: dict[str, Any]) -> None:
    console = rich.get_console()
    console.print(
        f"{config.width}x{config.height}, {config.backbone.name.name}, {config.precision.name}, "
        f"runtime {config.runtime.name}; {machine['processor']}, {machine['threads']} threads",
        highlight=False,
    )
    table = Table(title="ms per image: the median, then the fastest and slowest round")
    for heading in ("", "bgm", "reference", "faster", "images/s", "peak MiB"):
        table.add_column(heading, justify="right" if heading else "left")
    by_part = {(figure.part, figure.side): figure for figure in report.figures}
    for part, what in _WHAT.items():
        ours, theirs = (by_part.get((part.name, side)) for side in (BGM, REFERENCE))
        if ours is not None:
            factor = "" if ours.speedup is None else f"{ours.speedup:.2f}x"
            speed, peak = f"{ours.images_per_second:.2f}", f"{ours.peak_mib:.0f}"
            if ours.device_peak_mib is not None:
                peak += f" + {ours.device_peak_mib:.0f} on the device"
            table.add_row(what, _spread(ours), _spread(theirs), factor, speed, peak)
    if report.figures:
        console.print(table)
    steps = [
        (step.step, f"{step.median_ms:.1f}", f"{step.low_ms:.1f}-{step.high_ms:.1f}")
        for step in report.steps
    ]
    codecs = [(codec.what, f"{codec.ms:.1f}", f"{codec.kilobytes:.0f}") for codec in report.codecs]
    for headings, title, rows in (
        (("step", "ms", ""), "one image, alone: ms, the median, then the extremes", steps),
        (("codec", "ms", "kB"), "one image, one thread", codecs),
    ):
        if rows:
            console.print(_table(headings, title, rows))


def _table(headings: Sequence[str], title: str, rows: Iterable[Sequence[str]]) -> Table:
    """A table of names on the left and figures on the right."""
    table = Table(headings[0], title=title)
    for heading in headings[1:]:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _spread(figures: Figures | None) -> str:
    if figures is None:
        return ""
    return f"{figures.median_ms:.0f}  {figures.low_ms:.0f}-{figures.high_ms:.0f}"
