"""The file a training goes on from: whole on disk before it gets its name."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from bgm.errors import CheckpointError, write_error

STATE_FILE = "training.pt"
_VERSION = 1


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state beside the old one and put it in its place.

    Raises:
        WriteError: It cannot be written; the old one is still there.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            torch.save({"version": _VERSION, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise write_error(path, error) from error


def read_state(path: Path) -> dict[str, Any]:
    """Read a state; code in it is refused, never run.

    Raises:
        CheckpointError: It cannot be read, or is of another version.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise CheckpointError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    if state.get("version") != _VERSION:
        raise CheckpointError(
            f"{path} was written by another version of bgm; start from its weights instead: "
            f"checkpoint={path.parent}/last/..."
        )
    return state
