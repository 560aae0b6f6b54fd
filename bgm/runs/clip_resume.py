"""What of a run over clips is done already."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from bgm.config.schema import Config, OnExisting
from bgm.errors import ConfigError
from bgm.layers import LayerSpec
from bgm.outputs import output_path
from bgm.outputs.video.encoder import UNFINISHED
from bgm.outputs.video.sink import video_path
from bgm.records.directory import IMAGES_FILE, RUN_FILE, RunDirectory
from bgm.records.record import ImageRecord
from bgm.runs.clip_plan import PlannedClip
from bgm.runs.clips import ClipWork


def split_clips(
    config: Config, clips: list[PlannedClip], specs: list[LayerSpec], directory: RunDirectory
) -> tuple[ClipWork, list[ImageRecord]]:
    """Apply `on_existing`: tell which clips and frames are to be done.

    Args:
        config: The settings.
        clips: The clips that are asked for.
        specs: How layers are stored.
        directory: Where they go, and where an earlier run may have written.

    Returns:
        What is to be done, and records of what needs no work.

    Raises:
        ConfigError: There are outputs, and that is an error.
    """
    policy = config.on_existing
    videos = [spec for spec in specs if spec.format in config.outputs.formats]
    pictures = [spec for spec in specs if spec.format not in config.outputs.formats]
    if policy is OnExisting.error:
        _refuse_existing(clips, specs, config, directory)
    if policy in (OnExisting.error, OnExisting.overwrite):
        return ClipWork([(clip, set()) for clip in clips], specs, config), []
    recorded = _recorded(directory)
    todo: list[tuple[PlannedClip, set[str]]] = []
    settled: list[ImageRecord] = []
    for clip in clips:
        paths = [clip_path(config, directory.path, spec, clip.name) for spec in videos]
        if not all(path.exists() for path in paths):
            todo.append((clip, set()))
            continue
        kept = [
            record
            for record in recorded[clip.name]
            if policy is OnExisting.skip or _is_unchanged(record, clip)
        ]
        if videos and kept and not pictures:
            settled += [_skipped(record) for record in kept]
            continue
        done = [record for record in kept if _is_stored(record, pictures, directory.path)]
        if videos and len(done) < len(kept):  # a video file cannot be gone on with
            todo.append((clip, set()))
            continue
        settled += [_skipped(record) for record in done]
        if not videos or not kept:
            todo.append((clip, {record.name for record in done}))
    return ClipWork(todo, specs, config), settled


def _refuse_existing(
    clips: list[PlannedClip], specs: list[LayerSpec], config: Config, directory: RunDirectory
) -> None:
    root = directory.path
    outputs = [root / IMAGES_FILE, root / RUN_FILE]
    for clip in clips:
        for spec in specs:
            path = clip_path(config, root, spec, clip.name)
            outputs += [path, path.with_name(f"{path.stem}{UNFINISHED}{path.suffix}")]
    found = [path.relative_to(root).as_posix() for path in outputs if path.exists()]
    if found:
        raise ConfigError(
            f"output_dir={root} already has {', '.join(found[:5])}; choose another output_dir, "
            "on_existing=resume, on_existing=skip or on_existing=overwrite"
        )


def clip_path(config: Config, root: Path, spec: LayerSpec, name: str) -> Path:
    """Where a layer of a clip is: a video file, or the folder of its pictures."""
    form = config.outputs.formats.get(spec.format)
    return root / spec.type / name if form is None else video_path(root, spec, form, name)


def _recorded(directory: RunDirectory) -> dict[str, list[ImageRecord]]:
    """What an earlier run recorded of the frames of each clip."""
    found: dict[str, list[ImageRecord]] = defaultdict(list)
    for record in directory.read_records().values():
        found[record.name.rpartition("/")[0]].append(record)
    return found


def _is_unchanged(record: ImageRecord, clip: PlannedClip) -> bool:
    """Whether a frame was made from the files that are there now."""
    inputs = clip.shot.inputs()
    return bool(record.inputs) and all(
        kind in record.inputs and record.inputs[kind].is_unchanged(path)
        for kind, path in inputs.items()
    )


def _is_stored(record: ImageRecord, pictures: list[LayerSpec], root: Path) -> bool:
    """Whether a frame was written, with all its pictures."""
    return record.status in ("written", "skipped") and all(
        output_path(root, spec, record.name).exists() for spec in pictures
    )


def _skipped(record: ImageRecord) -> ImageRecord:
    return replace(record, status="skipped") if record.status == "written" else record
