"""Where bgm's own files are."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def conf_directory() -> Path:
    """The YAML files: inside an installed package, at the top of a checkout."""
    installed = _PACKAGE / "conf"
    return installed if installed.is_dir() else _PACKAGE.parent / "conf"


def demo_path(part: str) -> str:
    """Path of a part of the shipped demo set, such as `src`; `${bgm.demo:src}` in YAML."""
    return str(_PACKAGE / "assets" / "demo" / part)
