"""Sets finished runs side by side: what was different about them, and what came of it."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from bgm.errors import DataError, RecordError
from bgm.records.directory import RUN_FILE, STATUS_FILE, JobStatus, RunDirectory, flatten
from bgm.records.record import ImageRecord
from bgm.records.summary import SHOWN, Summary
from bgm.storage import RemotePath, is_url, list_objects, locate

_NOT_COMPARED = ("output_dir", "tracking", "on_existing", "repeat")
_HASH_SHOWN = 12
_SETTINGS_IN_LABEL = 5
_EXIT_REFUSED, _EXIT_INTERRUPTED = 2, 130
_SWEEP_FILE = "multirun.yaml"  # Hydra's
_ONLY_FOR = {
    "refine.sample_pixels": ("refine.mode", "sampling"),
    "refine.threshold": ("refine.mode", "thresholding"),
}
"""Settings that count only where another has a certain value."""


@dataclass(frozen=True)
class FinishedRun:
    """A run as its files tell it.

    Attributes:
        name: Its directory, as short as tells it from the others.
        path: Its directory.
        summary: Its figures.
        settings: Its configuration, by dotted key.
        records: What became of each image, by name.
    """

    name: str
    path: Path
    summary: Summary
    settings: Mapping[str, Any]
    records: Mapping[str, ImageRecord]

    @property
    def failed(self) -> bool:
        """Whether it broke off as a whole."""
        return self.summary.status == "failed"


@dataclass(frozen=True)
class Metric:
    """A figure that runs are compared by.

    Attributes:
        key: Its name in files.
        label: Its heading, with the unit or scale.
        value: Takes it from a run; None if that has none.
        better: `low`, `high`, or None if neither is.
        digits: Decimals shown.
    """

    key: str
    label: str
    value: Callable[[FinishedRun], float | None]
    better: str | None
    digits: int


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: One per row.
        settings: Keys of the settings that are not the same in all of them.
        metrics: The figures that at least one of them has.
        best: The rows that are best by each metric, by its key.
        conditional: Settings that not all of the runs make use of.
    """

    runs: Sequence[FinishedRun]
    settings: Sequence[str]
    metrics: Sequence[Metric]
    best: Mapping[str, frozenset[int]] = field(default_factory=dict)
    conditional: frozenset[str] = frozenset()

    def setting(self, run: FinishedRun, key: str) -> str:
        """A setting of a run as text; empty if it is not known."""
        value = run.settings.get(key)
        return "" if value is None or not _applies(run, key, self.conditional) else str(value)

    def labels(self) -> list[str]:
        """What to call each run where there is room for a few words: its name and settings."""
        keys = self.settings[:_SETTINGS_IN_LABEL]
        labels = []
        for run in self.runs:
            values = ", ".join(filter(None, (self.setting(run, key) for key in keys)))
            labels.append(f"{run.name} · {values}" if values else run.name)
        return labels


def score_metric(name: str) -> Metric:
    """The mean of one error, in the scale of its heading."""
    shown = SHOWN[name]

    def value(run: FinishedRun) -> float | None:
        mean = run.summary.scores.get(name)
        return None if mean is None else mean * shown.factor

    return Metric(name, shown.label, value, "low", 3)


def _stage_metric(stage: str, label: str, figure: str) -> Metric:
    def value(run: FinishedRun) -> float | None:
        figures = run.summary.stages.get(stage)
        return None if figures is None else float(getattr(figures, f"{figure}_ms"))

    heading = f"{label} ms, {'median' if figure == 'median' else '95 %'}"
    return Metric(f"{stage}_{figure}_ms", heading, value, "low", 1)


def _speed(run: FinishedRun) -> float | None:
    return run.summary.images_per_second or None


def _refined_percent(run: FinishedRun) -> float | None:
    return None if run.summary.refined is None else run.summary.refined * 100


def _failures(run: FinishedRun) -> float | None:
    return None if run.failed else run.summary.failed


FORWARD = _stage_metric("forward", "forward", "median")

METRICS: tuple[Metric, ...] = (
    *(score_metric(name) for name in SHOWN),
    Metric("images_per_second", "images/s", _speed, "high", 2),
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


def find_runs(patterns: Iterable[str]) -> list[FinishedRun]:
    """Read runs from disk.

    Args:
        patterns: Directories of runs, or of sweeps (which stand for their jobs); globs too.

    Raises:
        DataError: A pattern matches nothing, or what it matches is not a run.
    """
    folders: list[Path] = []
    for pattern in patterns:
        found = [run for folder in _in_order(_matching(pattern)) for run in _runs_at(folder)]
        if not found:
            raise DataError(
                f"no runs at {pattern}: looked for directories with {RUN_FILE}, or of sweeps"
            )
        folders += [folder for folder in found if folder not in folders]
    return _read(folders, _read_files)


def _matching(pattern: str) -> Iterable[Path]:
    """The directories that a pattern means."""
    path = locate(pattern)
    if path.is_dir():
        return [path]
    if not isinstance(path, RemotePath):
        return map(Path, glob.glob(str(path)))  # noqa: PTH207 - absolute patterns
    fixed = takewhile(lambda part: not glob.has_magic(part), path.parts)
    depth = len(path.parts)
    objects = list_objects(RemotePath(*fixed))
    folders = {parent for found in objects for parent in found.parents}
    return [f for f in folders if len(f.parts) == depth and f.match("/".join(path.parts[1:]))]


def read_jobs(folders: Sequence[Path]) -> list[FinishedRun]:
    """Read the jobs of a sweep that has just ended.

    A job that was refused is shown as that, whatever an earlier run has left in its directory.

    Args:
        folders: Their directories.
    """
    return _read(folders, _read_job)


def compare_runs(runs: Sequence[FinishedRun]) -> Comparison:
    """Find what differs between runs, and which is best by what."""
    keys = {key: None for run in runs for key in run.settings}  # in order, without doubles
    conditional = frozenset(
        key
        for key, (other, _) in _ONLY_FOR.items()
        if len({_comparable(run.settings[other]) for run in runs if other in run.settings}) > 1
    )
    differing = [
        key
        for key in keys
        if key.split(".")[0] not in _NOT_COMPARED
        and len({_comparable(run.settings[key]) for run in runs if _applies(run, key, conditional)})
        > 1
    ]
    metrics = [m for m in METRICS if any(m.value(run) is not None for run in runs)]
    return Comparison(
        runs, differing, metrics, {m.key: _best(m, runs) for m in metrics}, conditional
    )


def _applies(run: FinishedRun, key: str, conditional: frozenset[str]) -> bool:
    """Whether a run has a setting and, where runs differ in that, makes use of it."""
    if key not in conditional:
        return key in run.settings
    other, needed = _ONLY_FOR[key]
    return key in run.settings and run.settings.get(other) == needed


def _comparable(value: Any) -> str:
    """A setting such that equal ones are equal: 400 is 400.0."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return json.dumps(float(value) if is_number else value)


def _best(metric: Metric, runs: Sequence[FinishedRun]) -> frozenset[int]:
    known = ((row, metric.value(run)) for row, run in enumerate(runs))
    values = [(row, value) for row, value in known if value is not None]
    if metric.better is None or len(values) < 2:
        return frozenset()
    choose = min if metric.better == "low" else max
    best = choose(value for _, value in values)
    return frozenset(row for row, value in values if value == best)


def _in_order(folders: Iterable[Path]) -> list[Path]:
    """Sorted as people count: 2 before 10."""

    def key(path: Path) -> list[tuple[int, int | str]]:
        parts = re.split(r"(\d+)", str(path))
        return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]

    return sorted(folders, key=key)


def _runs_at(folder: Path) -> list[Path]:
    marks = (RUN_FILE, STATUS_FILE)
    if any((folder / mark).is_file() for mark in marks):
        return [folder]
    # Jobs are stored under names of any depth (hydra.sweep.subdir).
    depth = "**" if (folder / _SWEEP_FILE).is_file() else "*"
    found = {path.parent for mark in marks for path in folder.glob(f"{depth}/{mark}")}
    return _in_order(found)


def _short_names(folders: Sequence[Path]) -> list[str]:
    """As many last parts of the paths as tell all of them apart."""
    for count in range(1, 1 + max(len(folder.parts) for folder in folders)):
        names = ["/".join(folder.parts[-count:]) for folder in folders]
        if len(set(names)) == len(names):
            break
    return names


def _read(
    folders: Sequence[Path], read: Callable[[str, RunDirectory], FinishedRun]
) -> list[FinishedRun]:
    """Read runs; one that cannot be read is a row that says so."""
    runs = []
    names = _short_names([folder.absolute() for folder in folders])
    for name, folder in zip(names, folders, strict=True):
        try:
            run = read(name, RunDirectory(folder))
            _check_figures(run)
        except RecordError as error:
            run = FinishedRun(name, folder, Summary("failed", 0, error=str(error)), {}, {})
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            summary = Summary("failed", 0, error=f"its files are damaged: {error}")
            run = FinishedRun(name, folder, summary, {}, {})
        runs.append(run)
    return runs


def _check_figures(run: FinishedRun) -> None:
    """Refuse a summary in which something else stands where numbers should.

    Raises:
        RecordError: It names the figure.
    """
    for metric in METRICS:
        try:
            value = metric.value(run)
            if value is not None:
                float(value)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            path = run.path / RUN_FILE
            raise RecordError(f"{path}: {metric.key} is no number ({error})") from None


def _read_job(name: str, directory: RunDirectory) -> FinishedRun:
    status = directory.read_status()
    was_refused = status is not None and status.exit_code == _EXIT_REFUSED
    if was_refused:
        return _from_status(name, directory, status)
    run = _read_files(name, directory)
    wrote_to = str(run.settings.get("output_dir"))
    return replace(run, path=locate(wrote_to)) if is_url(wrote_to) else run  # its pictures


def _read_files(name: str, directory: RunDirectory) -> FinishedRun:
    run, status = directory.read_run(), directory.read_status()
    if run is None:
        return _from_status(name, directory, status)
    summary = run.summary
    if summary.status == "running" and status is not None and status.exit_code is not None:
        summary = replace(summary, status="interrupted", error=status.error)  # it was killed
    settings = dict(flatten(run.config))
    if run.checkpoint_sha256:
        settings["checkpoint.sha256"] = run.checkpoint_sha256[:_HASH_SHOWN]
    return FinishedRun(name, directory.path, summary, settings, directory.read_records())


def _from_status(name: str, directory: RunDirectory, status: JobStatus | None) -> FinishedRun:
    """A job that never became a run."""
    if status is None:
        status = JobStatus()
    given = " ".join(map(str, status.overrides))
    error = status.error or f"ended without saying how ({given})"
    was_interrupted = status.exit_code == _EXIT_INTERRUPTED
    summary = Summary("interrupted" if was_interrupted else "failed", 0, error=str(error))
    return FinishedRun(name, directory.path, summary, dict(flatten(status.config)), {})
