"""What is peculiar to a run over clips: its frames one by one, and what becomes of each clip."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bgm.config.schema import Config
from bgm.data import Pair, read_ahead
from bgm.data.datasets import Sample
from bgm.data.video.clip import Frame
from bgm.data.video.container import VideoFile
from bgm.data.video.reel import Reel
from bgm.errors import BgmError, DataError
from bgm.inference.predictor import check_pair
from bgm.layers import LayerSpec
from bgm.outputs.video.sink import ClipPlan, StoredClip, VideoSink
from bgm.outputs.video.sound import SoundSource
from bgm.records.fingerprints import fingerprint
from bgm.records.record import ImageRecord
from bgm.runs.clip_plan import PlannedClip, preparing

log = logging.getLogger(__name__)

_AHEAD = 3  # frames that are held ready

CHECKED_EVERY = 10
"""Of so many frames the matte of one is checked by its photograph and plate."""


@dataclass
class Suspicion:
    """How far the mattes of a clip are suspect, by the frames of it that were checked."""

    total: float = 0.0
    frames: int = 0
    worst: float = -1.0
    worst_frame: str = ""

    def add(self, name: str, suspicion: float) -> None:
        """Count one more frame."""
        self.total += suspicion
        self.frames += 1
        if suspicion > self.worst:
            self.worst, self.worst_frame = suspicion, name

    def as_dict(self) -> dict[str, Any]:
        """The figures as they stand in the records."""
        return {
            "mean": round(self.total / self.frames, 4),
            "worst": self.worst,
            "worst_frame": self.worst_frame,
            "frames": self.frames,
        }


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
    _suspicions: dict[str, Suspicion] = field(default_factory=dict)

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

    def look_at(self, record: ImageRecord) -> None:
        """Take the check of a frame into what is said of its clip."""
        if record.check is not None:
            found = self._suspicions.setdefault(record.name.rpartition("/")[0], Suspicion())
            found.add(record.name, record.check.suspicion)

    def told(self) -> list[dict[str, Any]]:
        """What was read and written of each clip, and how far its mattes are suspect."""
        found = {name: suspicion.as_dict() for name, suspicion in self._suspicions.items()}
        return [{**fact, "suspicion": found.get(fact["name"])} for fact in self.facts]

    def _moved(self, clip: PlannedClip, frame: Frame, zero: int) -> Frame:
        """The frame at its time in the files, shown for those that are left out behind it."""
        duration = frame.duration and frame.duration * clip.wanted.stride
        return replace(frame, time=frame.time - zero, duration=duration)

    def _samples(self, clip: PlannedClip) -> Generator[Any, None, None]:
        how = preparing(self.config, check_every=CHECKED_EVERY)
        with closing(Reel(clip.shot, clip.wanted, how, clip.info.time_base).run()) as frames:
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
