"""Runs a command as a Hydra application: one job or a sweep, errors in words, honest exit codes."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bgm.config.validation import refuse_unknown
from bgm.errors import BgmError
from bgm.records.directory import STATUS_FILE, JobStatus, RunDirectory

_CLOCK_SLACK_S = 2.0  # file systems keep time less finely than clocks

EXIT_DONE, EXIT_SOME_FAILED, EXIT_REFUSED, EXIT_INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Command:
    """One command: a Hydra application.

    Attributes:
        job: Takes a composed configuration and returns an exit code.
        config_name: Its primary configuration in `conf/`.
        schema: What that configuration must be.
        after_sweep: Told the directory of a finished sweep, once all its jobs have ended.
    """

    job: Callable[[DictConfig], int]
    config_name: str
    schema: type
    after_sweep: Callable[[Path], None] | None = None


class SweepFolder(Callback):
    """Remembers where the sweep of this process writes; Hydra tells callbacks only."""

    path: Path | None = None
    started = 0.0

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """A sweep begins."""
        SweepFolder.path = Path(config.hydra.sweep.dir).absolute()
        SweepFolder.started = time.time()


def run_application(command: Command) -> int:
    """Run a command.

    Returns:
        The exit code: that of the job, or 2 if it could not start; of a sweep 0, 2 if none of its
        jobs could start, or 1 if one of them has another.
    """
    # Hydra would print a trace for errors that have a message of their own, and exit with 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # The network's threads shall sleep while they wait, for decoding and encoding need processors
    # too. It must be said before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.argv[1:] = _tolerate(sys.argv[1:])
    codes: list[int] = []

    def task(raw: DictConfig) -> None:
        if is_job_of_sweep():
            _run_job_of_sweep(command, raw)
        else:
            codes.append(EXIT_REFUSED)
            try:
                codes[0] = command.job(raw)
            except BgmError as error:
                _print_error(str(error))

    SweepFolder.path = None
    decorate = hydra.main(
        version_base="1.3",
        config_path=str(config_directory()),
        config_name=command.config_name,
    )
    try:
        decorate(task)()
        if _is_sweep():
            return _end_sweep(command)
    except Exception as error:
        if codes or _job_folders():  # nobody foresaw it: the trace is wanted
            raise
        _print_error(_explain(error, command.schema))
        return EXIT_REFUSED
    except KeyboardInterrupt:
        if _job_folders():  # what is finished can be compared all the same
            _end_sweep(command)
        return EXIT_INTERRUPTED
    return codes[0] if codes else EXIT_DONE


def is_job_of_sweep() -> bool:
    """Whether the job that is running belongs to a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def _is_sweep() -> bool:
    """Whether this process runs a sweep."""
    return SweepFolder.path is not None


def config_directory() -> Path:
    """Where the YAML files are: inside an installed package, at the top of a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def _run_job_of_sweep(command: Command, raw: DictConfig) -> None:
    """Run one job; whatever becomes of it, the others go on and its status is on disk."""
    code, failure = EXIT_REFUSED, None
    try:
        code = command.job(raw)
    except BgmError as error:
        failure = str(error)
        _print_error(failure)
    except Exception as error:
        code, failure = EXIT_SOME_FAILED, f"{type(error).__name__}: {error}"
        sys.excepthook(type(error), error, error.__traceback__)
    status = JobStatus(code, failure, list(HydraConfig.get().overrides.task))
    folder = Path(HydraConfig.get().runtime.output_dir)
    RunDirectory(folder).write_status(status)
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt  # ends the sweep too


def _job_folders() -> list[Path]:
    """The directories of the jobs of this process's sweep, in their order."""
    if SweepFolder.path is None or not SweepFolder.path.is_dir():
        return []
    numbered = [
        path for path in SweepFolder.path.iterdir() if path.name.isdecimal() and _is_recent(path)
    ]
    return sorted(numbered, key=lambda path: int(path.name))


def _is_recent(folder: Path) -> bool:
    """Whether a directory was written to in this sweep, and is not a leftover."""
    written = [path.stat().st_mtime for path in (folder, folder / STATUS_FILE) if path.exists()]
    return max(written) >= SweepFolder.started - _CLOCK_SLACK_S


def _end_sweep(command: Command) -> int:
    """Compare the jobs, name those that failed, and return the exit code of the whole."""
    folders = _job_folders()
    if command.after_sweep is not None and SweepFolder.path is not None:
        try:
            command.after_sweep(SweepFolder.path)
        except (BgmError, OSError) as error:
            _print_error(f"the jobs cannot be compared: {error}")
    failures, codes = [], set()
    for folder in folders:
        status = RunDirectory(folder).read_status() or JobStatus(
            EXIT_SOME_FAILED, "ended without saying how"
        )
        codes.add(status.exit_code)
        if status.exit_code != EXIT_DONE:
            why = status.error or "some of its images failed"
            failures.append(f"  {folder.name} ({' '.join(status.overrides)}): {why}")
    if failures:
        _print_error(f"{len(failures)} of {len(folders)} jobs failed:\n" + "\n".join(failures))
    if codes == {EXIT_REFUSED}:
        return EXIT_REFUSED
    return EXIT_SOME_FAILED if failures else EXIT_DONE


def _tolerate(arguments: list[str]) -> list[str]:
    """Take what Hydra's parser stumbles over: options among overrides, colours like #00ff88."""
    quoted = [re.sub(r"(?<=[=,])#[0-9a-fA-F]+(?=,|$)", r'"\g<0>"', a) for a in arguments]
    return sorted(quoted, key=lambda a: not re.match(r"-m$|--multirun$|--[\w-]+=", a))


def _explain(error: Exception, schema: type) -> str:
    """What Hydra has against the command line, in words, with the legal choices or keys."""
    message = str(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        if (group, choice) == ("hydra/launcher", "joblib"):
            return "hydra/launcher=joblib needs a package: pip install hydra-joblib-launcher"
        return f"{group}={choice}: no such choice; there are {', '.join(sorted(error.options))}"
    if "Could not override" in message:
        try:
            refuse_unknown(message.split("'")[1], schema)
        except BgmError as unknown:
            return str(unknown)
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: not a setting; settings are written key=value, and values with "
            "spaces, brackets, commas or quotes need quotes of their own: \"data.src='photos (1)'\""
        )
    if isinstance(error, OSError):  # Hydra makes the output directory before the job starts
        return f"output_dir: {error.filename} cannot be made: {error.strerror}"
    if isinstance(error.__cause__, OmegaConfBaseException):
        message = f"{message}: {str(error.__cause__).splitlines()[0]}"
    return message


def _print_error(message: str) -> None:
    sys.stderr.write(f"bgm: {message}\n")
