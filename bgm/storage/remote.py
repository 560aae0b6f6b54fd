"""Paths on remote storage, and everything bgm asks of fsspec.

An object is read whole and written by one put, which either happened or did not. What goes wrong
is an `OSError` with words, as on a disk, so that whoever can handle a disk can handle a bucket.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePath
from typing import Any, TypeVar

from bgm.errors import BgmError

if sys.platform == "win32":
    from pathlib import WindowsPath as _NativePath
else:
    from pathlib import PosixPath as _NativePath

log = logging.getLogger(__name__)

_PAUSES_S = (0.2, 1.0, 4.0)
"""Before each further attempt, where the storage did not answer as it should."""

_CHANGED = ("LastModified", "last_modified", "mtime", "updated", "created")
"""What file systems call the time of an object's last change."""

_SECRET = ("SECRET", "TOKEN", "PASSWORD", "KEY", "CONNECTION_STRING", "CREDENTIAL")

Answer = TypeVar("Answer")


class StorageError(BgmError, OSError):
    """Remote storage that cannot be reached, does not let us in, or failed again and again."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class RemotePath(_NativePath):
    """A path on remote storage, such as `s3://bucket/photos/1.jpg`.

    Joining, names, suffixes and parents are those of any path. What asks the storage is below;
    whatever else would touch a disk raises, for no system call can take such a path.
    """

    __slots__ = ("_changed_ns", "_size")

    @property
    def scheme(self) -> str:
        """What stands before `://`."""
        return self.parts[0].rstrip(":")

    @property
    def key(self) -> str:
        """What stands behind `://`, the bucket first."""
        return "/".join(self.parts[1:])

    def __str__(self) -> str:
        first, *others = self.parts or ("",)
        return "/".join([f"{first}/" if first.endswith(":") else first, *others])

    def as_posix(self) -> str:
        """The path with forward slashes, as always here."""
        return str(self)

    def __fspath__(self) -> str:
        raise TypeError(f"{self} is not on this machine; `local_copy` makes a file of it")

    def is_absolute(self) -> bool:
        """Whether it begins with its scheme."""
        return bool(self.parts) and self.parts[0].endswith(":")

    def absolute(self) -> RemotePath:
        """The path itself."""
        return self

    def resolve(self, strict: bool = False) -> RemotePath:
        """The path itself; there are no links."""
        return self

    def expanduser(self) -> RemotePath:
        """The path itself; there is no home."""
        return self

    def know(self, size: int, changed_ns: int) -> RemotePath:
        """Keep what a listing told, so that `stat` need not ask: bytes, and the last change."""
        self._size, self._changed_ns = size, changed_ns
        return self

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Size and time of the last change: as its listing told, or else as the storage says now.

        Raises:
            OSError: There is no such object, or the storage cannot be asked.
        """
        told = self
        if not hasattr(self, "_size"):
            info = self._info()
            if info["type"] == "directory":
                raise _missing(self)
            told = _told(str(self), info)
        size, changed_ns = told._size, told._changed_ns
        times = {"st_mtime": changed_ns / 1e9, "st_mtime_ns": changed_ns}
        return os.stat_result((0, 0, 0, 0, 0, 0, size, 0, changed_ns // 10**9, 0), times)

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is an object, or a folder, now.

        Raises:
            StorageError: The storage does not tell.
        """
        return self._kind() is not None

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is an object now."""
        return self._kind() == "file"

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there are objects under this path now."""
        return self._kind() == "directory"

    def read_bytes(self) -> bytes:
        """The whole object.

        Raises:
            OSError: There is none, or it cannot be read.
        """
        data: bytes = _call(self, lambda: _file_system(self.scheme).cat_file(self.key))
        return data

    def read_text(
        self, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> str:
        """The whole object as text, UTF-8 if nothing else is said."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object.

        Raises:
            OSError: It cannot be removed, or there is none and that is not allowed.
        """
        try:
            _call(self, lambda: _file_system(self.scheme).rm_file(self.key))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def glob(self, pattern: str, **options: Any) -> Generator[RemotePath, None, None]:
        """The objects under this path whose relative path matches; `**/` stands for any depth."""
        is_deep = pattern.startswith("**/")
        for path in list_objects(self, depth=None if is_deep else pattern.count("/") + 1):
            name = path.relative_to(self).as_posix()
            anywhere = fnmatchcase(f"/{name}", f"*/{pattern[3:]}")
            if anywhere if is_deep else PurePath(name).match(pattern):
                yield path

    def rglob(self, pattern: str, **options: Any) -> Generator[RemotePath, None, None]:
        """The objects at any depth under this path whose name matches."""
        yield from self.glob(f"**/{pattern}")

    def _info(self) -> Mapping[str, Any]:
        info: Mapping[str, Any] = _call(self, lambda: _file_system(self.scheme).info(self.key))
        return info

    def _kind(self) -> str | None:
        try:
            return str(self._info()["type"])
        except FileNotFoundError:
            return None


def list_objects(root: RemotePath, depth: int | None = None) -> Iterator[RemotePath]:
    """Every object under a path, asked for once and now, with size and time of each.

    Args:
        root: The path; nothing may be there.
        depth: How many parts of the path may follow; None for any.

    Raises:
        StorageError: The storage does not tell.
    """
    system = _file_system(root.scheme)
    if depth is None and hasattr(system, "call_s3"):
        for key, info in _s3_objects(root, system):
            yield _told(f"{root.scheme}://{key}", info)
        return
    try:
        found = _call(root, lambda: system.find(root.key, maxdepth=depth, detail=True))
    except FileNotFoundError:
        return
    for name in sorted(found):
        info = found.pop(name)  # a million of them take a gigabyte
        if not name.endswith("/"):  # an empty object that some tools put for a folder
            yield _told(f"{root.scheme}://{name.lstrip('/')}", info)


def _s3_objects(root: RemotePath, system: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a listing of S3 tells, a page at a time; `find` would hold all pages at once."""
    bucket, prefix, _ = system.split_path(root.key)
    where = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else "", **system.req_kw}
    more = True
    while more:
        try:
            page = _call(root, lambda: system.call_s3("list_objects_v2", **where))
        except FileNotFoundError:
            return
        for item in page.get("Contents", ()):
            if not item["Key"].endswith("/"):
                yield f"{bucket}/{item['Key']}", item
        more = page.get("IsTruncated", False)
        where["ContinuationToken"] = page.get("NextContinuationToken")


def write_object(path: RemotePath, data: bytes) -> None:
    """Store an object by one put: afterwards there is all of it, or what was there before.

    Raises:
        OSError: It could not be stored.
    """
    _call(path, lambda: _file_system(path.scheme).pipe_file(path.key, data))


def _call(path: RemotePath, operation: Callable[[], Answer]) -> Answer:
    """Ask the storage; again if it did not answer as it should, and finally in words."""
    for pause in (*_PAUSES_S, None):
        try:
            return operation()
        except FileNotFoundError:
            raise _missing(path) from None
        except PermissionError:
            why = "access denied; are the credentials there, and do they allow this?"
            raise StorageError(errno.EACCES, why, str(path)) from None
        except Exception as error:  # each library under fsspec has its own
            if "Credentials" in type(error).__name__:
                why = "no credentials; log in as the tools of this storage do"
                raise StorageError(errno.EACCES, why, str(path)) from None
            if pause is None:
                raise StorageError(errno.EIO, _explain(error), str(path)) from None
            log.info("%s: %s; trying again", path, _explain(error))
            time.sleep(pause)
    raise AssertionError("the last attempt raises")


def _missing(path: RemotePath) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "no such object", str(path))


def _explain(error: Exception) -> str:
    """What a library says, on one line and without any secret of the environment."""
    said = str(error).strip().partition("\n")[0]
    for name, value in os.environ.items():
        if len(value) > 3 and any(word in name.upper() for word in _SECRET):
            said = said.replace(value, "***")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _told(url: str, info: Mapping[str, Any]) -> RemotePath:
    """A path, with what its storage told of it."""
    size = info.get("size", info.get("Size"))
    return RemotePath(url).know(int(size or 0), _changed_ns(info))


def _changed_ns(info: Mapping[str, Any]) -> int:
    """When an object was last changed, in nanoseconds; 0 if its storage does not say."""
    value = next((info[name] for name in _CHANGED if info.get(name)), None)
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
    return int(value * 1e9) if isinstance(value, (int, float)) else 0


@cache
def _file_system(scheme: str) -> Any:
    """The file system of a scheme, one for the process; its listings are never remembered."""
    import fsspec

    options = {"session": _s3_session()} if scheme in ("s3", "s3a") else {}
    return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True, **options)


def _s3_session() -> Any:
    """A session that knows how S3 writes dates.

    botocore tries every way there is, which is more than half of its work on a listing.
    """
    from aiobotocore.session import AioSession
    from botocore.utils import parse_timestamp

    def parse(value: Any) -> datetime:
        if isinstance(value, str) and value.endswith("Z"):
            with suppress(ValueError):
                return datetime.fromisoformat(f"{value[:-1]}+00:00")
        parsed: datetime = parse_timestamp(value)
        return parsed

    session = AioSession()
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse)
    return session


def is_remote(path: Path) -> bool:
    """Whether a path is not on this machine."""
    return isinstance(path, RemotePath)
