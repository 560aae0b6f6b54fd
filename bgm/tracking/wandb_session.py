"""One run in Weights & Biases: begun without questions, kept in one directory, always ended."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgm.data.png import encode_png
from bgm.tracking.base import TrackerSettings
from bgm.tracking.wandb_sync import command, send, unsent_parts, unsent_runs

log = logging.getLogger(__name__)

_LONGEST_TAG = 64


class WandbSession:
    """A W&B run; W&B's own environment variables win over the settings.

    Args:
        settings: What is said about the run.
        folder: Where W&B keeps its files, unless its environment says otherwise.
        config: The settings to show, as nested plain values.
        identity: The run's; one that is known already goes on. None for a new run.

    Attributes:
        wandb: The module.
        run: The run, to log to.
    """

    def __init__(
        self,
        settings: TrackerSettings,
        folder: Path,
        config: dict[str, Any],
        identity: str | None = None,
    ) -> None:
        import wandb  # slow to import, and not needed by runs that are not logged to it

        # It would import pandas, where that is installed, to see that no figure is a table of it.
        wandb.util.pd_available = False
        self.wandb = wandb
        self._sync = settings.sync
        folder = Path(_given("DIR") or folder).absolute()
        mode = _given("MODE") or settings.mode
        self._environment = _Environment(folder / "wandb", is_offline=mode != "online")
        try:
            arguments = {**self._arguments(settings, folder, mode), "config": config}
            arguments |= {"id": _given("RUN_ID") or identity, "resume": _given("RESUME") or "allow"}
            with _no_launch():
                self.run: Any = wandb.init(**arguments)
        except BaseException:
            self._environment.restore()
            raise

    @contextmanager
    def pictures(self) -> Iterator[Callable[..., Any]]:
        """Lends what makes pictures to log: of RGB pixels, (H, W, 3), uint8, and W&B's options.

        They have to be logged before it ends. Made by W&B, a PNG takes forty times as long.
        """
        with TemporaryDirectory(prefix="bgm-") as folder:

            def picture(pixels: NDArray[np.uint8], **options: Any) -> Any:
                path = Path(folder) / f"{uuid.uuid4().hex}.png"
                path.write_bytes(encode_png(pixels))
                return self.wandb.Image(str(path), **options)

            yield picture

    def finish(self, exit_code: int, jobs: Sequence[Path] = ()) -> None:
        """End the run; if it was kept offline, send it or say how, as the settings want it.

        Args:
            exit_code: How it ended.
            jobs: Directories of runs that were kept offline before, to be named too.
        """
        identity, folder = self.run.id, Path(self.run.dir).parent.parent
        try:
            self.run.finish(exit_code=exit_code)
        finally:
            self._environment.restore()
        if self.run.offline and not self.run.disabled:
            self._conclude(unsent_parts(folder, identity), jobs)

    def _conclude(self, parts: Sequence[Path], jobs: Sequence[Path]) -> None:
        how = command([*parts, *unsent_runs(jobs)])
        if self._sync == "none":
            what = "this sweep" if jobs else "this run"
            log.info("W&B kept %s offline; to send it: %s", what, how)
        elif send(parts):
            log.info("W&B has this run: %s", ", ".join(part.name for part in parts))
        else:
            log.warning("W&B did not take this run (is this machine logged in?); try: %s", how)

    def _arguments(self, settings: TrackerSettings, folder: Path, mode: str) -> dict[str, Any]:
        """What W&B is told; given one by one, for it looks at its environment only once."""
        named = _given("TAGS")
        tags = settings.tags if named is None else named.split(",")
        quiet = self.wandb.Settings(silent=True, console="off")
        if mode == "online" and not self._may_log_in(quiet):
            mode = "offline"
            log.warning(
                "no API key of W&B, so the run is kept on disk (tracking.mode=offline); `wandb "
                "login` or WANDB_API_KEY logs in"
            )
        return {
            "project": _given("PROJECT") or settings.project,
            "name": _given("NAME") or settings.name,
            "group": _given("RUN_GROUP") or settings.group,
            "job_type": _given("JOB_TYPE") or settings.job_type,
            "tags": [tag[:_LONGEST_TAG] for tag in tags if tag],
            "dir": str(folder),
            "mode": mode,
            "reinit": "create_new",
            "settings": quiet,
        }

    def _may_log_in(self, quiet: Any) -> bool:
        """Whether there is a key, or what else stands for one; W&B itself would ask for it."""
        self.wandb.setup(settings=quiet)
        return bool(self.wandb.login(prompt=False))


class _Environment:
    """Keeps W&B's files in the run's own directory, and empty variables from meaning anything.

    W&B has no other settings for it than variables of the environment; those that are set win.

    Args:
        folder: Where its files go.
        is_offline: Whether nothing shall be sent. W&B then reports on itself all the same, and
            waits for that at the end of the process; and it need not know what the person has
            configured for all runs.
    """

    def __init__(self, folder: Path, *, is_offline: bool) -> None:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            if not os.environ[name]:
                del os.environ[name]
        parts = ["DATA", "CACHE", "CONFIG"] if is_offline else ["DATA", "CACHE"]
        wanted = {f"WANDB_{part}_DIR": str(folder / part.lower()) for part in parts}
        wanted |= {"WANDB_ERROR_REPORTING": "false"} if is_offline else {}
        self._own = {name: value for name, value in wanted.items() if name not in os.environ}
        os.environ.update(self._own)

    def restore(self) -> None:
        """Leave the places to the next run of the process."""
        for name in self._own:
            os.environ.pop(name, None)


@contextmanager
def _no_launch() -> Iterator[None]:
    """Spare a run the import of W&B Launch, a quarter of a second of the processor.

    Each run asks it for inputs that the program has staged. Unless it is imported already, there
    are none; and there is no setting for not asking.
    """
    asked = "wandb.sdk.launch.inputs.internal"
    if asked in sys.modules:
        yield
        return
    stand_in: Any = ModuleType(asked)
    stand_in.StagedLaunchInputs = lambda: SimpleNamespace(apply=lambda run: None)
    sys.modules[asked] = stand_in
    try:
        yield
    finally:
        sys.modules.pop(asked, None)


def _given(name: str) -> str | None:
    """A variable of the environment for W&B; an empty one counts as not set."""
    return os.environ.get(f"WANDB_{name}") or None
