"""Repeats a finished run from what it left behind: its settings, the hashes of what it read."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bgm.config.schema import Config
from bgm.config.validation import PATHS, parse_config
from bgm.data import describe
from bgm.errors import ConfigError, DataError, RecordError
from bgm.networks.checkpoints import CheckpointInfo
from bgm.records.directory import RUN_FILE, SNAPSHOT, RunDirectory, RunFile
from bgm.records.fingerprints import fingerprint
from bgm.runs.provenance import describe_versions
from bgm.storage import locate

log = logging.getLogger(__name__)


_OWN = ("output_dir", "on_existing", "tracking", "engine", "repeat")
"""Settings of the new run, whatever those of the old one were."""


def load_settings(config: Config, given: Collection[str]) -> Config:
    """Take the settings of a run that is to be repeated.

    Args:
        config: The settings of the new run; `config.repeat` is the old run's directory. Of them
            count where to write, whom to tell, and paths that were given because files moved.
        given: Keys that were set on the command line.

    Raises:
        ConfigError: There is no such run, or a setting was given that would make it another run.
    """
    assert config.repeat is not None
    snapshot = locate(config.repeat) / SNAPSHOT
    if not snapshot.is_file():
        raise ConfigError(
            f"repeat={config.repeat}: it has no {SNAPSHOT}; give the directory of a run, of a "
            "sweep that of one of its jobs"
        )
    for key in given:
        if key.split(".")[0] not in _OWN and key not in PATHS:
            raise ConfigError(
                f"{key} cannot be given with repeat, which takes the settings from "
                f"{snapshot}; only paths, {', '.join(_OWN[:4])} can"
            )
    new = OmegaConf.structured(config)
    old = OmegaConf.create(snapshot.read_text(encoding="utf-8"))
    if not isinstance(old, DictConfig):
        raise ConfigError(f"repeat={config.repeat}: {snapshot} does not hold settings")
    for key in (*_OWN, *(key for key in given if key in PATHS)):
        OmegaConf.update(old, key, OmegaConf.select(new, key), merge=False)
    # Sums depend in their last bits on how many threads share them.
    run = _read_run(RunDirectory(locate(config.repeat)))
    OmegaConf.update(old, "threads", run.facts["machine"]["threads"])
    return parse_config(old, Config)


def check_same(
    repeated: Path,
    inputs: Mapping[str, Mapping[str, Path]],
    checkpoint: CheckpointInfo,
    *,
    of_clips: bool = False,
) -> None:
    """Refuse to repeat a run with another checkpoint or other files than it had.

    Libraries of other versions are logged.

    Args:
        repeated: Directory of the old run.
        inputs: The files that the new run is about to read, by image and kind.
        checkpoint: The weights it is about to use.
        of_clips: Whether these are clips, whose frames are what was recorded.

    Raises:
        DataError: Something differs; it names every file, or the first of many.
    """
    directory = RunDirectory(repeated)
    facts = _read_run(directory).facts
    records = directory.read_records()
    recorded = {
        name.rpartition("/")[0] if of_clips else name: record.inputs
        for name, record in records.items()
        if record.inputs
    }
    differences: dict[str, str] = {}
    weights = facts["checkpoint"]
    if weights["sha256"] != checkpoint.sha256:
        differences["checkpoint"] = (
            f"{checkpoint.path} has SHA-256 {checkpoint.sha256[:12]}, the run had "
            f"{weights.get('path')} with {weights['sha256'][:12]}"
        )
    for name in sorted(recorded.keys() - inputs.keys()):
        differences[name] = "was part of the run, is not there now"
    for name, files in inputs.items():
        if name not in recorded:
            differences[name] = "is there now, was not part of the run (or failed in it)"
            continue
        for kind, path in files.items():
            before = recorded[name].get(kind)
            if before is None or fingerprint(path).sha256 != before.sha256:
                differences[f"{name} ({kind})"] = f"{path} has changed"
    if differences:
        raise DataError(
            f"repeat={repeated}: not the same run\n" + describe(differences, "difference")
        )
    _say_what_else_differs(facts)


def _read_run(directory: RunDirectory) -> RunFile:
    path = directory.path / RUN_FILE
    try:
        run = directory.read_run()
        if run is None:
            raise ConfigError(f"repeat={directory.path}: it has no {RUN_FILE}")
        run.facts["checkpoint"]["sha256"], run.facts["machine"]["threads"]
    except (RecordError, KeyError, TypeError) as error:
        raise ConfigError(
            f"repeat={directory.path}: {path} does not tell what the run was made from ({error!r})"
        ) from None
    return run


def _say_what_else_differs(old: Mapping[str, Any]) -> None:
    """Log versions that are not what they were; alpha may then differ in the last bits."""
    now = describe_versions()
    for library, version in old.get("versions", {}).items():
        if now.get(library) != version:
            log.warning("%s is %s now, the run had %s", library, now.get(library), version)
