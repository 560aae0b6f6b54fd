"""What of a run is done already, and whether its settings are still the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from bgm.data import Pair
from bgm.errors import ConfigError
from bgm.networks.checkpoints import CheckpointInfo
from bgm.outputs import LayerSpec, output_path
from bgm.records.record import ImageRecord
from bgm.tracking.files import RUN_FILE, flatten, read_records

# Settings that change nothing in the files, or only how they are made.
_IRRELEVANT = {
    *("output_dir", "on_existing", "on_error", "repeat", "threads", "checkpoint"),
    *("checkpoints_dir", "outputs.workers"),
    *(f"data.{key}" for key in ("workers", "batch_size", "max_megapixels", "unmatched")),
    *("device.oom",),
}
_DONE = ("written", "skipped")


def check_same_settings(
    output_dir: Path, config: Mapping[str, Any], checkpoint: CheckpointInfo | None
) -> None:
    """Refuse to go on with a run under other settings than it was begun with.

    Args:
        output_dir: The run's directory.
        config: The settings now, as nested plain values.
        checkpoint: The weights now.

    Raises:
        ConfigError: Settings or weights differ; it names them.
    """
    path = output_dir / RUN_FILE
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        before = dict(flatten(old["config"]))
        weights = (old.get("checkpoint") or {}).get("sha256")
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"on_existing=resume: {path} does not tell the settings of the run ({error!r}); choose "
            "on_existing=overwrite or another output_dir"
        ) from None
    now = dict(flatten(config))
    differences = [
        f"  {key}: was {before.get(key)}, is {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
        and key not in _IRRELEVANT
        and key.split(".")[0] != "tracking"
    ]
    if checkpoint is not None and weights is not None and weights != checkpoint.sha256:
        differences.append(f"  checkpoint: {checkpoint.path} is not the file that the run had")
    if differences:
        raise ConfigError(
            "on_existing=resume, but these settings are not those the run was begun with:\n"
            + "\n".join(differences)
            + "\nGo on with the old ones, choose another output_dir, or on_existing=overwrite"
        )


def split_done(
    pairs: Sequence[Pair], specs: Sequence[LayerSpec], output_dir: Path
) -> tuple[list[Pair], list[ImageRecord]]:
    """Tell what is to be done from what is done.

    Returns:
        The pairs to matte, and the records of the others: those that were written from the same
        files, and of which every output is there.
    """
    records = read_records(output_dir)
    todo, done = [], []
    for pair in pairs:
        record = records.get(pair.name)
        if record is not None and _is_done(record, pair, specs, output_dir):
            done.append(record)
        else:
            todo.append(pair)
    return todo, done


def _is_done(record: ImageRecord, pair: Pair, specs: Sequence[LayerSpec], output_dir: Path) -> bool:
    inputs = record.inputs
    truths = [file for kind, file in inputs.items() if kind not in ("src", "bgr")]
    return (
        record.status in _DONE
        and record.error is None
        and all(file.is_unchanged(Path(file.path)) for file in truths)
        and all(output_path(output_dir, spec, pair.name).exists() for spec in specs)
        and all(
            kind in inputs and inputs[kind].is_unchanged(path)
            for kind, path in (("src", pair.src), ("bgr", pair.bgr))
        )
    )


def remove_partial_files(output_dir: Path, types: Sequence[str], suffix: str) -> None:
    """Remove what a run that was killed left half-written, under temporary names."""
    for path in chain(*((output_dir / kind).rglob(f".*{suffix}") for kind in types)):
        with suppress(OSError):
            path.unlink()
