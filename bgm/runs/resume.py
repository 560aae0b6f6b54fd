"""What of a run is done already, and whether its settings are still the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from bgm.config.identity import relevant
from bgm.config.schema import Config, OnExisting, to_plain
from bgm.data import Pair, Pairs
from bgm.errors import ConfigError, RecordError
from bgm.networks.checkpoints import CheckpointInfo
from bgm.outputs import output_path
from bgm.records.atomic import PARTIAL_SUFFIX
from bgm.records.directory import IMAGES_FILE, RUN_FILE, RunDirectory
from bgm.records.record import ImageRecord
from bgm.runs.clip_resume import split_clips
from bgm.runs.clips import ClipWork
from bgm.runs.plan import Plan
from bgm.storage import RemotePath, is_remote, list_objects, locate

_LISTED = 5

_DONE = ("written", "skipped")


def split(
    plan: Plan, directory: RunDirectory, checkpoint: CheckpointInfo | None
) -> tuple[Pairs, list[ImageRecord], ClipWork | None]:
    """Apply `on_existing`: tell what is to be done from what needs no work.

    Args:
        plan: What is asked for.
        directory: Where it goes, and where an earlier run may have written.
        checkpoint: The weights.

    Returns:
        The pairs to matte, and records of the others, with what an earlier run knew about them;
        of clips what there is to do of those.

    Raises:
        ConfigError: There are outputs and that is an error, or they are of another run.
    """
    policy = plan.config.on_existing
    if policy is OnExisting.resume:
        check_same_settings(directory, to_plain(plan.config), checkpoint)
    if plan.clips is not None:
        work, settled = split_clips(plan.config, plan.clips, plan.specs, directory)
        return Pairs(), settled, work
    if policy is OnExisting.overwrite:
        return plan.pairs, [], None
    if policy is OnExisting.error:
        refuse_existing(plan, directory)
        return plan.pairs, [], None
    records = directory.read_records()
    wanted = set(plan.pairs.names)
    todo, done = [], []
    exists = _existing(directory.path)
    for pair in chain(plan.pairs, plan.others):
        record = records.get(pair.name, ImageRecord(pair.name))
        paths = {spec.type: output_path(directory.path, spec, pair.name) for spec in plan.specs}
        is_there = all(map(exists, paths.values()))
        if is_there and (policy is OnExisting.skip or _is_done(record, pair)):
            files = {kind: p.relative_to(directory.path).as_posix() for kind, p in paths.items()}
            done.append(replace(record, status="skipped", error=None, files=files))
        elif pair.name in wanted:
            todo.append(pair.name)
    return plan.pairs.only(todo), done, None


def refuse_existing(plan: Plan, directory: RunDirectory) -> None:
    """Refuse to write where there are outputs already.

    Raises:
        ConfigError: It names the first of them.
    """
    root = directory.path
    outputs = (output_path(root, spec, name) for name in plan.pairs.names for spec in plan.specs)
    files = chain(outputs, (root / IMAGES_FILE, root / RUN_FILE))
    found = list(filter(_existing(root), files))
    if found:
        names = ", ".join(path.relative_to(root).as_posix() for path in found[:_LISTED])
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise ConfigError(
            f"output_dir={root} already has {names}{more}; choose another output_dir, "
            "on_existing=resume, on_existing=skip or on_existing=overwrite"
        )


def _existing(root: Path) -> Callable[[Path], bool]:
    """What tells whether an output exists; on remote storage by one listing, taken now."""
    if not isinstance(root, RemotePath):
        return Path.exists
    found = set(map(str, list_objects(root)))
    return lambda path: str(path) in found


def check_same_settings(
    directory: RunDirectory, config: Mapping[str, Any], checkpoint: CheckpointInfo | None
) -> None:
    """Refuse to go on with a run under other settings than it was begun with.

    A setting that the run did not know is taken to have had its default.

    Args:
        directory: The run's directory.
        config: The settings now, as nested plain values.
        checkpoint: The weights now.

    Raises:
        ConfigError: Settings or weights differ; it names them.
    """
    try:
        run = directory.read_run()
    except RecordError as error:
        raise ConfigError(
            f"on_existing=resume: {error}, so it does not tell the settings of the run; choose "
            "on_existing=overwrite or another output_dir"
        ) from None
    if run is None:
        return
    before, now = {**relevant(to_plain(Config)), **relevant(run.config)}, relevant(config)
    differences = [
        f"  {key}: was {before.get(key)}, is {now[key]}"
        for key in sorted(now)
        if before.get(key) != now[key]
    ]
    weights = run.checkpoint_sha256
    if checkpoint is not None and weights is not None and weights != checkpoint.sha256:
        differences.append(f"  checkpoint: {checkpoint.path} is not the file that the run had")
    if differences:
        raise ConfigError(
            "on_existing=resume, but these settings are not those the run was begun with:\n"
            + "\n".join(differences)
            + "\nGo on with the old ones, choose another output_dir, or on_existing=overwrite"
        )


def _is_done(record: ImageRecord, pair: Pair) -> bool:
    """Whether an image was written, from files that are still the same."""
    inputs = record.inputs
    truths = [file for kind, file in inputs.items() if kind not in ("src", "bgr")]
    return (
        record.status in _DONE
        and record.error is None
        and all(file.is_unchanged(locate(file.path)) for file in truths)
        and all(
            kind in inputs and inputs[kind].is_unchanged(path)
            for kind, path in (("src", pair.src), ("bgr", pair.bgr))
        )
    )


def remove_partial_files(output_dir: Path, types: Sequence[str]) -> None:
    """Remove what a run that was killed left half-written, under temporary names."""
    if is_remote(output_dir):  # where there are no such files
        return
    for path in chain(*((output_dir / kind).rglob(f".*{PARTIAL_SUFFIX}") for kind in types)):
        with suppress(OSError):
            path.unlink()
