"""Which files a run read: enough to tell later whether they are still the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bgm.storage import local_copy

_CHUNK = 1 << 20
_REMEMBERED = 64  # a plate is shared by many photographs


@dataclass(frozen=True)
class InputFile:
    """One file that an image of a run was made from.

    Attributes:
        path: Where it was.
        sha256: Its SHA-256, in hexadecimal.
        size: Its size in bytes.
        mtime_ns: When it was last changed, in nanoseconds.
    """

    path: str
    sha256: str
    size: int
    mtime_ns: int

    def is_unchanged(self, path: Path) -> bool:
        """Whether a file is this one; it is only read if its size or time differ."""
        try:
            state = path.stat()
            if (state.st_size, state.st_mtime_ns) == (self.size, self.mtime_ns):
                return True
            return state.st_size == self.size and fingerprint(path).sha256 == self.sha256
        except OSError:
            return False


def fingerprint(path: Path) -> InputFile:
    """Identify a file by its content.

    Raises:
        OSError: It cannot be read.
    """
    state = path.stat()
    digest = _sha256(path, state.st_size, state.st_mtime_ns)
    return InputFile(str(path), digest, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=_REMEMBERED)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Hash a file; its size and time are there so that a changed file is hashed again."""
    digest = hashlib.sha256()
    with local_copy(path) as copy, copy.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
