"""Output to whoever may have stopped listening: `bgm ... | head -1` must not end a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class LenientStream:
    """A text stream that falls silent, instead of raising, once nobody can be written to.

    Args:
        stream: Where the text goes; None if the process was started without.
    """

    def __init__(self, stream: TextIO | None) -> None:
        # The interpreter has no stream object for a descriptor that was closed at its start.
        self._stream: Any = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text, or forget it."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            raise
        except (OSError, ValueError):  # a pipe without a reader, a full disk, a closed file
            self._fall_silent()
        return len(text)

    def flush(self) -> None:
        """Pass on what is buffered, or forget it."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._fall_silent()

    def _fall_silent(self) -> None:
        """Point the descriptor nowhere, so that the interpreter's last flush succeeds too."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def lenient_output() -> Iterator[None]:
    """Let errors of standard output and standard error end nothing."""
    before = sys.stdout, sys.stderr
    lenient: Any = [LenientStream(stream) for stream in before]
    sys.stdout, sys.stderr = lenient
    try:
        yield
    finally:
        for stream in lenient:
            stream.flush()
        sys.stdout, sys.stderr = before


def print_error(message: str) -> None:
    """Say on standard error what is wrong."""
    sys.stderr.write(f"bgm: {message}\n")
