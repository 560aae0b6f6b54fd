"""Encodes the frames of one layer into one video file, with sound, time code and tags."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EIO
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bgm.config.video import VideoFormat
from bgm.data.video.clip import ClipInfo
from bgm.data.video.library import ACCURATE, BICUBIC, FULL_CHROMA_IN, load_av
from bgm.errors import WriteError, write_error
from bgm.layers import Pixels
from bgm.outputs.video.sound import Sound
from bgm.records.atomic import PARTIAL_SUFFIX, in_words

_MUXERS = {"mkv": "matroska", "mka": "matroska", "m4v": "mp4", "ts": "mpegts"}
_BT709, _SRGB_MATRIX = 1, 0
_LIMITED, _FULL = 1, 2
_SOURCES = {
    (1, 8): "gray",
    (1, 16): "gray16le",
    (3, 8): "rgb24",
    (3, 16): "rgb48le",
    (4, 8): "rgba",
    (4, 16): "rgba64le",
}

UNFINISHED = ".unfinished"
"""Stands before the extension of a file that was interrupted; it plays as far as it goes."""


@dataclass(frozen=True)
class FilePlan:
    """What a video file is to hold besides its frames.

    Attributes:
        path: Its final name.
        format: How it is stored.
        info: The clip it is made from.
        timecode: Of its first frame, or None.
        sound: Makes what copies the sound into an open container; None without sound.
    """

    path: Path
    format: VideoFormat
    info: ClipInfo
    timecode: str | None
    sound: Callable[[Any], Sound] | None


class VideoEncoder:
    """One video file on its way.

    It is written under a temporary name beside its own. Nothing here is safe to be used by two
    threads at once.

    Args:
        plan: What it is to hold.

    Attributes:
        frames: Frames that were encoded.
        pixel_format: FFmpeg's name of the pixels it has, once it is open.
        error: What went wrong first, if anything did.
    """

    def __init__(self, plan: FilePlan) -> None:
        self.plan = plan
        self.frames = 0
        self.pixel_format = ""
        self.error: str | None = None
        self._av = load_av()
        self._container: Any = None
        self._stream: Any = None
        self._sound: Sound | None = None
        self._partial = plan.path.with_name(f".{uuid.uuid4().hex[:12]}{PARTIAL_SUFFIX}")
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._durations: dict[int, int] = {}
        self._last: Any = None
        self._early: list[tuple[int, int | None]] = []
        self._is_closed = False
        self._time = self._begin = self._end = 0
        self._held: Any = None
        self._first_dts: int | None = None

    def write(self, pixels: Pixels, time: int, duration: int | None) -> None:
        """Encode one frame.

        Args:
            pixels: (H, W), (H, W, 3) or (H, W, 4), uint8 or uint16, RGB(A).
            time: When it is shown, in the clip's time base; later than the one before.
            duration: For how long, if that is known.

        Raises:
            WriteError: It cannot be encoded or stored.
        """
        with self._in_words():
            if self._container is None:
                self._open(pixels)
            frame = self._convert(pixels)
            self._last = frame
            for earlier in self._early:
                self._encode(frame, *earlier)
            self._early.clear()
            self._encode(frame, time, duration)

    def repeat(self, time: int, duration: int | None) -> None:
        """Show the frame before once more; before the first one, the first one that comes.

        Raises:
            WriteError: It cannot be stored.
        """
        if self._last is None:
            self._early.append((time, duration))
            return
        with self._in_words():
            self._encode(self._last, time, duration)

    def finish_writing(self, whole: bool) -> None:
        """Write what is left, the sound included, and close the file.

        Args:
            whole: Whether it holds all of the clip; if not its sound ends with its frames.

        Raises:
            WriteError: It cannot be ended; nothing is left of it.
        """
        if self._container is None:
            return
        try:
            with self._in_words():
                if self._sound is not None:
                    self._sound.finish(self._end * self.plan.info.time_base, whole=whole)
                self._mux(self._stream.encode(None))
                self._mux_last()
                self._container.close()
                self._container = None
                _sync(self._partial)
                self._is_closed = True
        except WriteError:
            self.abandon()
            raise

    def name(self, *, whole: bool) -> Path | None:
        """Give the closed file its name.

        Args:
            whole: Whether it is the whole clip; if not its name says so.

        Returns:
            The file; None if there was no frame.

        Raises:
            WriteError: It cannot be renamed; nothing is left of it.
        """
        if not self._is_closed:
            return None
        path = self.plan.path
        unfinished = path.with_name(f"{path.stem}{UNFINISHED}{path.suffix}")
        target = path if whole else unfinished
        try:
            with in_words(target):
                os.replace(self._partial, target)  # noqa: PTH105 - replaces everywhere
        except WriteError:
            self.abandon()
            raise
        if whole:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
        return target

    def abandon(self) -> None:
        """Leave nothing of the file."""
        with suppress(Exception):
            if self._sound is not None:
                self._sound.close()
        with suppress(Exception):
            if self._container is not None:
                self._container.close()
        self._container = None
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _open(self, pixels: Pixels) -> None:
        plan, form, info = self.plan, self.plan.format, self.plan.info
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        stored = form.pixels_for(channels, 8 * pixels.itemsize)
        if stored is None:
            raise WriteError(f"{plan.path}: the format does not take {channels} channels")
        self.pixel_format = stored
        muxer = _MUXERS.get(form.extension, form.extension)
        with in_words(plan.path):
            plan.path.parent.mkdir(parents=True, exist_ok=True)
        # The same frames make the same file: no numbers drawn at random in it.
        options = {"fflags": "+bitexact", **form.container_options}
        self._container = self._av.open(
            str(self._partial), "w", format=muxer, container_options=options
        )
        self._container.metadata.update(info.tags)
        if plan.timecode is not None:
            self._container.metadata["timecode"] = plan.timecode
        stream = self._container.add_stream(form.codec, rate=info.rate)
        height, width = pixels.shape[:2]
        fill = 2 if form.even else 1
        stream.width, stream.height = width + -width % fill, height + -height % fill
        stream.pix_fmt = stored
        stream.options = dict(form.options)
        context = stream.codec_context
        context.time_base = info.time_base
        context.sample_aspect_ratio = info.aspect
        context.thread_type = "AUTO"
        context.color_range = _FULL if form.full_range else _LIMITED
        context.color_primaries = context.color_trc = _BT709
        context.colorspace = _SRGB_MATRIX if _is_rgb(stored) else _BT709
        self._stream = stream
        if plan.sound is not None and form.audio is not None:
            self._sound = plan.sound(self._container)

    def _convert(self, pixels: Pixels) -> Any:
        """A frame as it is encoded: converted, and tagged with what it was converted to."""
        height, width = self._stream.height, self._stream.width
        if pixels.shape[:2] != (height, width):
            down, right = height - pixels.shape[0], width - pixels.shape[1]
            if not (0 <= down <= 1 and 0 <= right <= 1):
                raise WriteError(f"{self.plan.path}: the size of the frames changes")
            pixels = cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_REPLICATE)
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        if channels == 1 and not self.pixel_format.startswith("gray"):
            pixels, channels = np.repeat(pixels[..., None], 3, 2), 3
        source = _SOURCES[channels, 8 * pixels.itemsize]
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=source)
        if source == self.pixel_format:
            return frame
        is_rgb = _is_rgb(self.pixel_format)
        flags = BICUBIC | FULL_CHROMA_IN
        if self._av.VideoFormat(self.pixel_format).chroma_height(height) < height:
            flags |= ACCURATE  # changes nothing where rows stay as they are, but takes longer
        return self._reformatter.reformat(
            frame,
            format=self.pixel_format,
            dst_colorspace=None if is_rgb else _BT709,
            dst_color_range=_FULL if self.plan.format.full_range or is_rgb else _LIMITED,
            interpolation=flags,
            threads=1,
        )

    def _encode(self, frame: Any, time: int, duration: int | None) -> None:
        frame.pts, frame.time_base = time, self.plan.info.time_base
        usual = max(1, round(1 / (self.plan.info.rate * self.plan.info.time_base)))
        self._durations[time] = duration or usual
        self._begin = min(self._begin, time) if self.frames else time
        self._end = time + (duration or usual)
        self._mux(self._stream.encode(frame))
        self.frames += 1
        self._time = time
        if self._sound is not None:
            self._sound.copy_until(self._seconds())

    def _seconds(self) -> Fraction:
        return self._time * self.plan.info.time_base

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, 0)
            if self._first_dts is None:
                self._first_dts = packet.dts
            if self._held is not None:
                self._container.mux(self._held)
            self._held = packet

    def _mux_last(self) -> None:
        """Write the packet that was held back, as long as what is missing of the whole.

        MP4 adds up decoding times; with frames that refer to later ones, those of a variable rate
        end long before the last frame does.
        """
        if self._held is None:
            return
        passed = (self._held.dts or 0) - (self._first_dts or 0)
        self._held.duration = max(self._held.duration, self._end - self._begin - passed)
        self._container.mux(self._held)
        self._held = None

    @contextmanager
    def _in_words(self) -> Any:
        """Turn what FFmpeg has against something into a `WriteError`."""
        try:
            yield
        except (self._av.error.FFmpegError, OSError) as error:
            number = getattr(error, "errno", None) or EIO
            text = getattr(error, "strerror", None) or str(error)
            described = write_error(self.plan.path, OSError(number, text))
            self.error = self.error or str(described)
            raise described from error
        except ValueError as error:
            self.error = self.error or str(error)
            raise WriteError(f"{self.plan.path} cannot be encoded: {error}") from error


def _is_rgb(pixel_format: str) -> bool:
    return pixel_format.startswith(("rgb", "bgr", "gbr", "argb", "abgr"))


def _sync(path: Path) -> None:
    """Bring a file to the disk, or a power cut could leave an empty one of its final name."""
    with path.open("r+b") as file:  # Windows syncs only what may be written
        os.fsync(file.fileno())
