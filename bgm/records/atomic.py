"""The one way files get their names: whole and on disk first, renamed last."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from bgm.errors import write_error

PARTIAL_SUFFIX = ".part"
"""Ends the name of a file that is not whole yet."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name beside its own, then rename it.

    Whoever looks sees the file that was there before, or the new one; never a part of it.

    Args:
        path: Its name; directories on the way are made.
        data: What it holds.

    Raises:
        WriteError: It could not be written; nothing is left behind.
    """
    partial = path.with_name(f".{uuid.uuid4().hex[:12]}{PARTIAL_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # or a power cut could leave an empty file of that name
            os.replace(partial, path)  # noqa: PTH105 - replaces an existing file everywhere
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
