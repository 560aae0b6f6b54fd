"""The backgrounds of clips: a picture, a clip that runs along, or frames of the clip itself."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bgm.data.decode import decode
from bgm.data.pixels import Pixels, to_uint8
from bgm.data.video.clip import Clip, ClipInfo, Range
from bgm.data.video.points import Point, parse_point
from bgm.errors import ConfigError, DataError

_OWN = re.compile(r"(first|range):(.+)|median")
_SAMPLED = 25  # frames that a median is taken of
_ROWS = 64  # that a median is computed of at once, for the sake of memory


class Plate(Protocol):
    """Where the background of a clip comes from."""

    @property
    def file(self) -> Path | None:
        """The file it is read from; None if that is the clip itself."""

    @property
    def moves(self) -> bool:
        """Whether there is one for each frame."""

    def describe(self) -> str:
        """What is used, for the records."""

    def check(self, info: ClipInfo, wanted: Range) -> None:
        """Refuse what cannot be the plate of a clip.

        Raises:
            DataError: It is too short, or cannot be read.
        """

    def frames(self, wanted: Range) -> Iterator[Pixels | Exception]:
        """The plate of each frame, without an end where it does not move.

        Raises:
            DataError: It cannot be read.
        """


@dataclass(frozen=True)
class StillPlate:
    """A picture.

    Attributes:
        file: The picture.
        max_pixels: A picture that claims to have more is refused.
    """

    file: Path
    max_pixels: int = 400_000_000
    moves: bool = False

    def describe(self) -> str:
        """Its path."""
        return str(self.file)

    def check(self, info: ClipInfo, wanted: Range) -> None:
        """Whether it can be read is seen when its turn comes."""

    def frames(self, wanted: Range) -> Iterator[Pixels | Exception]:
        """The same for every frame."""
        pixels = decode(self.file, self.max_pixels).pixels
        while True:
            yield pixels


@dataclass(frozen=True)
class ClipPlate:
    """A clip that runs along, of a shot with motion control.

    Attributes:
        clip: The clip.
    """

    clip: Clip
    moves: bool = True

    @property
    def file(self) -> Path | None:
        """The clip."""
        return self.clip.path

    def describe(self) -> str:
        """Its path."""
        return f"{self.clip.path}, frame by frame"

    def check(self, info: ClipInfo, wanted: Range) -> None:
        """Compare the lengths."""
        own = self.clip.probe()
        if own.frames is not None and info.frames is not None and own.frames != info.frames:
            raise DataError(
                f"the plate {self.clip.path} has {own.frames} frames, the clip {info.frames}; a "
                "clip as plate runs along frame by frame"
            )

    def frames(self, wanted: Range) -> Iterator[Pixels | Exception]:
        """Its frames, one for each of the other clip's."""
        for frame in self.clip.read(wanted):
            yield frame.pixels


@dataclass(frozen=True)
class OwnPlate:
    """The median of frames of the clip itself, from where nobody is in it.

    Attributes:
        clip: The clip.
        range: Where; all of it if that is not said.
    """

    clip: Clip
    range: Range
    moves: bool = False

    @property
    def file(self) -> Path | None:
        """No file of its own."""
        return None

    def describe(self) -> str:
        """Where the frames are from."""
        where = "all of it" if self.range.is_whole else f"{self.range.start} to {self.range.end}"
        return f"median of the clip itself ({where})"

    def check(self, info: ClipInfo, wanted: Range) -> None:
        """Refuse a range behind the clip's end."""
        expected = self.range.resolve(info).expected(info)
        if expected == 0:
            raise DataError(f"{self.clip.path} is shorter than data.bgr asks for a plate from it")

    def frames(self, wanted: Range) -> Iterator[Pixels | Exception]:
        """The median, for every frame."""
        plate = self._median()
        while True:
            yield plate

    def _median(self) -> NDArray[np.uint8]:
        info = self.clip.probe()
        resolved = self.range.resolve(info)
        expected = resolved.expected(info) or _SAMPLED
        spaced = Range(resolved.start, resolved.end, max(1, expected // _SAMPLED))
        frames: list[NDArray[np.uint8]] = []
        with closing(_pixels(self.clip, spaced)) as found:
            for pixels in found:
                if frames and pixels.shape != frames[0].shape:
                    continue
                frames.append(to_uint8(pixels))
                if len(frames) > 2 * _SAMPLED:  # the clip is longer than it says
                    del frames[1::2]
        if not frames:
            raise DataError(f"{self.clip.path} has no frames where data.bgr looks for the plate")
        return median(frames)


def _pixels(clip: Clip, wanted: Range) -> Generator[Pixels, None, None]:
    for frame in clip.read(wanted):
        if not isinstance(frame.pixels, Exception):
            yield frame.pixels


def median(frames: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The median of pictures of one size, pixel by pixel."""
    result = np.empty_like(frames[0])
    for top in range(0, result.shape[0], _ROWS):
        rows = np.stack([frame[top : top + _ROWS] for frame in frames])
        rows.sort(axis=0)
        middle = rows.shape[0] // 2
        if rows.shape[0] % 2:
            result[top : top + _ROWS] = rows[middle]
        else:
            pair = rows[middle - 1].astype(np.uint16) + rows[middle]
            result[top : top + _ROWS] = (pair + 1) // 2
    return result


def own_plate(text: str) -> Range | None:
    """Where in the clip itself its plate is; None if the text is a path.

    Raises:
        ConfigError: It begins like one of the ways, and is none.
    """
    found = _OWN.fullmatch(text)
    if found is None:
        return None
    if found[1] is None:
        return Range()
    if found[1] == "first":
        return Range(Point(seconds=Fraction(0)), parse_point("data.bgr", found[2]))
    first, mark, last = found[2].partition("-")
    if not mark:
        raise ConfigError(f"data.bgr={text}: must be range:FROM-TO, such as range:2s-4s")
    return Range(parse_point("data.bgr", first), parse_point("data.bgr", last))
