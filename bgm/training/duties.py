"""What a training run does beside its steps: words, validation, files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bgm.config.training import TrainConfig
from bgm.data.png import encode_png
from bgm.records.atomic import write_atomically
from bgm.training.card import CardFacts, write_card
from bgm.training.journal import Entry, Journal, read_journal
from bgm.training.plots import draw_curves
from bgm.training.result import write_weights
from bgm.training.sheet import arrange, strip
from bgm.training.states import STATE_FILE, save_state
from bgm.training.trackers import TrainingTracker
from bgm.training.trainer import Trainer
from bgm.training.validation import AVERAGE, Grey, Item, Table, validate

log = logging.getLogger(__name__)

MATTES_FILE = "mattes.png"
_MATTES_ACROSS = 4


class RunDuties:
    """The duties of one run.

    Args:
        config: Its settings.
        folder: Its directory.
        trainer: The network in training.
        items: The validation set.
        card: What the model card says.
        state: What an earlier part of the run has left; None at its beginning.

    Raises:
        BgmError: There is no such tracker, or the journal cannot be written.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        trainer: Trainer,
        items: Sequence[Item],
        card: CardFacts,
        state: Mapping[str, Any] | None,
    ) -> None:
        self.every = config.validation.every
        self.log_seconds = config.log_seconds
        self.save_seconds = config.save_minutes * 60
        self._backbone = config.backbone.name.name
        self._folder, self._trainer, self._items, self._card = folder, trainer, items, card
        earlier: Mapping[str, Any] = {} if state is None else state
        self._best: float | None = earlier.get("best")
        settings = dict(card.settings)
        self._tracker = TrainingTracker(config.tracking, folder, settings, earlier.get("tracker"))
        self._journal = Journal(folder, trainer.steps_done)
        if state is None:
            self._write_down({"step": 0, "difference_key": card.key})

    def _write_down(self, entry: Entry) -> None:
        self._journal.add(entry)
        self._tracker.entry(entry)

    def tell(self, entry: Entry) -> None:
        """Say how it goes."""
        self._write_down({**entry, "samples": self._trainer.samples, "hours": self._hours()})
        losses = " ".join(f"{name} {value:.4f}" for name, value in entry["losses"].items() if value)
        steps = self._trainer.stage.steps
        left = (steps - entry["step"]) / max(entry["steps_per_second"], 1e-9)
        log.info(
            "step %d of %d: %s; %.1f samples/s, %.0f %% waiting; %s left",
            *(entry["step"], steps, losses, entry["samples_per_second"]),
            *(100 * entry["waiting"], _in_time(left)),
        )

    def validate(self) -> None:
        """Try the averaged network; keep its weights, and the best ones."""
        trainer = self._trainer
        network, step = trainer.average.network, trainer.steps_done
        table, mattes = validate(network, self._items, trainer.device)
        self._write_down({"step": step, "validation": table})
        log.info("step %d, mean absolute error x1000: %s", step, in_words(table))
        self._keep("last", table)
        mad = table[AVERAGE]["mad"]
        if self._best is None or mad <= self._best:
            self._best = mad
            self._keep("best", table)
        draw_curves(self._folder, read_journal(self._folder))
        strips = write_mattes(self._folder / MATTES_FILE, self._items, mattes)
        self._tracker.mattes(strips, [item.kind for item in self._items], step)

    def _keep(self, what: str, table: Table) -> None:
        """Write the averaged weights, and their card, into a directory of their own."""
        trainer, folder = self._trainer, self._folder / what
        side = trainer.stage.coarse_side
        path = write_weights(folder, trainer.average.network, self._backbone, side)
        text = write_card(
            *(self._card, path.name, table), trainer.steps_done, trainer.samples, self._hours()
        )
        write_atomically(folder / "README.md", text.encode())

    def save(self) -> None:
        """Write the state to go on from."""
        more = {"best": self._best, "tracker": self._tracker.identity}
        state = {**self._trainer.state(), **more, "settings": dict(self._card.settings)}
        save_state(self._folder / STATE_FILE, state)

    def finish(self, finished: bool) -> None:
        """Say how it ended."""
        self._tracker.finish(finished)
        steps = self._trainer.steps_done
        if finished:
            log.info(
                "finished: %d steps, %.2f hours; use the weights with checkpoints_dir=%s",
                *(steps, self._hours(), self._folder / "best"),
            )
        else:
            log.info("stopped after step %d; go on with on_existing=resume", steps)

    def _hours(self) -> float:
        return round(self._trainer.seconds / 3600, 3)


class NoDuties:
    """What the processes do that train along with the first one."""

    def __init__(self, config: TrainConfig) -> None:
        self.every = config.validation.every
        self.log_seconds = config.log_seconds
        self.save_seconds = config.save_minutes * 60

    def tell(self, entry: Entry) -> None:
        """Nothing: the first process does it."""

    def validate(self) -> None:
        """Nothing: the first process does it."""

    def save(self) -> None:
        """Nothing: the first process does it."""

    def finish(self, finished: bool) -> None:
        """Nothing: the first process does it."""


def write_mattes(path: Path, items: Sequence[Item], mattes: Sequence[Grey]) -> list[Any]:
    """Write a sheet of the validation set with its mattes; returns a strip for each.

    Raises:
        WriteError: It cannot be written.
    """
    strips = [
        strip([item.sample.src, item.sample.bgr, item.sample.pha, matte[:, :, None]])
        for item, matte in zip(items, mattes, strict=True)
    ]
    write_atomically(path, encode_png(arrange(strips, _MATTES_ACROSS)))
    return strips


def in_words(table: Table) -> str:
    """The mean absolute errors of all kinds in one line."""
    return ", ".join(f"{kind} {scores['mad']:.1f}" for kind, scores in table.items())


def _in_time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"
