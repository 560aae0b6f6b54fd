"""The rounds of a race: all settings on a few images, those that are left on more."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from bgm.comparison.finished import FinishedRun
from bgm.comparison.race import Race
from bgm.comparison.runs import read_jobs
from bgm.errors import ConfigError
from bgm.records.directory import RunDirectory

log = logging.getLogger(__name__)


def run_race(
    config: DictConfig, launcher: Launcher, jobs: Sequence[Sequence[str]]
) -> list[JobReturn]:
    """Run jobs on more and more images, without those that are beaten.

    Args:
        config: The sweep's settings.
        launcher: Runs the jobs.
        jobs: The overrides of each.

    Returns:
        What Hydra says of the last round of each job.

    Raises:
        ConfigError: There is nothing to race by.
    """
    objective = _objective(config)
    race, left, images = Race(objective, len(jobs)), list(range(len(jobs))), config.race_images
    returned: dict[int, JobReturn] = {}
    folders: dict[int, Path] = {}
    matted = 0
    while left:
        log.info("race: %d settings, up to %d images each", len(left), images)
        returned.update(_launch(launcher, config, jobs, left, images, folders))
        for job in left:
            folders[job] = folder_of(returned[job])
        everybody = read_jobs([folders[job] for job in left])  # names are those of the comparison
        lost = race.losers(everybody)
        for place, why in lost.items():
            log.info("race: %s %s", everybody[place].name, why)
            note(folders[left[place]], why)
        last = [run for place, run in enumerate(everybody) if place not in lost]
        left = [job for place, job in enumerate(left) if place not in lost]
        counts = [len(run.records) for run in last]
        matted = sum(len(run.figures) for run in read_jobs(list(folders.values())))
        if race.is_over(last) or all(count < images for count in counts):
            break
        images *= 2
    _conclude(left, last, folders, race.is_over(last))
    log.info("race: %d images were matted", matted)
    return [returned[job] for job in sorted(returned)]


def _objective(config: DictConfig) -> list[str]:
    given = OmegaConf.select(config, "objective")
    if given:
        return list(given)
    if OmegaConf.select(config, "data.pha", throw_on_missing=False) is not None:
        return ["mse"]
    raise ConfigError(
        "race=true needs something to race by: data.pha=... for scores, or objective=[...]"
    )


def _launch(
    launcher: Launcher,
    config: DictConfig,
    jobs: Sequence[Sequence[str]],
    left: Sequence[int],
    images: int,
    folders: dict[int, Path],
) -> dict[int, JobReturn]:
    """Run one round; later ones go on in the folders of the first."""
    root = Path(config.hydra.sweep.dir).absolute()
    batch = []
    for job in left:
        more = [f"data.images={images}"]
        if job in folders:
            folder = folders[job].relative_to(root).as_posix().replace("'", r"\'")
            more += ["on_existing=resume", f"hydra.sweep.subdir='{folder}'"]
        batch.append([*jobs[job], *more])
    return dict(zip(left, launcher.launch(batch, initial_job_idx=0), strict=True))


def _conclude(
    left: Sequence[int], runs: Sequence[FinishedRun], folders: dict[int, Path], is_over: bool
) -> None:
    """Note what those that were left have won."""
    if len(left) == 1:
        won = "won the race"
    else:
        won = "on the front of the race" if is_over else "left at the end of the race"
    for job, run in zip(left, runs, strict=True):
        note(folders[job], f"{won}, after {len(run.figures)} images")


def folder_of(job: JobReturn) -> Path:
    """Where a job has written."""
    assert job.hydra_cfg is not None
    return Path(job.hydra_cfg.hydra.runtime.output_dir).absolute()


def note(folder: Path, text: str) -> None:
    """Say something of a job where comparisons find it."""
    directory = RunDirectory(folder)
    status = directory.read_status()
    if status is not None:
        directory.write_status(replace(status, note=text))
