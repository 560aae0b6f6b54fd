"""A clip that is shown again and again, as a background is."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from bgm.data.pixels import Pixels
from bgm.data.video.clip import Clip, Frame, Range
from bgm.data.video.find import Reading, find_clips
from bgm.errors import DataError


class LoopedClip:
    """The frames of a clip at any times that rise.

    Args:
        path: A video, or a pattern of numbered pictures.

    Raises:
        DataError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        clips = find_clips(path, Reading())
        if len(clips) != 1:
            raise DataError(f"{path} holds {len(clips)} clips; as a background there must be one")
        (self._clip,) = clips.values()
        self._base = self._clip.probe().time_base
        self._frames: Iterator[Frame]
        self._shown: Frame
        self._next: Frame | None
        self._begin = self._asked = Fraction(0)
        self._first = 0
        self._restart(Fraction(0))

    def at(self, seconds: Fraction) -> Pixels:
        """The frame that is shown at a time; the clip begins anew where it ends.

        Args:
            seconds: Since the beginning. If it is before the last time that was asked for, the
                clip begins anew too.

        Raises:
            DataError: The clip cannot be decoded.
        """
        if seconds < self._asked:
            self._restart(Fraction(0))
        self._asked = seconds
        while True:
            if self._next is None:  # the last frame: shown until the clip ends
                end = self._begin + self._seconds(self._shown) + self._length(self._shown)
                if seconds < end:
                    break
                self._restart(end)
                continue
            if self._begin + self._seconds(self._next) > seconds:
                break
            self._shown, self._next = self._next, next(self._frames, None)
        return _pixels(self._shown, self._clip)

    def _restart(self, begin: Fraction) -> None:
        self._begin = self._asked = begin
        self._frames = self._clip.read(Range())
        first = next(self._frames, None)
        if first is None:
            raise DataError(f"{self._clip.path} has no frames")
        self._first, self._shown = first.time, first
        self._next = next(self._frames, None)

    def _seconds(self, frame: Frame) -> Fraction:
        return (frame.time - self._first) * self._base

    def _length(self, frame: Frame) -> Fraction:
        return max(1, frame.duration or 1) * self._base


def _pixels(frame: Frame, clip: Clip) -> Pixels:
    if isinstance(frame.pixels, Exception):
        raise DataError(f"{clip.path}, frame {frame.name}: {frame.pixels}")
    return frame.pixels
