"""From a setting to a path, on this machine or not."""

from __future__ import annotations

import re
from pathlib import Path

from bgm.errors import ConfigError
from bgm.storage.remote import RemotePath

_EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "azure"),
    "memory": None,
}
"""Which extra each scheme needs. All of these store an object by one put."""

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_CREDENTIALS = re.compile(
    r"://[^/@]*:[^/]*@|[?&][\w-]*(sig|token|secret|password|key)[\w-]*=", re.IGNORECASE
)


def is_url(text: str) -> bool:
    """Whether a setting names a place on remote storage, or would like to."""
    return _URL.match(text) is not None


def locate(text: str | Path) -> Path:
    """The path that a setting means; `~` is the home directory."""
    if isinstance(text, Path):
        return text
    return RemotePath(text) if is_url(text) else Path(text).expanduser()


def check_place(key: str, url: str) -> None:
    """Refuse a place that cannot be reached from here, whatever is stored there.

    Raises:
        ConfigError: Its scheme is unknown or needs an extra, or it holds credentials.
    """
    if holds_credentials(url):
        raise ConfigError(
            f"{key}: a path with credentials in it would stand in records and logs; leave them to "
            "the environment or the files of the storage's own tools"
        )
    scheme, _, rest = url.partition("://")
    if scheme not in _EXTRAS:
        known = ", ".join(f"{name}://" for name in _EXTRAS)
        raise ConfigError(f"{key}={url}: no such storage; there are {known} and local paths")
    if not rest.strip("/"):
        raise ConfigError(f"{key}={url}: there is no bucket in it; such as {scheme}://bucket/path")
    import fsspec

    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError:
        raise ConfigError(
            f"{key}={url}: {scheme}:// needs an extra: pip install 'bgm[{_EXTRAS[scheme]}]'"
        ) from None


def holds_credentials(text: str) -> bool:
    """Whether a text has a path in it that tells a password, a key or a signature."""
    return _CREDENTIALS.search(text) is not None


def working_folder(url: str) -> str:
    """Where on this machine a run keeps its log and records while it writes to remote storage."""
    scheme, _, rest = url.partition("://")
    return str(Path("outputs", "remote", scheme, *filter(None, rest.split("/"))))
