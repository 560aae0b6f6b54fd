"""Finds the parts of a set: photographs, plates and truth under one root."""

from __future__ import annotations

from pathlib import Path

from bgm.data.kinds import is_image, why_missing
from bgm.storage import RemotePath, locate

_NEEDED = ("src", "bgr")


def part_of_set(root: str | None, key: str, name: str | None) -> str | None:
    """Where a part of a set is; `${bgm.part_of_set:...}` in YAML.

    Args:
        root: The directory of the set; None if it is not given yet.
        key: Which part: `src`, `bgr`, `pha`, `fgr` or `trimap`.
        name: Path of the part in it, a directory or a file; also a file's without its ending, on
            this machine. None if there is no such part.

    Returns:
        Its path; None for truth that is not there, unless it was asked for by another name than
        the usual one.
    """
    if root is None or name is None:
        return name if key in _NEEDED else None
    path = locate(root) / name
    if path.exists():
        return str(path)
    if not isinstance(path, RemotePath) and path.parent.is_dir():
        files = [file for file in path.parent.iterdir() if file.stem == path.name]
        images = [file for file in files if is_image(file)]
        if len(images) == 1:
            return str(images[0])
    return str(path) if key in _NEEDED or name != key else None


def why_no_part(root: Path, key: str, name: str) -> str:
    """What to say of a part that is needed and not there.

    Args:
        root: The directory of the set.
        key: Which part.
        name: What it should be called.
    """
    if not root.is_dir():
        return f"data.root={root}: {why_missing(root) if not root.exists() else 'not a directory'}"
    hint = f"; name the one for {key}: data.folders.{key}=..."
    if isinstance(root, RemotePath):
        return f"data.root={root}: nothing is stored under {name}{hint}"
    there = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
    return f"data.root={root}: there is no {name} in it, but {', '.join(there) or 'nothing'}{hint}"
