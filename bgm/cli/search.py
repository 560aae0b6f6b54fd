"""A search over settings: Optuna's ask-and-tell, in the words of Hydra's overrides."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf

from bgm.cli.race import folder_of, note
from bgm.comparison.objective import is_maximized
from bgm.errors import ConfigError

log = logging.getLogger(__name__)

_HOPELESS = 5
"""If so many trials fail and none succeeds, something else is wrong."""

_ASKED_AGAIN = 20
"""How often to ask for settings that have not been tried yet."""


def parse_space(
    overrides: Sequence[Override], config: DictConfig
) -> tuple[dict[str, Any], list[str]]:
    """What of the command line is to be searched over, and what is the same in every trial.

    Lists are choices, `range(1,10)` steps, `interval(1,10)` anything between; with
    `tag(log,interval(1,1000))` in equal ratios.

    Args:
        overrides: The command line, parsed.
        config: The settings without the search; an interval between whole numbers
            is of whole ones, unless the setting has a fraction now.

    Returns:
        Optuna's distributions by key; the other overrides.

    Raises:
        ConfigError: Optuna is not installed, or there is nothing to search over.
    """
    _import_optuna()
    space, fixed = {}, []
    for override in overrides:
        if override.is_sweep_override():
            key = override.get_key_element()
            now = OmegaConf.select(config, key, throw_on_missing=False)
            space[key] = _distribution(override, may_be_whole=not isinstance(now, float))
        else:
            fixed.append(f"{override.get_key_element()}={override.get_value_element_as_str()}")
    if not space:
        raise ConfigError(
            "hydra/sweeper=optuna has nothing to search over; give settings a list or an interval, "
            'as in "refine.sample_pixels=interval(5000,200000)"'
        )
    return space, fixed


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "hydra/sweeper=optuna needs a package: pip install 'bgm[optuna]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(override: Override, *, may_be_whole: bool) -> Any:
    optuna = _import_optuna()
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        low, high, is_log = sweep.start, sweep.end, "log" in sweep.tags
        assert low is not None
        assert high is not None
        try:
            if may_be_whole and low == round(low) and high == round(high):
                return optuna.distributions.IntDistribution(round(low), round(high), log=is_log)
            return optuna.distributions.FloatDistribution(low, high, log=is_log)
        except ValueError as error:
            raise ConfigError(f"{override.input_line}: {error}") from None
    if isinstance(sweep, RangeSweep) and not sweep.shuffle:
        values: Any = list(sweep.range())
        if all(isinstance(value, int) for value in values) and len(values) > 1:
            step = abs(values[1] - values[0])
            return optuna.distributions.IntDistribution(min(values), max(values), step=step)
    return optuna.distributions.CategoricalDistribution(list(override.sweep_string_iterator()))


class Search:
    """A study of Optuna, whose trials are jobs.

    Args:
        objective: Names of the figures that jobs return.
        space: Distributions by key.
        sampler: `tpe`, `nsgaii` or `random`.
        seed: What the choices follow from.
    """

    def __init__(
        self, objective: Sequence[str], space: Mapping[str, Any], sampler: str, seed: int
    ) -> None:
        self._optuna = _import_optuna()
        samplers = self._optuna.samplers
        kinds = {
            "tpe": samplers.TPESampler,
            "nsgaii": samplers.NSGAIISampler,
            "random": samplers.RandomSampler,
        }
        self._objective = list(objective)
        self._space = dict(space)
        self._study = self._optuna.create_study(
            directions=["maximize" if is_maximized(name) else "minimize" for name in objective],
            sampler=kinds[sampler](seed=seed),
        )
        self._asked: list[Any] = []
        self._tried: set[tuple[str, ...]] = set()
        self._folders: dict[int, Path] = {}
        self._failed = 0

    @property
    def is_hopeless(self) -> bool:
        """Whether trials do nothing but fail."""
        return self._failed >= _HOPELESS and self._failed == len(self._folders)

    def begin_with(self, config: DictConfig) -> None:
        """Let the first trial be what the settings are without the search, if it may be chosen."""
        first = {}
        for key, distribution in self._space.items():
            value = OmegaConf.select(config, key, throw_on_missing=False)
            if isinstance(distribution, self._optuna.distributions.CategoricalDistribution):
                value = str(value)
                if value not in distribution.choices:
                    return
            elif not isinstance(value, (int, float)) or not distribution._contains(value):
                return
            first[key] = value
        self._study.enqueue_trial(first)

    def ask(self, count: int) -> list[list[str]]:
        """Settings to try next, as overrides; fewer than `count` if there are no more."""
        self._asked, batch = [], []
        for _ in range(count):
            trial, overrides = self._ask_new()
            if trial is None:
                break
            self._asked.append(trial)
            batch.append(overrides)
        return batch

    def _ask_new(self) -> tuple[Any, list[str]]:
        for _ in range(_ASKED_AGAIN):
            trial = self._study.ask(self._space)
            overrides = [f"{key}={value}" for key, value in trial.params.items()]
            if tuple(overrides) not in self._tried:
                self._tried.add(tuple(overrides))
                return trial, overrides
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        return None, []

    def tell(self, returned: Sequence[JobReturn]) -> None:
        """Say what came of the settings that were asked for last."""
        for trial, job in zip(self._asked, returned, strict=True):
            self._folders[trial.number] = folder_of(job)
            values = job.return_value
            if values is None:
                self._failed += 1
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(trial, values)

    def conclude(self) -> None:
        """Note which trials are the best, and print them."""
        if self.is_hopeless:
            log.error("search: the first %d trials all failed; it was given up", self._failed)
        best = [t for t in self._study.best_trials if t.number in self._folders]
        is_front = len(self._objective) > 1
        for trial in best:
            folder = self._folders[trial.number]
            figures = ", ".join(
                f"{name} {value:.4g}"
                for name, value in zip(self._objective, trial.values, strict=True)
            )
            settings = " ".join(f"{key}={value}" for key, value in trial.params.items())
            log.info("search: %s in %s: %s", figures, folder.name, settings)
            what = "on the front of the search" if is_front else "best of the search"
            note(folder, f"{what}: {figures}")
