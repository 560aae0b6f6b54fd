"""The one way files get their names: whole and on disk first, renamed last.

On remote storage, where nothing is ever half there, they are put under their names at once.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from bgm.errors import write_error
from bgm.storage import RemotePath, write_object

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
    write_together({path: data})


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write files that belong together: all of them get their names, or none keeps its own.

    Args:
        files: What each file holds.

    Raises:
        WriteError: One of them could not be written; none is there any more.
    """
    if any(isinstance(path, RemotePath) for path in files):
        _put_together(files)
        return
    partial = {path: path.with_name(f".{uuid.uuid4().hex[:12]}{PARTIAL_SUFFIX}") for path in files}
    named: list[Path] = []
    try:
        for path, data in files.items():
            with in_words(path):
                _write(partial[path], data)
        for path in files:
            with in_words(path):
                os.replace(partial[path], path)  # noqa: PTH105 - replaces everywhere
            named.append(path)
    finally:
        for path in (*partial.values(), *(named if len(named) < len(files) else ())):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _put_together(files: Mapping[Path, bytes]) -> None:
    """As `write_together`, for objects on remote storage."""
    begun: list[RemotePath] = []
    try:
        for path, data in files.items():
            assert isinstance(path, RemotePath), "a run writes to one place"
            begun.append(path)
            with in_words(path):
                write_object(path, data)
    except BaseException:
        for path in begun:  # the last one too: it may be there though no answer came
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Turn what the system has against writing a file into a `WriteError`."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # or a power cut could leave an empty file of its final name
