"""Where bgm's own files are."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGE = Path(__file__).parent


def conf_directory() -> Path:
    """The YAML files: inside an installed package, at the top of a checkout."""
    installed = _PACKAGE / "conf"
    return installed if installed.is_dir() else _PACKAGE.parent / "conf"


def demo_path(part: str) -> str:
    """Path of a part of the shipped demo set, such as `src`; `${bgm.demo:src}` in YAML."""
    return str(_PACKAGE / "assets" / "demo" / part)


def cache_folder() -> Path:
    """Where bgm keeps what it would otherwise make again; whoever empties it loses only time."""
    if sys.platform == "win32":
        cache = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "bgm"
