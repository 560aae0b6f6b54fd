"""The jobs of a sweep: each says of itself that it begins and how it ended.

They may run in processes of their own, one after the other or side by side, in folders of any
name; what the sweep knows of them stands in their status files.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from bgm.cli.arguments import as_typed
from bgm.cli.exit_codes import EXIT_DONE, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_SOME_FAILED
from bgm.cli.output import print_error
from bgm.config.validation import describe_settings
from bgm.errors import BgmError, RecordError
from bgm.records.directory import RUN_FILE, STATUS_FILE, JobStatus, RunDirectory

Job = Callable[[DictConfig], int]
Value = Callable[[DictConfig, Path], Any]

_LOOK_S = 1.0
_STARTS_S = 60.0
"""How long a job may take from its first word to its run."""


@dataclass(frozen=True)
class StartedJob:
    """A job that has begun.

    Attributes:
        folder: Its directory.
        status: What it said last.
    """

    folder: Path
    status: JobStatus


@dataclass(frozen=True)
class Sweep:
    """One sweep; copies of it travel to the processes of its jobs.

    Attributes:
        id: What its jobs are told by from those of earlier sweeps in the same directory.
    """

    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def run_job(self, job: Job, raw: DictConfig, schema: type, value: Value | None = None) -> Any:
        """Run one job; whatever becomes of it, the others go on and its status is on disk.

        Args:
            job: What to run.
            raw: The composed configuration.
            schema: What that must be.
            value: Takes from its directory what sweepers search by.

        Returns:
            That; None if the job came to nothing.

        Raises:
            WriteError: The status cannot be written.
            KeyboardInterrupt: The job was interrupted, which ends the sweep too.
        """
        hydra_config = HydraConfig.get()
        directory = RunDirectory(Path(hydra_config.runtime.output_dir))
        status = JobStatus(
            overrides=list(hydra_config.overrides.task),
            sweep=self.id,
            job=self._number(directory, hydra_config.job.num),
            config=describe_settings(raw, schema),
        )
        if raw.get("on_existing") == "error" and self._was_begun(directory, hydra_config.job.num):
            # A cluster had taken its machine away, and has begun it again.
            OmegaConf.update(raw, "on_existing", "resume")
        directory.write_status(status)
        code, failure = _run(job, raw)
        directory.write_status(replace(status, exit_code=code, error=failure))
        # On a cluster it is the job alone that was interrupted; its status says so.
        if code == EXIT_INTERRUPTED and not is_on_cluster():
            raise KeyboardInterrupt
        return value(raw, directory.path) if value is not None and code == EXIT_DONE else None

    def _number(self, directory: RunDirectory, number: int) -> int:
        """The number of a job; one that goes on keeps the one it had."""
        try:
            status = directory.read_status()
        except RecordError:
            return number
        is_mine = status is not None and status.sweep == self.id and status.job is not None
        return status.job if is_mine else number  # type: ignore[union-attr,return-value]

    def _was_begun(self, directory: RunDirectory, number: int) -> bool:
        """Whether a job of this sweep was begun before and interrupted."""
        try:
            before = directory.read_status()
        except RecordError:
            return False
        return (
            before is not None
            and (before.sweep, before.job) == (self.id, number)
            and before.exit_code in (None, EXIT_INTERRUPTED)
        )

    def wait(self, folder: Path) -> None:
        """Wait for the jobs that have begun elsewhere and are still at work.

        Args:
            folder: Where the sweep writes.
        """
        while any(_is_at_work(job) for job in self.jobs(folder)):
            time.sleep(_LOOK_S)

    def jobs(self, folder: Path) -> list[StartedJob]:
        """The jobs of this sweep that have begun, in their order.

        Args:
            folder: Where the sweep writes.
        """
        started = []
        for path in folder.rglob(STATUS_FILE):
            try:
                status = RunDirectory(path.parent).read_status()
            except RecordError:  # not whole, so not written by this sweep
                continue
            if status is not None and status.sweep == self.id:
                started.append(StartedJob(path.parent, status))
        return sorted(started, key=lambda job: job.status.job or 0)


def is_on_cluster() -> bool:
    """Whether the launcher of a sweep begins lost jobs again, on other machines."""
    launcher = str(HydraConfig.get().runtime.choices.get("hydra/launcher"))
    return launcher.startswith(("submitit", "ray"))


def _is_at_work(job: StartedJob) -> bool:
    if job.status.exit_code is not None:
        return False
    if (job.folder / RUN_FILE).exists():  # written under the lock
        return RunDirectory(job.folder).is_locked()
    return time.time() - (job.folder / STATUS_FILE).stat().st_mtime < _STARTS_S


def _run(job: Job, raw: DictConfig) -> tuple[int, str | None]:
    """The exit code of a job, and why it failed if it has more to say than that."""
    try:
        return job(raw), None
    except BgmError as error:
        message = as_typed(str(error), HydraConfig.get().overrides.task)
        print_error(message)
        return EXIT_REFUSED, message
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED, None
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return EXIT_SOME_FAILED, f"{type(error).__name__}: {error}"


def end_killed(jobs: Sequence[StartedJob], why: str) -> list[StartedJob]:
    """Say of the jobs that never said how they ended that they were interrupted.

    Args:
        jobs: The jobs of a sweep of which no process is left.
        why: What ended them.
    """
    ended = []
    for job in jobs:
        status = job.status
        if status.exit_code is None:
            status = replace(status, exit_code=EXIT_INTERRUPTED, error=why)
            RunDirectory(job.folder).write_status(status)
        ended.append(StartedJob(job.folder, status))
    return ended


def report(jobs: Sequence[StartedJob], root: Path) -> int:
    """Name the jobs that failed, and return the exit code of the sweep.

    Args:
        jobs: Its jobs, all of which have ended.
        root: The directory of the sweep.
    """
    failures = []
    for job in jobs:
        code, error, overrides = job.status.exit_code, job.status.error, job.status.overrides
        if code != EXIT_DONE:
            failed = "a pair is hopeless" if job.status.config.get("dry_run") else _SOME_FAILED
            why = error or _NO_ERROR.get(code, failed)
            failures.append(f"  {job.folder.relative_to(root)} ({' '.join(overrides)}): {why}")
    if failures:
        print_error(f"{len(failures)} of {len(jobs)} jobs failed:\n" + "\n".join(failures))
    if {job.status.exit_code for job in jobs} == {EXIT_REFUSED}:
        return EXIT_REFUSED
    return EXIT_SOME_FAILED if failures else EXIT_DONE


_SOME_FAILED = "some of its images failed"
_NO_ERROR = {None: "ended without saying how", EXIT_INTERRUPTED: "interrupted"}
