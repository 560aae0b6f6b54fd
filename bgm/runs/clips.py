"""What is peculiar to a run over clips: its plan, what of it is done, its frames one by one."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bgm.config.schema import Config, OnExisting, Unmatched
from bgm.config.video import parse_rate
from bgm.data import Pair, read_ahead
from bgm.data.datasets import Sample
from bgm.data.video.clip import ClipInfo, Frame, Range
from bgm.data.video.container import VideoFile
from bgm.data.video.find import Reading, Shot, find_shots
from bgm.data.video.points import parse_point
from bgm.data.video.reel import Preparing, Reel
from bgm.errors import BgmError, ConfigError, DataError
from bgm.inference.predictor import check_pair
from bgm.layers import LayerSpec
from bgm.outputs import output_path
from bgm.outputs.video.encoder import UNFINISHED
from bgm.outputs.video.sink import ClipPlan, StoredClip, VideoSink, video_path
from bgm.outputs.video.sound import SoundSource
from bgm.records.directory import IMAGES_FILE, RUN_FILE, RunDirectory
from bgm.records.fingerprints import fingerprint
from bgm.records.record import ImageRecord
from bgm.storage import is_url

log = logging.getLogger(__name__)

_AHEAD = 3  # frames that are held ready


@dataclass(frozen=True)
class PlannedClip:
    """A clip, known well enough to begin with it.

    Attributes:
        shot: The clip with its plate and truths.
        info: What it says of itself.
        wanted: Which of its frames.
    """

    shot: Shot
    info: ClipInfo
    wanted: Range

    @property
    def name(self) -> str:
        """What it is called."""
        return self.shot.name


def plan_clips(config: Config) -> tuple[list[PlannedClip], list[ImageRecord]]:
    """Find the clips of a run and look into each.

    Returns:
        The clips that can be begun with, and records of the others.

    Raises:
        BgmError: There is none, or none can be read; it says why.
    """
    data = config.data
    for key in ("data.src", "data.bgr", "data.pha", "data.fgr", "data.trimap", "output_dir"):
        place = getattr(data, key[5:]) if key.startswith("data.") else config.output_dir
        if place is not None and is_url(str(place)):
            raise ConfigError(f"{key}={place}: clips are read and written on this machine only")
    reading = Reading(
        rate=parse_rate(data.frame_rate),
        deinterlace=data.deinterlace.name,
        max_pixels=round(data.max_megapixels * 1e6),
        workers=data.workers or 2,
        skip_gaps=data.unmatched is Unmatched.skip,
    )
    truths = {
        kind: Path(path)
        for kind in ("pha", "fgr", "trimap")
        if (path := getattr(data, kind)) is not None
    }
    shots, leftovers = find_shots(
        Path(data.src), data.bgr, truths, reading, skip_unmatched=reading.skip_gaps
    )
    others = [ImageRecord(name, "unmatched", why) for name, why in leftovers.items()]
    start, end = (
        None if text is None else parse_point(f"data.{key}", text)
        for key, text in (("start", data.start), ("end", data.end))
    )
    planned: list[PlannedClip] = []
    errors: list[BgmError] = []
    for shot in shots:
        try:
            planned.append(_look_into(shot, Range(start, end, data.stride)))
        except BgmError as error:
            errors.append(error)
            others.append(ImageRecord(shot.name).fail(str(error)))
    if not planned:
        raise errors[0] if errors else DataError("no clip has a background")
    return planned, others


def _look_into(shot: Shot, wanted: Range) -> PlannedClip:
    info = shot.clip.probe()
    resolved = wanted.resolve(info)
    if resolved.expected(info) == 0:
        raise ConfigError(
            f"{shot.clip.path} has no frame between data.start and data.end (it is "
            f"{info.seconds or 0:g} s long)"
        )
    shot.plate.check(info, resolved)
    return PlannedClip(shot, info, resolved)


@dataclass
class ClipWork:
    """What is left to do of the clips, and what becomes of them.

    Attributes:
        clips: The clips to matte, with the frames that are done already by their names.
        specs: How each layer is stored.
        config: The settings.
        facts: What was read and written, a record for each clip.
    """

    clips: list[tuple[PlannedClip, set[str]]]
    specs: list[LayerSpec]
    config: Config
    facts: list[dict[str, Any]] = field(default_factory=list)
    _begun: dict[str, tuple[PlannedClip, float]] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """About how many frames there are to matte."""
        return sum(
            max(0, (clip.wanted.expected(clip.info) or 0) - len(done)) for clip, done in self.clips
        )

    def sink(self, root: Path, earlier: dict[str, list[str]]) -> VideoSink:
        """What keeps the layers."""
        outputs = self.config.outputs
        return VideoSink(root, self.specs, outputs.formats, outputs.png_level, self._note, earlier)

    def items(self, sink: VideoSink) -> Generator[tuple[Sample | Exception, Pair], None, None]:
        """Every frame with what belongs to it, decoded ahead; the sink is told of each."""
        for clip, done in self.clips:
            started = time.perf_counter()
            zero: int | None = None
            try:
                with closing(read_ahead(self._samples(clip), _AHEAD)) as frames:
                    for frame, pair, sample in frames:
                        if zero is None:
                            # A part begins with its first frame, a whole clip where it began.
                            zero = 0 if clip.wanted.start is None else frame.time
                            self._begun[clip.name] = (clip, started)
                            sink.begin(self._plan(clip, zero))
                        if pair.name in done:
                            continue
                        sink.expect(pair.name, self._moved(clip, frame, zero))
                        yield sample, pair
            except BgmError as error:  # of the clip, not of a frame
                path = clip.shot.inputs()["src"]
                yield error, Pair(clip.name, path, path)
            if zero is not None:
                sink.end()

    def _moved(self, clip: PlannedClip, frame: Frame, zero: int) -> Frame:
        """The frame at its time in the files, shown for those that are left out behind it."""
        duration = frame.duration and frame.duration * clip.wanted.stride
        return replace(frame, time=frame.time - zero, duration=duration)

    def _samples(self, clip: PlannedClip) -> Generator[Any, None, None]:
        data = self.config.data
        align = "off" if not data.align else "frames" if data.align == "frames" else "clip"
        preparing = Preparing(align, data.resize_background, self.config.outputs.metadata)
        with closing(Reel(clip.shot, clip.wanted, preparing, clip.info.time_base).run()) as frames:
            for frame, pair, sample in frames:
                yield frame, pair, _checked(sample)

    def _plan(self, clip: PlannedClip, zero: int) -> ClipPlan:
        info, wanted = clip.info, clip.wanted
        sound = None
        if self.config.outputs.audio and info.audio and isinstance(clip.shot.clip, VideoFile):
            is_part = wanted.end is not None
            sound = SoundSource(clip.shot.clip.path, zero * info.time_base, is_part)
        shown = replace(info, rate=info.rate / wanted.stride)
        return ClipPlan(clip.name, shown, wanted.timecode(info), sound)

    def _note(self, stored: StoredClip) -> None:
        """Keep what became of a clip for the run's records."""
        clip, begun = self._begun.pop(stored.name)
        seconds = time.perf_counter() - begun
        info = clip.info
        self.facts.append(
            {
                "name": clip.name,
                "src": str(clip.shot.clip.path),
                "plate": clip.shot.plate.describe(),
                "inputs": {
                    kind: fingerprint(path).sha256 for kind, path in clip.shot.inputs().items()
                },
                "width": info.size[0],
                "height": info.size[1],
                "rate": str(info.rate),
                "time_base": str(info.time_base),
                "pixel_aspect": str(info.aspect),
                "timecode": info.timecode,
                "audio": list(info.audio),
                **info.facts,
                "whole": stored.whole,
                "error": stored.error,
                "frames": stored.frames,
                "repeated": stored.repeated,
                "files": stored.files,
                "seconds": round(seconds, 3),
                "frames_per_second": round(stored.frames / seconds, 3) if seconds else 0.0,
            }
        )
        if not stored.whole and stored.files:
            names = ", ".join(file["file"] for file in stored.files.values())
            log.warning("%s is not whole; what was done is in %s", clip.name, names)


def _checked(sample: Sample | Exception) -> Sample | Exception:
    if isinstance(sample, Sample):
        try:
            check_pair(sample.src, sample.bgr)
        except DataError as error:
            return error
    return sample


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
