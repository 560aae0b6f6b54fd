"""Copies the sound of a clip into another container."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from bgm.data.video.library import load_av

log = logging.getLogger(__name__)

_KEEPS_LEADING = ("mov", "mp4")
"""Containers that keep what comes before 0, such as the silence that AAC begins with."""


@dataclass(frozen=True)
class SoundSource:
    """Where sound comes from.

    Attributes:
        path: The clip.
        start: Seconds into the clip that are 0 in the copy.
        is_part: Whether it ends with the last frame, however long it is.
    """

    path: Path
    start: Fraction = Fraction(0)
    is_part: bool = False


class Sound:
    """The sound of a clip on its way into a container that is being written.

    Packets are copied as they are where the container takes their codec; else they are encoded
    anew. The clip is read a second time for it, alongside the frames.

    Args:
        source: Where it comes from.
        output: The container, before its first packet.
        codec: What sound is encoded with that the container does not take.
    """

    def __init__(self, source: SoundSource, output: Any, codec: str) -> None:
        self._av = load_av()
        self._output = output
        self._source = source
        self._input = self._av.open(str(source.path))
        begin = self._input.start_time or 0
        self._zero = Fraction(int(begin), 1_000_000) + source.start
        self._ways: dict[int, _Copied | _Encoded] = {}
        muxer = output.format.name
        for stream in self._input.streams.audio:
            if stream.codec_context is None:
                log.warning("%s: a sound track of an unknown kind is left out", source.path)
            elif stream.codec_context.codec.canonical_name in output.supported_codecs:
                self._ways[stream.index] = _Copied(output, stream, muxer in _KEEPS_LEADING)
            else:
                self._ways[stream.index] = _Encoded(self._av, output, stream, codec)
        self._packets = self._read()
        self._next = next(self._packets, None)

    def _read(self) -> Iterator[tuple[Fraction, Any]]:
        """Packets with their times in the copy."""
        streams = [s for s in self._input.streams.audio if s.index in self._ways]
        if not streams:
            return
        try:
            for packet in self._input.demux(streams):
                if not packet.size or packet.pts is None:
                    continue
                seconds = packet.pts * Fraction(packet.time_base) - self._zero
                length = (packet.duration or 0) * Fraction(packet.time_base)
                if seconds + length > 0 or not self._source.start:
                    yield seconds, packet
        except (self._av.error.FFmpegError, OSError) as error:
            log.warning("the sound of %s ends early: %s", self._source.path, error)

    def copy_until(self, seconds: Fraction) -> None:
        """Copy what is heard before a time in the copy."""
        while self._next is not None and self._next[0] <= seconds:
            _, packet = self._next
            self._ways[packet.stream_index].take(packet, self._zero)
            self._next = next(self._packets, None)

    def finish(self, seconds: Fraction, *, whole: bool) -> None:
        """Copy what is left, and let go of the clip.

        Args:
            seconds: When the last frame ends.
            whole: Whether all of the clip was taken, so that sound may be longer.
        """
        until = None if whole and not self._source.is_part else seconds
        while self._next is not None and (until is None or self._next[0] < until):
            self.copy_until(self._next[0])
        for way in self._ways.values():
            way.end()
        self.close()

    def close(self) -> None:
        """Let go of the clip."""
        self._input.close()


class _Copied:
    """A track whose packets are copied."""

    def __init__(self, output: Any, stream: Any, keeps_leading: bool) -> None:
        self._output = output
        self._stream = output.add_stream_from_template(stream)
        self._keeps_leading = keeps_leading

    def take(self, packet: Any, zero: Fraction) -> None:
        shift = round(zero / Fraction(packet.time_base))
        packet.pts -= shift
        if packet.dts is not None:
            packet.dts -= shift
        if packet.pts < 0 and not self._keeps_leading:
            return
        packet.stream = self._stream
        self._output.mux(packet)

    def end(self) -> None:
        pass


class _Encoded:
    """A track that is decoded and encoded anew."""

    def __init__(self, av: Any, output: Any, stream: Any, codec: str) -> None:
        self._av = av
        self._output = output
        self._source = stream
        rate = 48000 if codec in ("libopus", "opus") else stream.codec_context.sample_rate
        layout = stream.codec_context.layout.name
        self._stream = output.add_stream(codec, rate=rate, layout=layout)
        context = self._stream.codec_context
        self._resampler = av.AudioResampler(format=context.format, layout=layout, rate=rate)
        self._rate = rate
        self._at: int | None = None
        self._zero = Fraction(0)

    def take(self, packet: Any, zero: Fraction) -> None:
        self._zero = zero
        try:
            frames = packet.decode()
        except self._av.error.FFmpegError as error:
            log.warning("a damaged piece of sound is left out: %s", error)
            return
        for frame in frames:
            if self._at is None:
                begin = frame.pts * Fraction(frame.time_base) - zero if frame.pts else -zero
                self._at = max(0, round(begin * self._rate))
            self._encode(frame)

    def _encode(self, frame: Any) -> None:
        if frame is not None:
            frame.pts = None  # samples follow each other; the encoder is told where they begin
        for made in self._resampler.resample(frame):
            made.pts, made.time_base = self._at, Fraction(1, self._rate)
            self._at = (self._at or 0) + made.samples
            self._output.mux(self._stream.encode(made))

    def end(self) -> None:
        if self._at is not None:
            self._encode(None)
            self._output.mux(self._stream.encode(None))
