"""Remembers where Hydra lets this process write; Hydra tells callbacks only."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException


class Folders(Callback):
    """The directories of this process's run or sweep.

    Attributes:
        sweep: Where the sweep writes; None if there is none.
        missing: Directories of the run that were not there before it, the innermost first.
    """

    sweep: Path | None = None
    missing: tuple[Path, ...] = ()

    @classmethod
    def forget(cls) -> None:
        """A new command begins."""
        cls.sweep, cls.missing = None, ()

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """A single run begins; Hydra is about to make its directory."""
        with suppress(OmegaConfBaseException, OSError):  # said by the run itself
            folder = Path(config.hydra.run.dir).absolute()
            missing = [path for path in (folder, *folder.parents) if not path.exists()]
            Folders.missing = tuple(missing)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """A sweep begins."""
        with suppress(OmegaConfBaseException):
            Folders.sweep = Path(config.hydra.sweep.dir).absolute()

    @classmethod
    def remove_empty(cls) -> None:
        """Remove the directories that Hydra made for a run which was refused."""
        for path in cls.missing:
            with suppress(OSError):  # something is in it
                path.rmdir()
