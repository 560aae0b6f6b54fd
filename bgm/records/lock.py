"""Lets only one run at a time write into a directory."""

from __future__ import annotations

import logging
from pathlib import Path

from filelock import FileLock, Timeout

from bgm.errors import ConfigError

log = logging.getLogger(__name__)

LOCK_FILE = ".bgm.lock"


class DirectoryLock:
    """A lock on a run's directory, which the system releases if the process dies.

    Args:
        folder: The directory, which exists.

    Raises:
        ConfigError: Another run writes there.
    """

    def __init__(self, folder: Path) -> None:
        self._lock: FileLock | None = FileLock(folder / LOCK_FILE)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(
                f"output_dir={folder}: another run is writing there; wait for it, or choose "
                "another directory"
            ) from None
        except (OSError, NotImplementedError) as error:  # some network drives cannot lock
            log.warning("%s cannot be locked against other runs: %s", folder, error)
            self._lock = None

    def release(self) -> None:
        """Let other runs write."""
        if self._lock is not None:
            self._lock.release()  # the file stays: removing it could let two runs in
            self._lock = None
