"""Local copies of objects, for everything that reads files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from bgm.errors import BgmError
from bgm.storage.remote import RemotePath

_KEPT = 16  # decoder, hash and metadata each ask for a file; plates serve many photographs


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """A file with the content of a path: itself, or a copy of a remote object, read whole.

    The copy of an object has its name, and goes some time after it is no longer used. Errors that
    name it name the object instead.

    Raises:
        OSError: There is no such object, or it cannot be read.
    """
    if not isinstance(path, RemotePath):
        yield path
        return
    with _COPIES.hold(path) as file:
        try:
            yield file
        except BgmError as error:
            error.args = (str(error).replace(str(file), str(path)),)
            raise


@dataclass
class _Copy:
    lock: Lock = field(default_factory=Lock)
    users: int = 0
    file: Path | None = None


class _Copies:
    """The copies of this process; threads that want the same wait for one of them to read it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._copies: OrderedDict[tuple[str, int, int], _Copy] = OrderedDict()
        self._root: Path | None = None
        self._count = 0

    @contextmanager
    def hold(self, path: RemotePath) -> Iterator[Path]:
        """The copy of one object, as long as it is used."""
        state = path.stat()
        version = (str(path), state.st_size, state.st_mtime_ns)
        with self._lock:
            copy = self._copies.setdefault(version, _Copy())
            self._copies.move_to_end(version)
            copy.users += 1
        try:
            with copy.lock:
                if copy.file is None:
                    copy.file = self._store(path)
            yield copy.file
        finally:
            with self._lock:
                copy.users -= 1
                self._forget()

    def _store(self, path: RemotePath) -> Path:
        data = path.read_bytes()
        with self._lock:
            if self._root is None:
                self._root = Path(tempfile.mkdtemp(prefix="bgm-"))
                atexit.register(shutil.rmtree, self._root, ignore_errors=True)
            self._count += 1
            folder = self._root / str(self._count)
        folder.mkdir()
        file = folder / path.name
        file.write_bytes(data)
        return file

    def _forget(self) -> None:
        """Remove the copies that nobody has asked for longest."""
        idle = [version for version, copy in self._copies.items() if not copy.users]
        for version in idle[: max(0, len(self._copies) - _KEPT)]:
            file = self._copies.pop(version).file
            if file is not None:
                shutil.rmtree(file.parent, ignore_errors=True)


_COPIES = _Copies()
