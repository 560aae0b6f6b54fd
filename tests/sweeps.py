"""What tests of sweeps share: a command that is killed, and the rows of a comparison."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

from bgm.cli import commands as cli


def killing(mark: Path):
    """The command `bgm`, whose second job is killed after its run, the first time."""

    def job(raw):
        code = cli.matte(raw)
        if raw.refine.sample_pixels == 1000 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return code

    return replace(cli.MATTE, job=job)


def rows(folder: Path) -> dict[str, dict]:
    """The runs of a comparison by name."""
    return {run["run"]: run for run in json.loads((folder / "comparison.json").read_text())["runs"]}
