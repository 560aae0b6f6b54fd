"""Runs a command as a Hydra application: one job or a sweep, errors in words, honest exit codes."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bgm import __version__
from bgm.cli.arguments import as_typed, explain, tolerate
from bgm.cli.exit_codes import EXIT_DONE, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_SOME_FAILED
from bgm.cli.folders import Folders
from bgm.cli.output import lenient_output, print_error
from bgm.cli.sweep import StartedJob, Sweep, end_killed, report
from bgm.data.processors import wait_politely
from bgm.errors import BgmError
from bgm.locations import conf_directory
from bgm.storage import holds_credentials

# Hydra reads some forty files for each job, by this name; the parser in C is several times as fast.
setattr(yaml, "SafeLoader", getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: B010

_SELDOM = 1000  # times that younger garbage was looked for
_KILLED = "was killed from outside, perhaps for want of memory"


@dataclass(frozen=True)
class Command:
    """One command: a Hydra application.

    Attributes:
        job: Takes a composed configuration and returns an exit code.
        config_name: Its primary configuration in `conf/`.
        schema: What that configuration must be.
        purpose: What it is for, in a few words.
        value: Takes from the directory of a job that has ended what sweepers search by.
        after_sweep: Told the directory of a sweep and those of its jobs, once they have ended.
    """

    job: Callable[[DictConfig], int]
    config_name: str
    schema: type
    purpose: str = ""
    value: Callable[[DictConfig, Path], Any] | None = None
    after_sweep: Callable[[Path, Sequence[Path]], None] | None = None


def run_application(command: Command) -> int:
    """Run a command.

    Returns:
        The exit code: that of the job, or 2 if it could not start; of a sweep 0, 2 if none of its
        jobs could start, 130 if it was interrupted, or 1 if one of its jobs has another.
    """
    # Hydra would print a trace for errors that have a message of their own, and exit with 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    wait_politely()
    _collect_seldom()
    _end_like_interruptions()
    with lenient_output():
        if "--version" in sys.argv[1:]:
            sys.stdout.write(f"bgm {__version__}\n")
            return EXIT_DONE
        if any(map(holds_credentials, sys.argv[1:])):  # before Hydra writes them down
            print_error(
                "a path on the command line has credentials in it, which would stand in records "
                "and logs; leave them to the environment or the files of the storage's own tools"
            )
            return EXIT_REFUSED
        sys.argv[1:] = tolerate(sys.argv[1:])
        return _run(command)


def _collect_seldom() -> None:
    """Have Python look for old garbage seldom: what is imported counts as old, and is none.

    To look through it takes 0.2 s of a start, and 0.2 s more at the end, where it does not matter.
    """
    gc.set_threshold(*gc.get_threshold()[:2], _SELDOM)
    atexit.register(gc.freeze)


def _end_like_interruptions() -> None:
    """Let requests to end be what Ctrl-C is, also before a run watches out for them itself."""
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):  # the last two are not on every system
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def _run(command: Command) -> int:
    """Let Hydra compose the configuration and call the job, or the jobs of a sweep."""
    sweep = Sweep()
    codes: list[int] = []

    def task(raw: DictConfig) -> Any:
        # Relative paths are meant from where the command was given (hydra.job.chdir=true).
        os.chdir(HydraConfig.get().runtime.cwd)
        if is_job_of_sweep():
            with lenient_output():  # perhaps in a process of its own
                return sweep.run_job(command.job, raw, command.schema, command.value)
        codes.append(EXIT_REFUSED)
        try:
            codes[0] = command.job(raw)
        except BgmError as error:
            print_error(as_typed(str(error), HydraConfig.get().overrides.task))
            Folders.remove_empty()
        return None

    _register_sweepers()
    OmegaConf.register_new_resolver("bgm.help", partial(_help, command), replace=True)
    Folders.forget()
    # The files of the launchers are checked against their schemas, as they are meant to be here.
    warnings.filterwarnings("ignore", message=r"\n'hydra/launcher/")
    decorate = hydra.main(
        version_base="1.3",
        config_path=str(conf_directory()),
        config_name=command.config_name,
    )
    try:
        decorate(task)()
    except KeyboardInterrupt:
        if _jobs(sweep):  # what is finished can be compared all the same
            _end_sweep(command, sweep)
        return EXIT_INTERRUPTED
    except BrokenProcessPool:
        print_error(f"the sweep was interrupted: a process of it {_KILLED}")
        if _jobs(sweep):
            _end_sweep(command, sweep, killed=True)
        return EXIT_INTERRUPTED
    except Exception as error:
        has_begun = bool(codes or _jobs(sweep))
        if Folders.sweep is not None and has_begun and _tells_of_lost_job(error):
            said = str(error).strip().partition("\n")[0]
            print_error(f"a job of the sweep was lost: {said}; waiting for those at work")
            sweep.wait(Folders.sweep)
            return max(EXIT_SOME_FAILED, _end_sweep(command, sweep))
        if has_begun and not isinstance(error, BgmError):  # nobody foresaw it: the trace is wanted
            raise
        print_error(explain(error, command.schema))
        if not has_begun:
            return EXIT_REFUSED
        return max(EXIT_SOME_FAILED, _end_sweep(command, sweep))
    if Folders.sweep is not None:
        return _end_sweep(command, sweep)
    return codes[0] if codes else EXIT_DONE


def _register_sweepers() -> None:
    """Name the sweepers to Hydra, which finds none where bgm is installed in place (pip -e)."""
    plugins = Plugins.instance()  # imports Hydra's own sweepers anew, so those of bgm come after
    from hydra_plugins.bgm_sweepers import GridSweeper, OptunaSweeper

    for sweeper in (GridSweeper, OptunaSweeper):
        plugins.register(sweeper)


def _help(command: Command, *, _root_: DictConfig) -> str:
    """The help of a command, which Hydra takes to be a template: `${bgm.help:}` in YAML."""
    from bgm.cli.help import render

    return render(_root_, command.schema, command.config_name, command.purpose).replace("$", "$$")


def _tells_of_lost_job(error: Exception) -> bool:
    """Whether an error is a launcher's, about a job that ended without a word."""
    return type(error).__module__.partition(".")[0] in ("submitit", "ray")


def is_job_of_sweep() -> bool:
    """Whether the job that is running belongs to a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def _jobs(sweep: Sweep) -> list[StartedJob]:
    return sweep.jobs(Folders.sweep) if Folders.sweep is not None else []


def _end_sweep(command: Command, sweep: Sweep, *, killed: bool = False) -> int:
    """Compare the jobs, name those that failed, and return the exit code of the whole."""
    jobs, folder = _jobs(sweep), Folders.sweep
    if folder is None:
        return EXIT_DONE
    if not jobs:
        print_error("the sweep has no jobs: a glob or a list of choices is empty, or none began")
        return EXIT_REFUSED
    try:
        if killed:
            jobs = end_killed(jobs, f"interrupted: a process of the sweep {_KILLED}")
        if command.after_sweep is not None:
            command.after_sweep(folder, [job.folder for job in jobs])
    except (BgmError, OSError) as error:
        print_error(f"the jobs cannot be compared: {error}")
    return report(jobs, folder)
