"""Keeps the layers of clips: in video files, in numbered pictures, or both.

Frames are stored by several threads at once, in any order; a video file takes them in the order in
which they were announced, in a thread of its own.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition
from typing import Any

from bgm.config.video import VideoFormat
from bgm.data.kinds import is_film
from bgm.data.metadata import Metadata
from bgm.data.processors import give_way
from bgm.data.video.clip import ClipInfo, Frame
from bgm.errors import BgmError, WriteError
from bgm.layers import LayerSpec, Pixels
from bgm.outputs.sinks import PictureFolders
from bgm.outputs.video.encoder import FilePlan, VideoEncoder
from bgm.outputs.video.sound import Sound, SoundSource

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipPlan:
    """What is known of a clip before its first frame is stored.

    Attributes:
        name: What it is called.
        info: How it is timed, and what it says of itself.
        timecode: Of its first frame, or None.
        sound: Where its sound comes from; None for no sound.
    """

    name: str
    info: ClipInfo
    timecode: str | None = None
    sound: SoundSource | None = None


@dataclass
class StoredClip:
    """What became of a clip.

    Attributes:
        name: What it is called.
        whole: Whether all of it is stored, under the final names.
        frames: Frames that were stored, those included that repeat the one before.
        repeated: Frames that were shown once more in the place of damaged ones.
        files: By type where it is, with how it is stored.
        error: Why it is not whole, if that is known.
    """

    name: str
    whole: bool = False
    frames: int = 0
    repeated: int = 0
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: str | None = None


@dataclass
class _Ticket:
    """A frame that was announced, and not stored yet."""

    name: str
    time: int
    duration: int | None
    failed: bool = False


class _Clip:
    """A clip that is being stored."""

    def __init__(self, plan: ClipPlan, lanes: dict[str, _Lane]) -> None:
        self.plan = plan
        self.lanes = lanes
        self.tickets: deque[_Ticket] = deque()
        self.is_over = False
        self.stored = StoredClip(plan.name)
        self.pictures: dict[str, Pixels] = {}


class _Lane:
    """A video file and the one thread that fills it."""

    def __init__(self, encoder: VideoEncoder) -> None:
        self.encoder = encoder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="encode", initializer=give_way)

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        return self._pool.submit(work, *arguments)

    def end(self) -> None:
        self._pool.shutdown(wait=True)


class VideoSink:
    """Video files for each type of layer, and folders of pictures, inside the run's directory.

    Args:
        root: The run's directory.
        specs: How each layer is stored.
        formats: The formats of videos by name.
        png_level: Compression of PNG.
        report: Told of every clip, once all of it is stored or it was given up.
        earlier: Files of earlier runs that give way, by image, relative to `root`.
    """

    def __init__(
        self,
        root: Path,
        specs: Sequence[LayerSpec],
        formats: Mapping[str, VideoFormat],
        png_level: int,
        report: Callable[[StoredClip], None],
        earlier: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._root = root
        self._videos = [spec for spec in specs if spec.format in formats]
        self._formats = formats
        pictures = [spec for spec in specs if spec.format not in formats]
        self._pictures = PictureFolders(root, pictures, png_level, earlier) if pictures else None
        self._picture_types = [spec.type for spec in pictures]
        self._stale: dict[str, set[Path]] = defaultdict(set)
        for name, files in (earlier or {}).items():
            films = {root / file for file in files if is_film(Path(file))}
            self._stale[name.rpartition("/")[0]] |= films
        self._tell = report
        self._clips: deque[_Clip] = deque()
        self._owners: dict[str, _Clip] = {}
        self._turn = Condition()

    def begin(self, plan: ClipPlan) -> None:
        """A clip begins; its frames are announced from now on."""
        lanes = {
            spec.type: _Lane(VideoEncoder(self._plan_file(plan, spec))) for spec in self._videos
        }
        with self._turn:
            self._clips.append(_Clip(plan, lanes))

    def expect(self, name: str, frame: Frame) -> None:
        """Announce the next frame of the clip."""
        with self._turn:
            clip = self._clips[-1]
            clip.tickets.append(_Ticket(name, frame.time, frame.duration))
            self._owners[name] = clip

    def end(self) -> None:
        """All frames of the clip have been announced."""
        with self._turn:
            self._clips[-1].is_over = True
            self._settle()

    def store(
        self, name: str, layers: Mapping[str, Pixels], metadata: Metadata | None = None
    ) -> dict[str, str]:
        """Keep the layers of one frame; waits for those before it."""
        files = {}
        try:
            if self._pictures is not None:
                own = {kind: layers[kind] for kind in self._picture_types}
                files = self._pictures.store(name, own, metadata)
            with self._turn:
                clip = self._owners[name]
                self._turn.wait_for(lambda: self._is_next(clip, name))
                ticket = clip.tickets.popleft()
                del self._owners[name]
                clip.pictures = {kind: layers[kind] for kind in self._picture_types}
                written = [
                    lane.submit(lane.encoder.write, layers[kind], ticket.time, ticket.duration)
                    for kind, lane in clip.lanes.items()
                ]
                clip.stored.frames += 1
                self._settle()
        except BaseException:
            self._fail(name)
            raise
        self._wait(clip, written)
        return files | {
            kind: lane.encoder.plan.path.relative_to(self._root).as_posix()
            for kind, lane in clip.lanes.items()
        }

    def discard(self, name: str) -> None:
        """Show the frame before in the place of one that failed."""
        self._fail(name)

    def close(self) -> None:
        """End what is still open, under names that say that it is not whole."""
        with self._turn:
            while self._clips:
                self._finish(self._clips.popleft(), whole=False)
            self._owners.clear()

    def _plan_file(self, plan: ClipPlan, spec: LayerSpec) -> FilePlan:
        form = self._formats[spec.format]
        sound = None
        if plan.sound is not None and form.audio is not None:
            source, codec = plan.sound, form.audio

            def sound(output: Any) -> Sound:
                return Sound(source, output, codec)

        return FilePlan(
            path=video_path(self._root, spec, form, plan.name),
            format=form,
            info=plan.info,
            timecode=plan.timecode,
            sound=sound,
        )

    def _is_next(self, clip: _Clip, name: str) -> bool:
        first = bool(self._clips) and self._clips[0] is clip
        return first and bool(clip.tickets) and clip.tickets[0].name == name

    def _fail(self, name: str) -> None:
        """Give up one frame, so that those behind it need not wait."""
        with self._turn:
            clip = self._owners.pop(name, None)
            for ticket in () if clip is None else clip.tickets:
                ticket.failed |= ticket.name == name
            self._settle()

    def _settle(self) -> None:
        """Do what has come to the front of the queue without anybody bringing it."""
        while self._clips:
            clip = self._clips[0]
            while clip.tickets and clip.tickets[0].failed:
                self._repeat(clip, clip.tickets.popleft())
            if clip.tickets or not clip.is_over:
                break
            self._clips.popleft()
            self._finish(clip, whole=True)
        self._turn.notify_all()

    def _repeat(self, clip: _Clip, ticket: _Ticket) -> None:
        for lane in clip.lanes.values():
            lane.submit(lane.encoder.repeat, ticket.time, ticket.duration)
        if self._pictures is not None and clip.pictures:
            try:
                self._pictures.store(ticket.name, clip.pictures)
            except BgmError as error:
                log.warning("%s: not repeated from the frame before: %s", ticket.name, error)
        clip.stored.frames += 1
        clip.stored.repeated += 1

    def _wait(self, clip: _Clip, written: list[Future[Any]]) -> None:
        """Wait until a frame is in all files.

        Raises:
            WriteError: It could not be written; its clip is not whole then.
        """
        errors = [error for future in written if (error := future.exception()) is not None]
        if errors:
            clip.stored.error = clip.stored.error or str(errors[0])
            raise errors[0]

    def _finish(self, clip: _Clip, *, whole: bool) -> None:
        """End the files of a clip: all of them get their final names, or none does."""
        stored = clip.stored
        whole = whole and stored.error is None
        ended = {
            kind: lane.submit(lane.encoder.finish_writing, whole)
            for kind, lane in clip.lanes.items()
        }
        for kind, future in ended.items():
            error = clip.lanes[kind].encoder.error or future.exception()
            if error is not None:
                whole, stored.error = False, stored.error or str(error)
        for kind, lane in clip.lanes.items():
            encoder = lane.encoder
            try:
                path = encoder.name(whole=whole)
            except WriteError as unnamed:
                whole, stored.error, path = False, stored.error or str(unnamed), None
            lane.end()
            if path is not None:
                stored.files[kind] = {
                    "file": path.relative_to(self._root).as_posix(),
                    "codec": encoder.plan.format.codec,
                    "pixel_format": encoder.pixel_format,
                    "frames": encoder.frames,
                    "bytes": path.stat().st_size,
                }
        stored.whole = whole
        if whole:
            stays = {lane.encoder.plan.path for lane in clip.lanes.values()}
            for path in self._stale.pop(stored.name, set()) - stays:
                path.unlink(missing_ok=True)
        self._tell(stored)


def video_path(root: Path, spec: LayerSpec, form: VideoFormat, name: str) -> Path:
    """Where a layer of the clip `name` is stored: `<root>/<type>/<name>.<ext>`."""
    return root / spec.type / f"{name}.{form.extension}"
