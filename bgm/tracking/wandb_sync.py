"""Sends runs that were kept offline to Weights & Biases, or says how that is done."""

from __future__ import annotations

import logging
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

_LONGEST_S = 600.0
_NAMED = 4
_OFFLINE = "offline-run-*"
_SENT = ".wandb.synced"
"""How the file ends that W&B leaves beside a run once it was sent."""


def unsent_parts(folder: Path, identity: str) -> list[Path]:
    """The directories of a run that wait to be sent, the oldest first.

    There is one for each time that the run was begun or went on. W&B puts them together if they
    are sent in one command, or one after the other. Of two that began within a second, W&B gives
    the second a name that ends otherwise; the file in it is called after the run all the same.

    Args:
        folder: Where W&B keeps its runs.
        identity: The run's.
    """
    parts = sorted(path.parent for path in folder.glob(f"{_OFFLINE}/run-{identity}.wandb"))
    return [part for part in parts if not _is_sent(part)]


def unsent_runs(folders: Sequence[Path]) -> list[Path]:
    """The same of all runs in the directories of jobs."""
    parts = [part for folder in folders for part in sorted((folder / "wandb").glob(_OFFLINE))]
    return [part for part in parts if not _is_sent(part)]


def command(parts: Sequence[Path]) -> str:
    """The command that sends runs, for people to copy.

    Args:
        parts: The directories of their parts; of many, those that hold them are named.
    """
    program = ["wandb"] if shutil.which("wandb") else [sys.executable, "-m", "wandb"]
    paths = [shlex.quote(_from_here(part)) for part in parts]
    if len(parts) > _NAMED:
        paths = _patterns([part.parent for part in parts])
    return " ".join([shlex.join([*program, "sync"]), *paths])


def _patterns(folders: Sequence[Path]) -> list[str]:
    """Directories in few words, for a shell: those beside each other as a pattern."""
    beside = Counter(folder.parent.parent for folder in dict.fromkeys(folders))
    words: dict[str, None] = {}
    for folder in folders:
        root = folder.parent.parent
        is_one = beside[root] == 1
        text = shlex.quote(_from_here(folder if is_one else root))
        words[text if is_one else f"{text}/*/{folder.name}"] = None
    return list(words)


def send(parts: Sequence[Path]) -> bool:
    """Send runs now; whether W&B has them all.

    Args:
        parts: Their directories.
    """
    paths = [str(part) for part in parts]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", *paths],
            stdin=subprocess.DEVNULL,  # nobody is asked for a key
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_LONGEST_S,
            check=False,
        )
        said = done.stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError) as error:
        said = str(error)
    log.debug("wandb sync: %s", said)
    return all(map(_is_sent, parts))


def _is_sent(part: Path) -> bool:
    return any(part.glob(f"*{_SENT}"))


def _from_here(path: Path) -> str:
    """A path as short as it can be written."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (OSError, ValueError):
        return str(path)
