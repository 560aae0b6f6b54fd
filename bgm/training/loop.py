"""The loop: step after step, with a word now and then, until the last or until asked to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from bgm.training.batches import Batch
from bgm.training.journal import Entry
from bgm.training.trainer import Trainer


class Duties(Protocol):
    """What is done beside the steps.

    Attributes:
        every: Steps between two validations.
        log_seconds: Time between two words about the losses.
        save_seconds: Time between two savings.
    """

    every: int
    log_seconds: float
    save_seconds: float

    def tell(self, entry: Entry) -> None:
        """Say how it goes."""

    def validate(self) -> None:
        """Try the network."""

    def save(self) -> None:
        """Save the state."""

    def finish(self, finished: bool) -> None:
        """Say how it ended."""


class Meter:
    """Losses since the last word, and where the time went."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start()

    def _start(self) -> None:
        self._began = self._clock()
        self._waited = 0.0
        self._losses: list[dict[str, Tensor]] = []
        self._samples = self._pixels = 0

    @property
    def seconds(self) -> float:
        """Time since the last word."""
        return self._clock() - self._began

    def wait(self, batches: Iterator[Batch]) -> Batch:
        """The next batch, and how long it took to come."""
        before = self._clock()
        batch = next(batches)
        self._waited += self._clock() - before
        return batch

    def count(self, batch: Batch, losses: dict[str, Tensor]) -> None:
        """A step is done."""
        self._losses.append(losses)
        self._samples += len(batch.src)
        self._pixels += batch.pha.numel()

    def word(self) -> Entry:
        """Mean losses and speed since the last word; the count begins anew."""
        seconds = max(self.seconds, 1e-9)
        names = self._losses[0] if self._losses else {}
        means = {name: torch.stack([each[name] for each in self._losses]).mean() for name in names}
        entry = {
            "losses": {name: round(float(mean), 6) for name, mean in means.items()},
            "seconds": round(seconds, 3),
            "steps_per_second": round(len(self._losses) / seconds, 4),
            "samples_per_second": round(self._samples / seconds, 2),
            "pixels_per_second": round(self._pixels / seconds),
            "waiting": round(self._waited / seconds, 3),
        }
        self._start()
        return entry


def run_steps(
    trainer: Trainer, batches: Iterator[Batch], duties: Duties, stop: Callable[[], bool]
) -> bool:
    """Train until the stage's last step.

    Args:
        trainer: The network in training.
        batches: The batches that it has not seen yet.
        duties: What to do beside.
        stop: Whether it is asked to end.

    Returns:
        Whether the last step was reached. The state is saved in both cases.
    """
    meter, saved, last = Meter(), time.monotonic(), trainer.stage.steps
    while trainer.steps_done < last and not stop():
        try:
            batch = meter.wait(batches)
        except RuntimeError:
            if stop():  # whoever ended this process has ended its workers too
                break
            raise
        meter.count(batch, trainer.step(batch))
        over = trainer.steps_done == last
        if meter.seconds >= duties.log_seconds or over:
            word = meter.word()
            trainer.seconds += word["seconds"]
            duties.tell({"step": trainer.steps_done, "rate": trainer.rate, **word})
        if trainer.steps_done % duties.every == 0 or over:
            duties.validate()
            meter = Meter()
        if time.monotonic() - saved >= duties.save_seconds:
            duties.save()
            saved = time.monotonic()
    duties.save()
    return trainer.steps_done == last
