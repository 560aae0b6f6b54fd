"""Where bgm's own files are."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def conf_directory() -> Path:
    """The YAML files: inside an installed package, at the top of a checkout."""
    installed = _PACKAGE / "conf"
    return installed if installed.is_dir() else _PACKAGE.parent / "conf"
