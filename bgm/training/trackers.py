"""Tells Weights & Biases about a training; its troubles are not the training's."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bgm.config.schema import TrackingConfig
from bgm.errors import ConfigError
from bgm.runs.build import FILES_ALONE, tracker_settings
from bgm.tracking.wandb_session import WandbSession
from bgm.training.journal import Entry
from bgm.training.sheet import Pixels

log = logging.getLogger(__name__)


class TrainingTracker:
    """One W&B run, which goes on when the training does; or nothing, with `tracking=files`.

    Args:
        tracking: The settings.
        folder: The run's directory.
        config: All settings as nested plain values.
        identity: The W&B run to go on with; None for a new one.

    Attributes:
        identity: The W&B run's identity.

    Raises:
        ConfigError: There is no tracker of that name for trainings.
    """

    def __init__(
        self, tracking: TrackingConfig, folder: Path, config: dict[str, Any], identity: str | None
    ) -> None:
        if tracking.name not in (FILES_ALONE, "wandb"):
            raise ConfigError(f"tracking.name={tracking.name}: a training has wandb, or files")
        self.identity = identity or uuid.uuid4().hex[:8]
        self._pictures = tracking.samples
        self._session: WandbSession | None = None
        if tracking.name != FILES_ALONE:
            self._try(self._begin, tracking, folder, config)

    def _begin(self, tracking: TrackingConfig, folder: Path, config: dict[str, Any]) -> None:
        settings = tracker_settings(tracking, folder)
        self._session = WandbSession(settings, folder, config, self.identity)
        self._session.run.define_metric("step", hidden=True)
        self._session.run.define_metric("*", step_metric="step")

    def entry(self, entry: Entry) -> None:
        """Log a line of the journal, its numbers by their dotted keys."""
        if self._session is not None:
            self._try(self._session.run.log, dict(_numbers(entry)))

    def mattes(self, strips: Sequence[Pixels], kinds: Sequence[str], step: int) -> None:
        """Log sample mattes, the first of each kind of subject, as many as are wanted."""
        if self._session is None or not self._pictures:
            return
        first = [kinds.index(kind) for kind in dict.fromkeys(kinds)][: self._pictures]
        chosen = [(strips[i], kinds[i]) for i in first]
        self._try(self._log_mattes, self._session, chosen, step)

    def _log_mattes(
        self, session: WandbSession, chosen: Sequence[tuple[Pixels, str]], step: int
    ) -> None:
        with session.pictures() as picture:
            images = [picture(strip, caption=kind) for strip, kind in chosen]
            session.run.log({"step": step, "mattes": images})

    def finish(self, finished: bool) -> None:
        """The training is over, or interrupted."""
        if self._session is not None:
            self._try(self._session.finish, 0 if finished else 1)

    def _try(self, tell: Callable[..., Any], *news: Any) -> None:
        try:
            tell(*news)
        except Exception as error:  # whatever it is, the training matters more
            self._session = None
            log.warning("Weights & Biases stopped working, the training goes on: %s", error)


def _numbers(node: Any, prefix: str = "") -> list[tuple[str, float]]:
    """The numbers among nested values, by keys joined with a slash."""
    if isinstance(node, dict):
        return [pair for key, child in node.items() for pair in _numbers(child, f"{prefix}/{key}")]
    return [(prefix[1:], node)] if isinstance(node, (int, float)) else []
