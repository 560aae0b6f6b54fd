"""The commands. With `application`, the only code that knows Hydra."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from bgm.cli.application import Command, is_job_of_sweep, run_application
from bgm.cli.exit_codes import EXIT_DONE, EXIT_INTERRUPTED, EXIT_SOME_FAILED
from bgm.cli.output import print_error
from bgm.config.composing import ComposeConfig
from bgm.config.engine import EngineName
from bgm.config.experiments import ComparisonSettings
from bgm.config.export import ExportConfig
from bgm.config.schema import BenchmarkConfig, CompareConfig, Config, EvaluateConfig, to_plain
from bgm.config.training import TrainConfig
from bgm.config.validation import parse_config
from bgm.errors import ConfigError, write_error
from bgm.storage import RemotePath, is_url, locate, working_folder, write_object

if TYPE_CHECKING:
    from bgm.runs.engines import Engine


def main() -> NoReturn:
    """Run the command `bgm`."""
    sys.exit(run_application(MATTE))


def main_evaluate() -> NoReturn:
    """Run the command `bgm-evaluate`."""
    sys.exit(run_application(EVALUATE))


def main_compare() -> NoReturn:
    """Run the command `bgm-compare`."""
    sys.exit(run_application(COMPARE))


def main_benchmark() -> NoReturn:
    """Run the command `bgm-benchmark`."""
    sys.exit(run_application(BENCHMARK))


def main_train() -> NoReturn:
    """Run the command `bgm-train`."""
    sys.exit(run_application(TRAIN))


def main_export() -> NoReturn:
    """Run the command `bgm-export`."""
    sys.exit(run_application(EXPORT))


def main_compose() -> NoReturn:
    """Run the command `bgm-compose`."""
    sys.exit(run_application(COMPOSE))


def matte(raw: DictConfig) -> int:
    """Matte a set of photographs.

    Args:
        raw: The composed configuration.

    Returns:
        The exit code.

    Raises:
        BgmError: The run cannot start.
    """
    working = _working_dir()
    output_dir = _output_dir(raw, working)
    config = _settings_of_run(raw, output_dir)
    if config.dry_run:
        from bgm.runs.dry_run import dry_run

        examined = dry_run(config, output_dir, working)
        _deliver(working, output_dir, working.glob("plates.jsonl"))
        hopeless = [one for one in examined if one.is_hopeless]
        return EXIT_SOME_FAILED if hopeless else EXIT_DONE
    from bgm.comparison.groups import check_groups

    check_groups(config.groups)
    from bgm.runs import runner  # torch and the networks: not needed to say a setting is wrong

    with _open_engine(config) as engine:
        shares = is_job_of_sweep()
        run = runner.prepare(config, output_dir, working=working, engine=engine, shares=shares)
        try:
            _write_snapshot(OmegaConf.structured(config), working / ".hydra")
            _deliver(working, output_dir, working.glob(".hydra/*"))
        except OSError as error:
            run.directory.release()
            raise write_error(output_dir / ".hydra", error) from error
        summary = runner.execute(run, to_plain(config), engine)
    if summary.status == "interrupted":
        return EXIT_INTERRUPTED
    return EXIT_DONE if summary.status == "finished" and not summary.failed else EXIT_SOME_FAILED


def _open_engine(config: Config) -> AbstractContextManager[Engine]:
    """Who does the work of a run."""
    if config.engine.name is EngineName.ray:
        from bgm.fleet.engine import open_engine

        return open_engine(config)
    from bgm.runs.engines import LocalEngine

    return nullcontext(LocalEngine())


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
    rows = evaluate.evaluate(config)
    working = _working_dir()
    evaluate.write_report(rows, working)
    _deliver(working, _output_dir(raw, working), working.glob("scores.*"))
    return EXIT_SOME_FAILED if any(row.failed for row in rows) else EXIT_DONE


def compare(raw: DictConfig) -> int:
    """Set finished runs side by side.

    Args:
        raw: The composed configuration.

    Returns:
        The exit code.

    Raises:
        BgmError: There is no run to compare.
    """
    from bgm.comparison.compare import compare_runs
    from bgm.comparison.page import write_comparison
    from bgm.comparison.runs import find_runs

    config = parse_config(raw, CompareConfig)
    comparison = compare_runs(find_runs(config.runs), config.baseline, config.groups)
    working = _working_dir()
    write_comparison(comparison, working, config)
    _deliver(working, _output_dir(raw, working), _files_of_comparison(working))
    return EXIT_DONE


def value_of_job(raw: DictConfig, folder: Path) -> float | list[float] | None:
    """What sweepers search by: the figures of `objective`, as one number if it is one.

    Args:
        raw: The composed configuration.
        folder: Directory of a job that has ended.
    """
    from bgm.comparison.objective import objective_values
    from bgm.comparison.runs import read_jobs

    if not raw.objective:
        return None
    (run,) = read_jobs([folder])
    values = objective_values(run, raw.objective)
    return values[0] if values is not None and len(values) == 1 else values


def compare_sweep(folder: Path, jobs: Sequence[Path]) -> None:
    """Set the jobs of a sweep side by side, in the sweep's own directory."""
    from bgm.comparison.compare import compare_runs
    from bgm.comparison.page import write_comparison
    from bgm.comparison.publish import publish
    from bgm.comparison.runs import read_jobs
    from bgm.records.directory import RunDirectory

    jobs = [job for job in jobs if not _only_examined(job)]
    if not jobs:
        return
    runs = read_jobs(jobs)
    # Those of a sweep are the same in all of its jobs; what was refused may be anything.
    wanted = next((run.settings for run in runs if not run.failed), {})
    keys = [field.name for field in fields(ComparisonSettings)]
    settings = ComparisonSettings(**{key: wanted[key] for key in keys if key in wanted})
    try:
        comparison = compare_runs(runs, settings.baseline, settings.groups)
    except ConfigError as error:  # what was computed is worth a comparison all the same
        print_error(str(error))
        comparison = compare_runs(runs)
    write_comparison(comparison, folder, settings)
    status = RunDirectory(jobs[0]).read_status()
    sweep_dir = locate(str(status.config.get("output_dir"))) if status else folder
    _deliver(folder, sweep_dir, _files_of_comparison(folder))
    publish(comparison, folder, jobs, wanted)


def _only_examined(job: Path) -> bool:
    """Whether a job of a sweep was a dry run, of which there are no mattes to compare."""
    from bgm.records.directory import RunDirectory

    status = RunDirectory(job).read_status()
    return status is not None and bool(status.config.get("dry_run"))


def _files_of_comparison(folder: Path) -> list[Path]:
    """The tables and the page of a comparison, and what is beside it."""
    return [*folder.glob("comparison.*"), *folder.glob("comparison_pictures/*")]


def benchmark(raw: DictConfig) -> int:
    """Measure the speed of this machine.

    Args:
        raw: The composed configuration.

    Returns:
        The exit code.

    Raises:
        BgmError: The settings do not fit this machine.
    """
    config = parse_config(raw, BenchmarkConfig)
    from bgm.benchmark.benchmark import run_benchmark

    run_benchmark(config, _working_dir(), to_plain(config))
    return EXIT_DONE


def train(raw: DictConfig) -> int:
    """Train a network.

    Args:
        raw: The composed configuration.

    Returns:
        The exit code.

    Raises:
        BgmError: The run cannot start.
    """
    config = parse_config(raw, TrainConfig)
    from bgm.training.train import run_training

    output_dir = _working_dir()
    try:
        _write_snapshot(OmegaConf.structured(config), output_dir / ".hydra")
    except OSError as error:
        raise write_error(output_dir / ".hydra", error) from error
    command = shlex.join(["bgm-train", *HydraConfig.get().overrides.task])
    finished = run_training(config, output_dir, to_plain(config), command)
    return EXIT_DONE if finished else EXIT_INTERRUPTED


def export(raw: DictConfig) -> int:
    """Write a network as files for other programs.

    Args:
        raw: The composed configuration.

    Returns:
        The exit code.

    Raises:
        BgmError: Nothing can be exported that way.
    """
    config = parse_config(raw, ExportConfig)
    from bgm.export.export import run_export

    files = run_export(config, _working_dir())
    return EXIT_SOME_FAILED if any(file.failures for file in files) else EXIT_DONE


def compose(raw: DictConfig) -> int:
    """Make a test set of cut-outs and photographs.

    Args:
        raw: The composed configuration.

    Returns:
        The exit code.

    Raises:
        BgmError: There is nothing to compose, or a set is in the way.
    """
    config = parse_config(raw, ComposeConfig)
    from bgm.training.composed import compose_set

    command = shlex.join(["bgm-compose", *HydraConfig.get().overrides.task])
    whole = compose_set(config, _working_dir(), to_plain(config), command)
    return EXIT_DONE if whole else EXIT_SOME_FAILED


MATTE = Command(
    matte,
    "bgm",
    Config,
    "mattes photographs, or clips, taken in front of known backgrounds",
    value_of_job,
    compare_sweep,
)
EVALUATE = Command(
    evaluate, "evaluate", EvaluateConfig, "scores mattes, whatever made them, against the truth"
)
COMPARE = Command(compare, "compare", CompareConfig, "sets finished runs side by side")
BENCHMARK = Command(benchmark, "benchmark", BenchmarkConfig, "measures the speed of this machine")
TRAIN = Command(train, "train", TrainConfig, "trains a network on composites made on the fly")
COMPOSE = Command(
    compose, "compose", ComposeConfig, "puts cut-outs into photographs, as a test set for data=set"
)
EXPORT = Command(export, "export", ExportConfig, "writes a network as a file for other programs")


def _working_dir() -> Path:
    """The directory on this machine that Hydra made for the run."""
    return Path(HydraConfig.get().runtime.output_dir).absolute()


def _output_dir(raw: DictConfig, working: Path) -> Path:
    """Where the run writes: its directory on this machine, or its place on remote storage."""
    given = str(raw.output_dir)
    if not is_url(given):
        return working
    root = Path(working_folder(given)).absolute()
    is_job = working.is_relative_to(root)  # of a sweep, perhaps
    return locate(given) / working.relative_to(root) if is_job else locate(given)


def _deliver(working: Path, output_dir: Path, files: Iterable[Path]) -> None:
    """Put files of this machine to where the run writes, if that is elsewhere."""
    if isinstance(output_dir, RemotePath):
        for file in files:
            write_object(output_dir / file.relative_to(working), file.read_bytes())


def _settings_of_run(raw: DictConfig, output_dir: Path) -> Config:
    """The checked settings of one run, with what Hydra knows about it filled in."""
    config = parse_config(raw, Config)
    overrides = list(HydraConfig.get().overrides.task)
    config.output_dir = str(output_dir)
    if is_job_of_sweep():
        config.tracking.group = config.tracking.group or output_dir.parent.name
        config.tracking.tags += overrides
    if config.repeat is not None:
        from bgm.runs.repeat import load_settings

        config = load_settings(config, [o.partition("=")[0].lstrip("+~") for o in overrides])
    return config


def _write_snapshot(resolved: DictConfig, folder: Path) -> None:
    """Write what repeats the run: as Hydra does, but only once the run may start."""
    folder.mkdir(exist_ok=True)
    hydra_config = HydraConfig.get()
    OmegaConf.save(resolved, folder / "config.yaml")
    OmegaConf.save(OmegaConf.create({"hydra": hydra_config}), folder / "hydra.yaml")
    OmegaConf.save(hydra_config.overrides.task, folder / "overrides.yaml")
