"""One training run, from a checked configuration to weights."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from bgm.config.schema import OnExisting
from bgm.config.training import TrainConfig
from bgm.errors import ConfigError
from bgm.inference.device import default_threads, keep_freed_memory, select_device, set_threads
from bgm.records.lock import DirectoryLock
from bgm.runs.interruption import StopRequest
from bgm.runs.provenance import describe_machine, describe_versions
from bgm.training.batches import Batches, batches_from
from bgm.training.card import CardFacts
from bgm.training.composites import Composer
from bgm.training.duties import MATTES_FILE, NoDuties, RunDuties, in_words, write_mattes
from bgm.training.journal import METRICS_FILE, Journal
from bgm.training.loop import Duties, run_steps
from bgm.training.networks import choose_precision, create_network
from bgm.training.pictures import load_pictures
from bgm.training.processes import Processes, joined
from bgm.training.sheet import SHEET_FILE, write_sheet
from bgm.training.states import STATE_FILE, read_state
from bgm.training.trainer import Trainer
from bgm.training.validation import Item, difference_key, make_items, validate

log = logging.getLogger(__name__)

_SAME_SIGNAL_S = 2.0


def run_training(
    config: TrainConfig, output_dir: Path, settings: dict[str, Any], command: str
) -> bool:
    """Train; or only show what would be trained with, or how good a checkpoint is.

    Args:
        config: The settings.
        output_dir: Where to write.
        settings: The settings as nested plain values.
        command: The command line, for the model card.

    Returns:
        Whether all was done; False if the run was asked to end before its last step.

    Raises:
        BgmError: The run cannot start, or cannot write.
    """
    keep_freed_memory()
    set_threads(config.threads or default_threads())
    device = select_device(config.device.name)
    with joined(device) as processes:
        folder = Path(processes.first(str(output_dir)))
        with _locked(folder, processes):
            run = _Run(config, folder, processes, processes.device(device))
            return run.carry_out(settings, command)


@contextmanager
def _locked(folder: Path, processes: Processes) -> Iterator[None]:
    """Keep other runs out of the directory, for all processes that train together."""
    lock = DirectoryLock(folder) if processes.rank == 0 else None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


class _Run:
    """One run: its settings, its pictures, and its place among the processes.

    Raises:
        DataError: There is nothing usable to train with.
    """

    def __init__(
        self, config: TrainConfig, folder: Path, processes: Processes, device: torch.device
    ) -> None:
        self._config, self._folder = config, folder
        self._processes, self._device = processes, device
        self._state = None if config.preview else _state_to_resume(config, folder)
        self._learned, self._held_out = load_pictures(config.data)

    def carry_out(self, settings: dict[str, Any], command: str) -> bool:
        """Do what the settings ask for; returns whether all was done."""
        if self._config.preview:
            self.preview()
        elif self._config.validate_only:
            self.validate()
        else:
            return self.train(settings, command)
        return True

    def preview(self) -> None:
        """Write a sheet of the composites that the training would begin with."""
        write_sheet(self._folder / SHEET_FILE, self._batches().samples(), self._config.preview)

    def validate(self) -> None:
        """Score the checkpoint, and the best difference key, on the validation set."""
        items = self._items()
        network = create_network(self._config).to(self._device).eval()
        key, _ = difference_key(items)
        table, mattes = validate(network, items, self._device)
        Journal(self._folder).add({"step": 0, "difference_key": key, "validation": table})
        write_mattes(self._folder / MATTES_FILE, items, mattes)
        log.info("difference key: %s", in_words(key))
        log.info("checkpoint: %s", in_words(table))
        log.info("all scores in %s", self._folder / METRICS_FILE)

    def train(self, settings: dict[str, Any], command: str) -> bool:
        """Train until the last step, or until asked to end; returns which."""
        config, processes = self._config, self._processes
        torch.manual_seed(config.seed)
        network = create_network(config).to(self._device)
        precision = choose_precision(config.precision.name, self._device)
        log.info("training in %s on %s", str(precision).removeprefix("torch."), self._device)
        trainer = Trainer(
            network, config.stage, precision, config.seed, processes.rank, processes.world
        )
        if self._state is not None:
            trainer.load_state(self._state)
        duties = self._duties(trainer, settings, command)
        workers = default_threads() if config.data.workers is None else config.data.workers
        with StopRequest(promise="the state is saved first", same_s=_SAME_SIGNAL_S) as stop:
            batches = batches_from(self._batches(), trainer.steps_done, config.stage.steps, workers)
            finished = run_steps(trainer, batches, duties, lambda: processes.any(bool(stop)))
        duties.finish(finished)
        return finished

    def _duties(self, trainer: Trainer, settings: dict[str, Any], command: str) -> Duties:
        """What is done beside the steps: all by the first process."""
        if self._processes.rank:
            return NoDuties(self._config)
        items = self._items()
        facts = {
            "versions": describe_versions(),
            "machine": describe_machine(self._device),
        }
        key, _ = difference_key(items)
        card = CardFacts(command, settings, facts, self._learned, self._held_out, key)
        log.info("difference key, mean absolute error x1000: %s", in_words(key))
        return RunDuties(self._config, self._folder, trainer, items, card, self._state)

    def _batches(self) -> Batches:
        stage = self._config.stage
        composer = Composer(
            self._learned.foregrounds, self._learned.backgrounds, self._config.composites
        )
        sizes = [(height, width) for height, width in stage.sizes]
        return Batches(composer, sizes, stage.pixels, self._config.seed, self._processes.rank)

    def _items(self) -> list[Item]:
        part, config = self._held_out, self._config
        return make_items(part.foregrounds, part.backgrounds, config.composites, config.validation)


def _state_to_resume(config: TrainConfig, folder: Path) -> dict[str, Any] | None:
    """The state that an earlier run has left, if it is to go on."""
    path = folder / STATE_FILE
    if not path.is_file() or config.on_existing is OnExisting.overwrite:
        return None
    if config.on_existing is not OnExisting.resume:
        raise ConfigError(
            f"{folder} holds a training already; go on with it by on_existing=resume, begin "
            "anew by on_existing=overwrite, or choose another output_dir"
        )
    return read_state(path)
