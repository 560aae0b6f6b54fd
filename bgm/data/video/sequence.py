"""Clips as numbered pictures, such as frames/00001.png: with all that holds for photographs."""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import gcd
from pathlib import Path

from bgm.data.decode import decode, read_alpha
from bgm.data.kinds import is_image
from bgm.data.pixels import Pixels
from bgm.data.prefetch import prefetch
from bgm.data.video.clip import ClipInfo, Frame, Range
from bgm.errors import DataError

_NUMBER = re.compile(r"(.*\D|)(\d+)(\D*)")  # the last one: scene2_0001 is of scene2
_HASHES = re.compile(r"#+")
_PERCENT = re.compile(r"%0?(\d*)d")
_NAMED = 10
_JOINTS = "._- "


@dataclass(frozen=True)
class FrameSequence:
    """Numbered pictures in a folder.

    Attributes:
        folder: The folder.
        name: What the clip is called.
        prefix: What stands before the number.
        suffix: What stands behind it, with the extension.
        width: Digits that numbers are filled up to with zeros; 0 for none.
        numbers: The numbers there are, rising.
        rate: Frames per second.
        workers: Pictures that are decoded at once.
        max_pixels: Pictures that claim to have more are refused.
        alpha: Whether alpha is read, as (H, W) uint8, instead of colours.
    """

    folder: Path
    name: str
    prefix: str
    suffix: str
    width: int
    numbers: array[int]
    rate: Fraction = Fraction(25)
    workers: int = 2
    max_pixels: int = 400_000_000
    alpha: bool = False

    @property
    def path(self) -> Path:
        """The folder of the pictures."""
        return self.folder

    @property
    def pattern(self) -> str:
        """What the names of its files have in common."""
        number = f"%0{self.width}d" if self.width else "%d"
        return f"{self.prefix}{number}{self.suffix}"

    def file(self, number: int) -> Path:
        """The picture of a number."""
        return self.folder / f"{self.prefix}{number:0{self.width}d}{self.suffix}"

    @property
    def step(self) -> int:
        """How far numbers lie apart: rendered every tenth frame, by ten."""
        found = 0
        for one, other in zip(self.numbers, self.numbers[1:], strict=False):
            found = gcd(found, other - one)
        return found or 1

    def gaps(self) -> list[str]:
        """Runs of numbers that are missing, as `7` or `12-15`."""
        step, gaps = self.step, []
        for one, other in zip(self.numbers, self.numbers[1:], strict=False):
            first, last = one + step, other - step
            if first <= last:
                gaps.append(str(first) if first == last else f"{first}-{last}")
        return gaps

    def probe(self) -> ClipInfo:
        """The size of the first picture; the rate is a setting."""
        first = self._pixels(self.numbers[0])
        count = (self.numbers[-1] - self.numbers[0]) // self.step + 1
        return ClipInfo(
            size=(first.shape[1], first.shape[0]),
            rate=self.rate,
            time_base=1 / self.rate,
            frames=count,
            seconds=float(count / self.rate),
            facts={
                "container": "numbered pictures",
                "pattern": self.pattern,
                "first": self.numbers[0],
                "last": self.numbers[-1],
                "gaps": self.gaps(),
            },
        )

    def read(self, wanted: Range) -> Iterator[Frame]:
        """Its pictures, a few of them decoded at once."""
        step, first = self.step, None
        chosen = array("q")
        for number in self.numbers:
            index = (number - self.numbers[0]) // step
            seconds = index / self.rate
            if wanted.is_over(index, seconds):
                break
            if wanted.contains(index, seconds, first):
                first = index if first is None else first
                chosen.append(number)
        pictures = prefetch(partial(self._load, chosen), len(chosen), self.workers)
        with closing(pictures):
            for number, picture in zip(chosen, pictures, strict=False):
                index = (number - self.numbers[0]) // step
                written = f"{number:0{self.width}d}"
                if isinstance(picture, Exception):
                    yield Frame(written, index, index, 1, picture)
                else:
                    yield Frame(written, index, index, 1, *picture)

    def _load(self, chosen: array[int], place: int) -> tuple[Pixels, str | None]:
        path = self.file(chosen[place])
        if self.alpha:
            return read_alpha(path), None
        decoded = decode(path, self.max_pixels)
        return decoded.pixels, decoded.remark

    def _pixels(self, number: int) -> Pixels:
        path = self.file(number)
        return read_alpha(path) if self.alpha else decode(path, self.max_pixels).pixels


def sequences(files: Iterable[Path]) -> dict[tuple[Path, str, str, int], array[int]]:
    """Group numbered pictures.

    Args:
        files: Pictures; those without a number are passed over.

    Returns:
        The numbers, rising, by folder, prefix, suffix and digits (0 where they differ).
    """
    widths: dict[tuple[Path, str, str], set[int]] = defaultdict(set)
    padded: dict[tuple[Path, str, str], bool] = defaultdict(bool)
    found: dict[tuple[Path, str, str], list[int]] = defaultdict(list)
    for path in files:
        match = _NUMBER.fullmatch(path.stem)
        if match is None:
            continue
        key = (path.parent, match[1], match[3] + path.suffix)
        widths[key].add(len(match[2]))
        padded[key] |= match[2].startswith("0") and len(match[2]) > 1
        found[key].append(int(match[2]))
    return {
        (*key, min(widths[key]) if padded[key] or len(widths[key]) == 1 else 0): array(
            "q", sorted(numbers)
        )
        for key, numbers in found.items()
    }


def is_pattern(path: Path) -> bool:
    """Whether a path stands for several files."""
    return bool(_HASHES.search(path.name) or _PERCENT.search(path.name)) or any(
        mark in path.name for mark in "*?["
    )


def files_of(pattern: Path) -> list[Path]:
    """The pictures that a pattern stands for: %05d, ####, or a glob.

    Raises:
        DataError: There are none.
    """
    if not pattern.parent.is_dir():
        raise DataError(f"{pattern}: there is no folder {pattern.parent}")
    text = pattern.name
    if _HASHES.search(text) or _PERCENT.search(text):
        expression = re.escape(text).replace(r"\#", "#").replace(r"\%", "%")
        expression = _HASHES.sub(lambda found: rf"\d{{{len(found[0])},}}", expression)
        expression = _PERCENT.sub(r"\\d+", expression)
        files = [p for p in pattern.parent.iterdir() if re.fullmatch(expression, p.name)]
    else:
        files = [p for p in pattern.parent.glob(text) if p.is_file()]
    files = [path for path in files if is_image(path)]
    if not files:
        raise DataError(f"{pattern} matches no picture that can be read")
    return files


def name_of_sequence(folder: Path, prefix: str) -> str:
    """What a sequence is called: by what stands before its numbers, or by its folder."""
    return prefix.rstrip(_JOINTS) or folder.name or "frames"


def check_gaps(sequence: FrameSequence, *, may_skip: bool) -> None:
    """Refuse a sequence with gaps, and name them.

    Raises:
        DataError: Frames are missing and may not be.
    """
    gaps = sequence.gaps()
    if gaps and not may_skip:
        more = f" and {len(gaps) - _NAMED} more gaps" if len(gaps) > _NAMED else ""
        raise DataError(
            f"{sequence.folder / sequence.pattern} lacks {', '.join(gaps[:_NAMED])}{more} "
            "(data.unmatched=skip goes on without; the frame before is shown longer)"
        )
