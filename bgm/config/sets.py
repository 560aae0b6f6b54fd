"""Settings of test sets: how their folders are called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SetFolders:
    """What the folders of a set are called; a file may stand for a folder, null for none."""

    src: str = "src"
    bgr: str = "bgr"
    pha: str | None = "pha"
    fgr: str | None = "fgr"
    trimap: str | None = "trimap"
