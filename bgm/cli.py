"""The commands: Hydra applications, and the only code that knows Hydra."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bgm.config import Config, EvaluateConfig, parse_config, refuse_unknown
from bgm.errors import BgmError

EXIT_DONE, EXIT_SOME_FAILED, EXIT_REFUSED, EXIT_INTERRUPTED = 0, 1, 2, 130

Job = Callable[[DictConfig], int]


@dataclass(frozen=True)
class Command:
    """One command: a Hydra application.

    Attributes:
        job: Takes a composed configuration and returns an exit code.
        config_name: Its primary configuration in `conf/`.
        schema: What that configuration must be.
    """

    job: Job
    config_name: str
    schema: type[Config] | type[EvaluateConfig]


def main() -> NoReturn:
    """Run the command `bgm`."""
    sys.exit(run_application(MATTE))


def main_evaluate() -> NoReturn:
    """Run the command `bgm-evaluate`."""
    sys.exit(run_application(EVALUATE))


def matte(raw: DictConfig) -> int:
    """Matte a set of photographs.

    Args:
        raw: The composed configuration.

    Returns:
        The exit code.

    Raises:
        BgmError: The run cannot start.
    """
    from bgm import runner  # torch and the networks: not needed to say that a setting is wrong

    config = parse_config(raw, Config)
    hydra_config = HydraConfig.get()
    output_dir = Path(hydra_config.runtime.output_dir).absolute()
    config.output_dir = str(output_dir)
    is_job_of_sweep = hydra_config.mode is RunMode.MULTIRUN
    if is_job_of_sweep:
        config.tracking.group = config.tracking.group or output_dir.parent.name
        config.tracking.tags += list(hydra_config.overrides.task)
    resolved = OmegaConf.structured(config)
    plain: Any = OmegaConf.to_container(resolved, enum_to_str=True)
    try:
        run = runner.prepare(config, output_dir)
    except BgmError as error:
        if is_job_of_sweep:
            runner.record_refusal(config, output_dir, plain, error)
        raise
    _write_snapshot(resolved, output_dir / ".hydra")
    summary = runner.execute(run, plain)
    if summary.status == "interrupted":
        return EXIT_INTERRUPTED
    return EXIT_SOME_FAILED if summary.failed else EXIT_DONE


def evaluate(raw: DictConfig) -> int:
    """Score mattes, whatever made them, against the truth.

    Args:
        raw: The composed configuration.

    Returns:
        The exit code.

    Raises:
        BgmError: There is nothing to compare.
    """
    from bgm.evaluation import evaluate

    config = parse_config(raw, EvaluateConfig)
    output_dir = Path(HydraConfig.get().runtime.output_dir)
    rows = evaluate.evaluate(config)
    evaluate.write_report(rows, output_dir)
    return EXIT_SOME_FAILED if any(row.error for row in rows) else EXIT_DONE


MATTE = Command(matte, "bgm", Config)
EVALUATE = Command(evaluate, "evaluate", EvaluateConfig)


def run_application(command: Command) -> int:
    """Run a command as a Hydra application.

    Returns:
        The exit code: that of the job, or 2 if it could not start; of a sweep 0, or 1 if one of
        its jobs has another.
    """
    # Hydra would print a trace for errors that have a message of their own, and exit with 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.argv[1:] = _tolerate(sys.argv[1:])
    codes: list[int] = []
    failures: list[str] = []

    def task(raw: DictConfig) -> None:
        codes.append(EXIT_REFUSED)
        try:
            codes[-1] = command.job(raw)
        except BgmError as error:
            _print_error(str(error))
            failures.append(_describe_job(len(codes) - 1, error))
        except Exception as error:
            failures.append(_describe_job(len(codes) - 1, error))
            raise
        if codes[-1] == EXIT_INTERRUPTED:
            raise KeyboardInterrupt  # ends a sweep too

    decorate = hydra.main(
        version_base="1.3",
        config_path=str(config_directory()),
        config_name=command.config_name,
    )
    try:
        decorate(task)()
    except Exception as error:
        if codes:  # nobody foresaw it: the trace is wanted
            raise
        _print_error(_explain(error, command.schema))
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        if len(codes) > 1 and failures:
            _print_error(f"{len(failures)} of {len(codes)} jobs failed:\n" + "\n".join(failures))
    if len(codes) > 1:
        return EXIT_SOME_FAILED if any(codes) else EXIT_DONE
    return max(codes, default=EXIT_DONE)


def _describe_job(number: int, error: Exception) -> str:
    overrides = " ".join(HydraConfig.get().overrides.task)
    return f"  {number} ({overrides}): {str(error) or type(error).__name__}"


def _tolerate(arguments: list[str]) -> list[str]:
    """Take what Hydra's parser stumbles over: options among overrides, colours like #00ff88."""
    quoted = [re.sub(r"(?<=[=,])#[0-9a-fA-F]+(?=,|$)", r'"\g<0>"', a) for a in arguments]
    return sorted(quoted, key=lambda a: not re.match(r"-m$|--multirun$|--[\w-]+=", a))


def config_directory() -> Path:
    """Where the YAML files are: inside an installed package, at the top of a checkout."""
    package = Path(__file__).parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def _write_snapshot(resolved: DictConfig, folder: Path) -> None:
    """Write what repeats the run: as Hydra does, but only once the run may start."""
    folder.mkdir(exist_ok=True)
    hydra_config = HydraConfig.get()
    OmegaConf.save(resolved, folder / "config.yaml")
    OmegaConf.save(OmegaConf.create({"hydra": hydra_config}), folder / "hydra.yaml")
    OmegaConf.save(hydra_config.overrides.task, folder / "overrides.yaml")


def _explain(error: Exception, schema: type) -> str:
    """What Hydra has against the command line, in words, with the legal choices or keys."""
    message = str(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={choice}: no such choice; there are {', '.join(sorted(error.options))}"
    if "Could not override" in message:
        try:
            refuse_unknown(message.split("'")[1], schema)
        except BgmError as unknown:
            return str(unknown)
    if isinstance(error, OSError):  # Hydra makes the output directory before the job starts
        return f"output_dir: {error.filename} cannot be made: {error.strerror}"
    if isinstance(error.__cause__, OmegaConfBaseException):
        message = f"{message}: {str(error.__cause__).splitlines()[0]}"
    return message


def _print_error(message: str) -> None:
    sys.stderr.write(f"bgm: {message}\n")
