"""The figures that runs are compared by: those of each image, and those of a run as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from bgm.comparison.finished import FinishedRun
from bgm.records.check import Check
from bgm.records.record import Timings
from bgm.records.summary import SHOWN

_TIMES = frozenset(stage.name for stage in fields(Timings))
_CHECKED = frozenset(found.name for found in fields(Check))


@dataclass(frozen=True)
class Figure:
    """A number that is known of every image.

    Attributes:
        key: Its name in the records.
        label: Its heading, with the scale or unit.
        factor: From what is recorded to what is shown.
        is_time: Whether it is a time; of many images its median is taken, of others the mean.
    """

    key: str
    label: str
    factor: float = 1.0
    is_time: bool = False

    def of(self, run: FinishedRun) -> dict[str, float]:
        """What is shown of it, by image."""
        known = ((name, figures.get(self.key)) for name, figures in run.figures.items())
        return {name: value * self.factor for name, value in known if value is not None}

    def middle(self, values: Any) -> float:
        """Median of times, mean of anything else."""
        return float(np.median(values) if self.is_time else np.mean(values))


@dataclass(frozen=True)
class Metric:
    """A figure of a run, one column of a comparison.

    Attributes:
        key: Its name in files.
        label: Its heading, with the unit or scale.
        value: Takes it from a run; None if that has none.
        better: `low`, `high`, or None if neither is.
        digits: Decimals shown.
        figure: The figure of each image that it sums up, by which runs can be told apart.
    """

    key: str
    label: str
    value: Callable[[FinishedRun], float | None]
    better: str | None
    digits: int
    figure: Figure | None = None


def figure(key: str) -> Figure:
    """A figure of each image by its name in the records."""
    if key in SHOWN:
        return Figure(key, SHOWN[key].label, SHOWN[key].factor)
    if key in _TIMES:
        return Figure(key, f"{key.removesuffix('_ms')} ms", is_time=True)
    if key == "refined":
        return Figure(key, "refined %", 100)
    return Figure(key, key)


def score_metric(name: str) -> Metric:
    """The mean of one error, in the scale of its heading."""
    shown = SHOWN[name]

    def value(run: FinishedRun) -> float | None:
        mean = run.summary.scores.get(name)
        return None if mean is None else mean * shown.factor

    return Metric(name, shown.label, value, "low", 3, figure(name))


def _stage_metric(stage: str, label: str, statistic: str) -> Metric:
    is_median = statistic == "median"
    of_images = figure(f"{stage}_ms") if is_median else None

    def value(run: FinishedRun) -> float | None:
        if run.summary.skipped and of_images is not None:  # only the records have all of them
            values = list(of_images.of(run).values())
            return of_images.middle(values) if values else None
        figures = run.summary.stages.get(stage)
        return None if figures is None else float(getattr(figures, f"{statistic}_ms"))

    heading = f"{label} ms, {'median' if is_median else '95 %'}"
    return Metric(f"{stage}_{statistic}_ms", heading, value, "low", 1, of_images)


def _speed(run: FinishedRun) -> float | None:
    return run.summary.images_per_second or None


def _refined_percent(run: FinishedRun) -> float | None:
    return None if run.summary.refined is None else run.summary.refined * 100


def _images(run: FinishedRun) -> float | None:
    return len(run.figures) or None


def _failures(run: FinishedRun) -> float | None:
    return None if run.failed else run.summary.failed


def mean_metric(key: str) -> Metric:
    """The mean of any figure of the images, the better the smaller."""
    of_images = figure(key)

    def value(run: FinishedRun) -> float | None:
        values = list(of_images.of(run).values())
        return of_images.middle(values) if values else None

    return Metric(key, of_images.label, value, "low", 3, of_images)


FORWARD = _stage_metric("forward", "forward", "median")

METRICS: tuple[Metric, ...] = (
    *(score_metric(name) for name in SHOWN),
    mean_metric("suspicion"),
    Metric("images_per_second", "images/s", _speed, None, 2),
    FORWARD,
    _stage_metric("forward", "forward", "p95"),
    _stage_metric("total", "end to end", "median"),
    _stage_metric("total", "end to end", "p95"),
    Metric("peak_memory_mib", "peak MiB", lambda run: run.summary.peak_memory_mib, "low", 0),
    Metric(
        "device_peak_memory_mib",
        "device peak MiB",
        lambda run: run.summary.device_peak_memory_mib,
        "low",
        0,
    ),
    Metric("refined_percent", "refined %", _refined_percent, None, 2),
    Metric("failed", "failed images", _failures, None, 0),
)
"""Everything that runs are compared by, in the order of the columns."""


def all_metrics(runs: Iterable[FinishedRun]) -> list[Metric]:
    """The columns that at least one run has a figure for.

    What else the records hold of each image has a column of its own, by its mean; but of what the
    matte's own check found only the suspicion, which sums it up.
    """
    runs = list(runs)
    metrics = [m for m in METRICS if any(m.value(run) is not None for run in runs)]
    shown = {"refined", *_TIMES, *SHOWN, *_CHECKED}
    if len({len(run.figures) for run in runs if run.figures}) > 1:
        metrics.insert(0, Metric("images", "images", _images, None, 0))
    others = {key for run in runs for figures in run.figures.values() for key in figures} - shown
    scores = sum(metric.key in ("images", *SHOWN) for metric in metrics)
    return [*metrics[:scores], *map(mean_metric, sorted(others)), *metrics[scores:]]
