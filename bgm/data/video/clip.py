"""What a clip is: frames in their order, each with its time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from bgm.data.pixels import Pixels
from bgm.data.video.points import Point, advance_timecode


@dataclass(frozen=True)
class ClipInfo:
    """What is known of a clip before its frames are decoded.

    Attributes:
        size: Width and height of its frames, upright.
        rate: Frames per second, on average.
        time_base: Seconds of one unit of its frames' times.
        frames: How many frames it has, as far as it says.
        seconds: How long it is, as far as it says.
        aspect: Width of a pixel for its height.
        timecode: That of its first frame, or None.
        tags: What it says of itself, such as its title.
        audio: Its audio streams' codecs.
        facts: How its pictures are stored, in words, for the records.
    """

    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    frames: int | None = None
    seconds: float | None = None
    aspect: Fraction = Fraction(1)
    timecode: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    audio: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Frame:
    """A frame of a clip.

    Attributes:
        name: Its number as it is written in file names.
        index: Its number from 0 among all frames of the clip.
        time: When it is shown, in units of the clip's time base, counted from the clip's start.
        duration: For how long, in the same units; None if that is not known.
        pixels: (H, W, 3), RGB, uint8 or float32 in [0, 1]; or why they could not be read.
        remark: What there is to say about it.
    """

    name: str
    index: int
    time: int
    duration: int | None
    pixels: Pixels | Exception
    remark: str | None = None


@dataclass(frozen=True)
class Range:
    """Which frames of a clip are wanted.

    Attributes:
        start: The first one; None for the clip's.
        end: The first that is not wanted any more; None for all.
        stride: Every how manyth.
    """

    start: Point | None = None
    end: Point | None = None
    stride: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether every frame is wanted."""
        return self.start is None and self.end is None and self.stride == 1

    def resolve(self, info: ClipInfo) -> Range:
        """The same for one clip, whose timecodes are known.

        Raises:
            ConfigError: A timecode is before the clip.
        """
        start, end = (
            None if point is None else point.resolve(info.rate, info.timecode)
            for point in (self.start, self.end)
        )
        return Range(start, end, self.stride)

    def contains(self, index: int, seconds: Fraction, first: int | None) -> bool:
        """Whether a frame is wanted.

        Args:
            index: Its number from 0.
            seconds: Its time.
            first: The number of the first frame that was wanted; None if this may be it.
        """
        if self.start is not None and not self.start.is_reached(index, seconds):
            return False
        return (index - (index if first is None else first)) % self.stride == 0

    def is_over(self, index: int, seconds: Fraction) -> bool:
        """Whether a frame, and all that follow, are behind the range."""
        return self.end is not None and self.end.is_reached(index, seconds)

    def expected(self, info: ClipInfo) -> int | None:
        """How many frames that will be, about; None if the clip does not say how long it is."""
        if info.frames is None:
            return None
        total = Fraction(info.frames)
        first = Fraction(0) if self.start is None else self.start.in_seconds(info.rate) * info.rate
        last = total if self.end is None else self.end.in_seconds(info.rate) * info.rate
        return max(0, -(-round(min(last, total) - first) // self.stride))

    def timecode(self, info: ClipInfo) -> str | None:
        """The timecode of the first frame that is wanted."""
        if info.timecode is None or self.start is None:
            return info.timecode
        passed = self.start.in_seconds(info.rate) * info.rate
        return advance_timecode(info.timecode, -int(-passed // 1), info.rate)


class Clip(Protocol):
    """Something that frames come from, one after the other."""

    @property
    def name(self) -> str:
        """What it is called: a path relative to the sources, without extension."""

    @property
    def path(self) -> Path:
        """Where it is: a file, or the folder of its frames."""

    def probe(self) -> ClipInfo:
        """What is known of it without decoding it.

        Raises:
            DataError: It cannot be opened, or holds no video that can be read.
        """

    def read(self, wanted: Range) -> Iterator[Frame]:
        """Its frames in the order they are shown, decoded one by one.

        Raises:
            DataError: It cannot be opened.
        """
