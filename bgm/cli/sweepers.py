"""What `-m` does with the settings: every combination, a race among them, or a search.

Hydra takes sweepers from its own namespace of plugins only, `hydra_plugins`, where they have names.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from bgm.errors import ConfigError

log = logging.getLogger(__name__)

_SAMPLERS = ("tpe", "nsgaii", "random")
_KEPT = 100  # composed configurations at most, of some 100 KiB


class _ComposedOnce:
    """Composes a job's configuration to check it, and gives the same to the launcher.

    Args:
        loader: Hydra's, which does everything else.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._kept: dict[tuple[str, ...], DictConfig] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        """The configuration of a job; whoever asks first leaves it to who asks second."""
        key = tuple(sweep_overrides)
        known = self._kept.pop(key, None)
        if known is not None:
            return known
        composed = self._loader.load_sweep_config(master_config, sweep_overrides)
        if len(self._kept) < _KEPT:
            self._kept[key] = composed
        return composed


class GridSweeper(BasicSweeper):
    """Every combination; with `race=true` those that are beaten drop out on the way."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take over what Hydra composed."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if isinstance(self.launcher, BasicLauncher):  # others compose in other processes
            once: Any = _ComposedOnce(hydra_context.config_loader)
            self.hydra_context = replace(hydra_context, config_loader=once)
            self.launcher.hydra_context = self.hydra_context

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs."""
        assert self.config is not None
        if not OmegaConf.select(self.config, "race"):
            return super().sweep(arguments)
        assert self.launcher is not None
        jobs = [
            list(job)
            for batch in self.split_arguments(
                self._parse([*self._parse_config(), *arguments]), None
            )
            for job in batch
        ]
        prepare(self, self.config, jobs)
        from bgm.cli.race import run_race

        return run_race(self.config, self.launcher, jobs)

    def _parse(self, arguments: list[str]) -> Any:
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        return parser.parse_overrides(arguments)


class OptunaSweeper(Sweeper):
    """A search: each job's settings follow from what came of those before; Optuna chooses them.

    Args:
        n_trials: Jobs, at most.
        minutes: No job begins later than that after the first; None for no limit.
        n_jobs: Jobs that are begun together, for launchers that run them side by side.
        sampler: `tpe`, `nsgaii` or `random`.
        seed: What the choices follow from.
        params: Settings to sweep over, by key, besides those of the command line.
        max_batch_size: Of the sweeper that this one replaces; without effect.
    """

    def __init__(
        self,
        n_trials: int = 20,
        minutes: float | None = None,
        n_jobs: int = 1,
        sampler: str = "tpe",
        seed: int = 0,
        params: dict[str, str] | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        self._trials = n_trials
        self._minutes = minutes
        self._at_once = n_jobs
        self._sampler = sampler
        self._seed = seed
        self._params = params or {}
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None
        self.hydra_context: HydraContext | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take over what Hydra composed."""
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs."""
        assert self.config is not None
        assert self.hydra_context is not None
        objective = OmegaConf.select(self.config, "objective")
        if not objective:
            raise ConfigError(
                "hydra/sweeper=optuna needs to know what to search for: objective=[mse,forward_ms]"
            )
        if OmegaConf.select(self.config, "race"):
            raise ConfigError("race=true is for sweeps over combinations; leave out one of the two")
        for key, value in (("n_trials", self._trials), ("n_jobs", self._at_once)):
            if value < 1:
                raise ConfigError(f"hydra.sweeper.{key}={value}: must be 1 or more")
        if self._minutes is not None and self._minutes <= 0:
            raise ConfigError(f"hydra.sweeper.minutes={self._minutes}: must be above 0, or null")
        if self._sampler not in _SAMPLERS:
            known = ", ".join(_SAMPLERS)
            raise ConfigError(f"hydra.sweeper.sampler={self._sampler}: there are {known}")
        from bgm.cli.search import Search, parse_space

        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = [f"{key}={value}" for key, value in self._params.items()]
        space, fixed = parse_space(parser.parse_overrides([*given, *arguments]), self.config)
        search = Search(list(objective), space, self._sampler, self._seed)
        search.begin_with(self.config)
        deadline = None if self._minutes is None else time.monotonic() + self._minutes * 60
        return self._run(search, fixed, deadline)

    def _run(self, search: Any, fixed: list[str], deadline: float | None) -> list[JobReturn]:
        """Ask for settings and tell what came of them, until the budget is used up."""
        assert self.config is not None
        assert self.launcher is not None
        done: list[JobReturn] = []
        while len(done) < self._trials and not search.is_hopeless:
            if deadline is not None and done and time.monotonic() > deadline:
                log.info("%g minutes are over: no more trials", self._minutes)
                break
            batch = search.ask(min(self._at_once, self._trials - len(done)))
            if not batch:
                log.info("every combination has been tried")
                break
            jobs = [[*fixed, *overrides] for overrides in batch]
            if not done:
                prepare(self, self.config, jobs)
            else:
                self.validate_batch_is_legal(jobs)
            returned = self.launcher.launch(jobs, initial_job_idx=len(done))
            search.tell(returned)
            done += returned
        search.conclude()
        return done


def prepare(sweeper: Sweeper, config: DictConfig, jobs: Sequence[Sequence[str]]) -> None:
    """Check that the first jobs can be composed, and store the sweep's settings as Hydra does."""
    sweeper.validate_batch_is_legal(jobs)
    folder = Path(config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "multirun.yaml")
