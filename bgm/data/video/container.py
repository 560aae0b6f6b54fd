"""Clips in containers, such as MP4, MOV, MKV, WebM and MXF: decoded by FFmpeg's libraries."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from bgm.data.pixels import Pixels
from bgm.data.video.clip import ClipInfo, Frame, Range
from bgm.data.video.colours import Colours, interpret
from bgm.data.video.convert import Converter, kind_of
from bgm.data.video.library import load_av
from bgm.errors import DataError

log = logging.getLogger(__name__)

_OWN_TAGS = frozenset(
    {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "timecode"}
    | {"handler_name", "vendor_id", "number_of_bytes", "number_of_frames", "bps"}
)
"""Tags that are true of the file, not of what it shows."""

_USUAL_RATE = Fraction(25)
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that give back the alpha of a WebM, which FFmpeg's own drop."""


@dataclass(frozen=True)
class VideoFile:
    """A clip in a container.

    Attributes:
        path: The file.
        name: What it is called.
        deinterlace: `auto` (what says that it is interlaced), `on` or `off`.
        max_pixels: Frames that have more are refused.
        alpha: Whether its alpha is read instead of its colours, as (H, W) uint8: the alpha channel,
            or the brightness of what has none.
    """

    path: Path
    name: str
    deinterlace: str = "auto"
    max_pixels: int = 400_000_000
    alpha: bool = False

    def probe(self) -> ClipInfo:
        """What the container says, and the first frame."""
        with self._open() as (container, stream):
            first, rotation = None, 0
            for frame in _shown(container, stream):
                if not isinstance(frame, _Lost):
                    first, rotation = frame, _quarter_turns(frame)
                    break
            if first is None:
                raise DataError(f"{self.path} holds no frame that can be decoded")
            colours = colours_of(first)
            return self._info(container, stream, first, rotation, colours)

    def _info(
        self, container: Any, stream: Any, first: Any, rotation: int, colours: Colours
    ) -> ClipInfo:
        rate = _fraction(stream.average_rate) or _fraction(stream.guessed_rate) or _USUAL_RATE
        seconds = _seconds(container, stream)
        frames = int(stream.frames) or (None if seconds is None else round(seconds * rate))
        aspect = _fraction(first.format and stream.sample_aspect_ratio) or Fraction(1)
        size = (first.width, first.height)
        if rotation % 2:
            size, aspect = size[::-1], 1 / aspect
        told = [stream.metadata, *(s.metadata for s in container.streams), container.metadata]
        timecodes = [v for tags in told for k, v in tags.items() if k.lower() == "timecode"]
        tags = {
            key: value for key, value in container.metadata.items() if key.lower() not in _OWN_TAGS
        }
        return ClipInfo(
            size=size,
            rate=rate,
            time_base=_fraction(stream.time_base) or 1 / rate,
            frames=frames,
            seconds=None if seconds is None else float(seconds),
            aspect=aspect,
            timecode=next(iter(timecodes), None),
            tags=tags,
            audio=tuple(audio.codec_context.name for audio in container.streams.audio),
            facts={
                "container": container.format.name,
                "codec": stream.codec_context.name,
                "pixel_format": first.format.name,
                "rotation": rotation * 90,
                "interlaced": bool(first.interlaced_frame),
                "colours": colours.as_dict(),
            },
        )

    def read(self, wanted: Range) -> Iterator[Frame]:
        """Decode it from its start; frames that are not wanted are not converted."""
        with self._open() as (container, stream):
            base = _fraction(stream.time_base) or Fraction(1, 1000)
            converter = Converter(self.deinterlace, base, alpha=self.alpha)
            origin = _origin(container, stream, base)
            first = None
            pictures = converter.deinterlaced(_shown(container, stream))
            timed = _with_durations(_timed(pictures, stream, origin, base), stream, origin)
            for index, picture in enumerate(timed):
                seconds = (picture.time - picture.zero) * base
                if wanted.is_over(index, seconds):
                    return
                if wanted.contains(index, seconds, first):
                    first = index if first is None else first
                    yield self._frame(picture, index, converter)

    def _frame(self, picture: _Timed, index: int, converter: Converter) -> Frame:
        pixels: Pixels | Exception
        if isinstance(picture.content, _Lost):
            pixels = DataError(f"a damaged frame: {picture.content.reason}")
        else:
            try:
                if picture.content.width * picture.content.height > self.max_pixels:
                    raise DataError("the frame has more pixels than data.max_megapixels allows")
                turns = _quarter_turns(picture.content)
                converted = converter.convert(picture.content)
                pixels = np.ascontiguousarray(np.rot90(converted, turns)) if turns else converted
            except DataError as error:
                pixels = error
        return Frame(f"{index + 1:06d}", index, picture.time, picture.duration, pixels)

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, Any]]:
        """The container and its picture stream."""
        av = load_av()
        try:
            container = av.open(str(self.path))
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise DataError(f"{self.path} cannot be opened as a video: {_reason(error)}") from None
        with container:
            stream = _picture_stream(container)
            if stream is None:
                raise DataError(f"{self.path} holds no video")
            if stream.codec_context is None:
                raise DataError(f"{self.path} holds video of a kind that is not decoded here")
            decoder = _WITH_ALPHA.get(stream.codec_context.name) if self.alpha else None
            if decoder is not None and stream.metadata.get("alpha_mode") == "1":
                yield container, _OwnDecoder(stream, decoder)
                return
            stream.thread_type = "AUTO"
            yield container, stream


class _OwnDecoder:
    """A stream that is decoded by another decoder than FFmpeg would choose."""

    def __init__(self, stream: Any, decoder: str) -> None:
        av = load_av()
        self._stream = stream
        self._context = av.CodecContext.create(decoder, "r")
        if stream.codec_context.extradata:
            self._context.extradata = stream.codec_context.extradata

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def decode(self, packet: Any) -> list[Any]:
        return list(self._context.decode(packet))


@dataclass(frozen=True)
class _Lost:
    """A frame that could not be decoded.

    Attributes:
        pts: When it would be shown; None if that is not known.
        reason: Why.
    """

    pts: int | None
    reason: str


@dataclass(frozen=True)
class _Timed:
    """A picture with its time.

    Attributes:
        content: The decoded frame, or what was lost.
        time: Since the start of the container.
        zero: The time of the first frame of all.
        duration: For how long it is shown, if known.
    """

    content: Any
    time: int
    zero: int
    duration: int | None


def _shown(container: Any, stream: Any) -> Iterator[Any]:
    """Decoded frames in the order they are shown, and in their places those that are lost."""
    av = load_av()
    number = stream.index
    pending: set[int] = set()
    trouble: str | None = None
    promised = int(stream.frames) if "mov" in container.format.name else 0
    for packet in _packets(container, stream):
        if packet is not None and packet.stream_index != number:
            continue
        promised -= packet is not None
        if packet is not None and packet.pts is not None and not packet.is_discard:
            pending.add(packet.pts)
        try:
            frames = stream.decode(packet)
        except (av.error.FFmpegError, ValueError) as error:
            trouble = _reason(error)
            if packet is not None and packet.pts is None:
                yield _Lost(None, trouble)
            continue
        for frame in frames:
            if frame.pts is not None:
                earlier = sorted(pts for pts in pending if pts < frame.pts)
                pending = {pts for pts in pending if pts > frame.pts}
                if trouble is not None:
                    for pts in earlier:
                        yield _Lost(pts, trouble)
                    trouble = None if earlier else trouble
            yield _Lost(frame.pts, "it is incomplete") if frame.is_corrupt else frame
    if trouble is not None:
        for pts in sorted(pending):
            yield _Lost(pts, trouble)
    if promised > 0:
        yield _Lost(None, f"the file ends here, {promised} frames before its header says so")


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream, and None at the end; what cannot be read on is the end, and said."""
    av = load_av()
    real = stream._stream if isinstance(stream, _OwnDecoder) else stream
    try:
        for packet in container.demux(real):
            if packet.size:
                yield packet
    except (av.error.FFmpegError, OSError) as error:
        log.warning("%s ends early: %s", container.name, _reason(error))
    yield None


def _timed(pictures: Iterator[Any], stream: Any, origin: int, base: Fraction) -> Iterator[_Timed]:
    """Give every picture a time of its own, later than that of the one before."""
    rate = _fraction(stream.average_rate) or _fraction(stream.guessed_rate) or _USUAL_RATE
    usual = max(1, round(1 / (rate * base)))
    last: _Timed | None = None
    for picture in pictures:
        pts = picture.pts
        duration = None if isinstance(picture, _Lost) else (picture.duration or None)
        if pts is None:
            time = 0 if last is None else last.time + (last.duration or usual)
        else:
            time = pts - origin
        if last is not None and time <= last.time:
            time = last.time + 1
        last = _Timed(picture, time, time if last is None else last.zero, duration)
        yield last


def _with_durations(pictures: Iterator[_Timed], stream: Any, origin: int) -> Iterator[_Timed]:
    """Let every picture be shown until the next; the last one until the stream ends.

    What packets say of it is true of the order in which they are decoded.
    """
    waiting: _Timed | None = None
    for picture in pictures:
        if waiting is not None:
            yield replace(waiting, duration=picture.time - waiting.time)
        waiting = picture
    if waiting is not None:
        left = 0
        if stream.duration and stream.start_time is not None:
            left = int(stream.start_time) + int(stream.duration) - origin - waiting.time
        yield replace(waiting, duration=left) if left > 0 else waiting


def _origin(container: Any, stream: Any, base: Fraction) -> int:
    """The time that counts as 0: where the container starts, or the pictures if that is earlier."""
    starts = [int(stream.start_time)] if stream.start_time is not None else []
    if container.start_time is not None:
        starts.append(round(Fraction(int(container.start_time), 1_000_000) / base))
    return min(starts, default=0)


def _picture_stream(container: Any) -> Any:
    """The stream of moving pictures, not that of a cover."""
    av = load_av()
    covers = getattr(av.stream.Disposition, "attached_pic", 0)
    streams = [s for s in container.streams.video if not (covers and s.disposition & covers)]
    return max(streams, key=lambda s: (s.width or 0) * (s.height or 0), default=None)


def colours_of(frame: Any) -> Colours:
    """How a decoded frame stores its colours.

    Raises:
        DataError: In a way that is not converted here.
    """
    return interpret(
        int(frame.colorspace),
        int(frame.color_range),
        int(frame.color_primaries),
        int(frame.color_trc),
        size=(frame.width, frame.height),
        kind=kind_of(frame.format),
    )


def _quarter_turns(frame: Any) -> int:
    """Turns by 90 degrees, against the clock, that make a frame upright."""
    return round((frame.rotation or 0) / 90) % 4


def _seconds(container: Any, stream: Any) -> Fraction | None:
    base = _fraction(stream.time_base)
    if stream.duration and base:
        return int(stream.duration) * base
    return Fraction(int(container.duration), 1_000_000) if container.duration else None


def _fraction(value: Any) -> Fraction | None:
    """A ratio as PyAV has it, which depends on its version; None for none and for 0."""
    if value is None or not value:
        return None
    return Fraction(int(value.numerator), int(value.denominator))


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return str(text).partition("\n")[0]
