"""What a training run does beside its steps: words, validation, files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bgm.config.training import TrainConfig
from bgm.training.journal import Entry, Journal
from bgm.training.result import write_weights
from bgm.training.sheet import arrange, encode_png, strip
from bgm.training.states import STATE_FILE, save_state
from bgm.training.trainer import Trainer
from bgm.training.validation import AVERAGE, Item, Table, difference_key, validate
from bgm.records.atomic import write_atomically

log = logging.getLogger(__name__)


class RunDuties:
    """The duties of one run.

    Args:
        config: Its settings.
        output_dir: Its directory.
        resolved: The settings as nested plain values.
        trainer: The network in training.
        items: The validation set.
        state: What an earlier part of the run has left; None at its beginning.
    """

    def __init__(
        self,
        config: TrainConfig,
        output_dir: Path,
        resolved: dict[str, Any],
        trainer: Trainer,
        items: Sequence[Item],
        state: Mapping[str, Any] | None,
    ) -> None:
        self.every = config.validation.every
        self.log_seconds = config.log_seconds
        self.save_seconds = config.save_minutes * 60
        self._config, self._folder, self._resolved = config, output_dir, resolved
        self._trainer, self._items = trainer, items
        self._best: float | None = None if state is None else state["best"]
        self._seconds: float = 0.0 if state is None else state["seconds"]
        self._journal = Journal(output_dir, trainer.steps_done)
        if state is None:
            table, _ = difference_key(items)
            self._journal.add({"step": 0, "difference_key": table})
            log.info("difference key on the validation set: mad %.2f", table[AVERAGE]["mad"])

    def tell(self, entry: Entry) -> None:
        """Say how it goes."""
        self._seconds += entry["seconds"]
        self._journal.add({**entry, "samples": self._trainer.samples, "hours": self._hours()})
        losses = " ".join(f"{name} {value:.4f}" for name, value in entry["losses"].items())
        left = (self._trainer.stage.steps - entry["step"]) / max(entry["steps_per_second"], 1e-9)
        log.info(
            "step %d of %d: %s; %.1f samples/s, %.0f %% waiting; %.1f hours left",
            *(entry["step"], self._trainer.stage.steps, losses, entry["samples_per_second"]),
            *(100 * entry["waiting"], left / 3600),
        )

    def validate(self) -> None:
        """Try the averaged network; keep its weights, and the best ones."""
        network, step = self._trainer.average.network, self._trainer.steps_done
        table, mattes = validate(network, self._items, self._trainer.device)
        self._journal.add({"step": step, "validation": table})
        log.info("step %d: %s", step, _in_words(table))
        backbone = self._config.backbone.name.name
        write_weights(self._folder / "last", network, backbone)
        mad = table[AVERAGE]["mad"]
        if self._best is None or mad <= self._best:
            self._best = mad
            write_weights(self._folder / "best", network, backbone)
        rows = [
            strip([item.sample.src, item.sample.bgr, item.sample.pha, matte[:, :, None]])
            for item, matte in zip(self._items, mattes, strict=True)
        ]
        write_atomically(self._folder / "mattes.png", encode_png(arrange(rows, 4)))

    def save(self) -> None:
        """Write the state to go on from."""
        more = {"best": self._best, "seconds": self._seconds, "config": self._resolved}
        save_state(self._folder / STATE_FILE, {**self._trainer.state(), **more})

    def finish(self, finished: bool) -> None:
        """Say how it ended."""
        steps = self._trainer.steps_done
        if finished:
            log.info("finished after %d steps, %.1f hours: %s", steps, self._hours(), self._folder)
        else:
            log.info("stopped at step %d; go on with on_existing=resume", steps)

    def _hours(self) -> float:
        return round(self._seconds / 3600, 3)


def _in_words(table: Table) -> str:
    return "mad " + ", ".join(f"{kind} {scores['mad']:.1f}" for kind, scores in table.items())
