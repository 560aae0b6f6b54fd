"""Points in a clip: in seconds, frames or timecode."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from bgm.errors import ConfigError

_SECONDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)s?")
_FRAMES = re.compile(r"(\d+)f")
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d*)?)")
_TIMECODE = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})([:;])(\d{2,3})")
_DROP_RATES = (30, 60)  # nominal rates of timecodes that leave numbers out


@dataclass(frozen=True)
class Point:
    """A place in a clip: one of the three.

    Attributes:
        seconds: Since the clip's first frame.
        frame: Frames since the clip's first one.
        timecode: As it is shown, with `;` before the frames if it drops numbers.
    """

    seconds: Fraction | None = None
    frame: int | None = None
    timecode: str | None = None

    def resolve(self, rate: Fraction, start: str | None) -> Point:
        """The same point without a timecode.

        Args:
            rate: Frames per second.
            start: The timecode of the clip's first frame, if it has one.

        Raises:
            ConfigError: The timecode is before the clip's first.
        """
        if self.timecode is None:
            return self
        frame = timecode_to_frame(self.timecode, rate)
        frame -= 0 if start is None else timecode_to_frame(start, rate)
        if frame < 0:
            raise ConfigError(f"timecode {self.timecode} is before the clip's first, {start}")
        return Point(frame=frame)

    def is_reached(self, index: int, seconds: Fraction) -> bool:
        """Whether a frame, by its number from 0 and its time, is at this point or behind it."""
        if self.frame is not None:
            return index >= self.frame
        assert self.seconds is not None, "resolve comes first"
        return seconds >= self.seconds

    def in_seconds(self, rate: Fraction) -> Fraction:
        """About when it is."""
        if self.seconds is not None:
            return self.seconds
        return Fraction(self.frame or 0) / rate


def parse_point(key: str, text: object) -> Point:
    """Read a point: `2.5` or `2.5s`, `48f`, `00:00:02.5`, `01:00:02:12` (timecode).

    Raises:
        ConfigError: It is none of these; `key` is named.
    """
    written = str(text).strip()
    if found := _FRAMES.fullmatch(written):
        return Point(frame=int(found[1]))
    if found := _SECONDS.fullmatch(written):
        return Point(seconds=Fraction(found[1]))
    if _TIMECODE.fullmatch(written):
        return Point(timecode=written)
    if found := _CLOCK.fullmatch(written):
        hours, minutes = int(found[1] or 0), int(found[2])
        return Point(seconds=hours * 3600 + minutes * 60 + Fraction(found[3]))
    raise ConfigError(
        f"{key}={text}: must be seconds (2.5 or 2.5s), frames (48f), a time (00:00:02.5) or a "
        "timecode (01:00:02:12)"
    )


def timecode_to_frame(timecode: str, rate: Fraction) -> int:
    """Frames from 00:00:00:00 to a timecode.

    Raises:
        ConfigError: It is no timecode of that rate.
    """
    found = _TIMECODE.fullmatch(timecode)
    nominal = round(rate)
    if found is None or int(found[5]) >= nominal or int(found[2]) > 59 or int(found[3]) > 59:
        raise ConfigError(f"{timecode} is not a timecode of {float(rate):g} frames per second")
    hours, minutes, seconds, frames = (int(found[group]) for group in (1, 2, 3, 5))
    total = ((hours * 60 + minutes) * 60 + seconds) * nominal + frames
    if found[4] == ";" and nominal in _DROP_RATES:
        dropped = nominal // 15  # numbers left out every minute but each tenth
        passed = hours * 60 + minutes
        total -= dropped * (passed - passed // 10)
    return total


def frame_to_timecode(frame: int, rate: Fraction, *, drop: bool) -> str:
    """The timecode that is so many frames after 00:00:00:00."""
    nominal = round(rate)
    if drop and nominal in _DROP_RATES:
        dropped = nominal // 15
        per_ten, per_minute = nominal * 600 - dropped * 9, nominal * 60 - dropped
        tens, rest = divmod(frame, per_ten)
        frame += dropped * 9 * tens
        if rest >= nominal * 60:
            frame += dropped * (1 + (rest - nominal * 60) // per_minute)
    seconds, frames = divmod(frame, nominal)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    mark = ";" if drop else ":"
    return f"{hours % 24:02d}:{minutes:02d}:{seconds:02d}{mark}{frames:02d}"


def advance_timecode(timecode: str, frames: int, rate: Fraction) -> str:
    """A timecode some frames later; unchanged if it is none of that rate."""
    try:
        first = timecode_to_frame(timecode, rate)
    except ConfigError:
        return timecode
    return frame_to_timecode(first + frames, rate, drop=";" in timecode)
