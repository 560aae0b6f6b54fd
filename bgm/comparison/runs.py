"""Finished runs, and jobs of a sweep, as their files tell them."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from bgm.comparison.figures import METRICS
from bgm.comparison.finished import CHECKPOINT_HASH, FinishedRun
from bgm.errors import DataError, RecordError
from bgm.records.directory import RUN_FILE, STATUS_FILE, JobStatus, RunDirectory, flatten
from bgm.records.summary import Summary
from bgm.storage import RemotePath, is_url, list_objects, locate

_HASH_SHOWN = 12
_EXIT_REFUSED, _EXIT_INTERRUPTED = 2, 130
_SWEEP_FILE = "multirun.yaml"  # Hydra's


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
        settings[CHECKPOINT_HASH] = run.checkpoint_sha256[:_HASH_SHOWN]
    return FinishedRun(
        name,
        directory.path,
        summary,
        settings,
        directory.read_records(),
        note=status.note if status is not None else None,
        overrides=status.overrides if status is not None else (),
    )


def _from_status(name: str, directory: RunDirectory, status: JobStatus | None) -> FinishedRun:
    """A job that never became a run."""
    if status is None:
        status = JobStatus()
    given = " ".join(map(str, status.overrides))
    error = status.error or f"ended without saying how ({given})"
    was_interrupted = status.exit_code == _EXIT_INTERRUPTED
    summary = Summary("interrupted" if was_interrupted else "failed", 0, error=str(error))
    settings = dict(flatten(status.config))
    overrides = list(map(str, status.overrides))
    return FinishedRun(name, directory.path, summary, settings, {}, status.note, overrides)
