"""Which plate belongs to which photograph, where it is not the one of the same name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from bgm.data.metadata import capture_time

MEDIAN = "median"
"""What is given as `data.bgr` if plates are to be made from the photographs themselves."""

LEAST_STILLS = 3
"""A median of fewer shows whatever stands in one of them."""

Images = Mapping[str, Path]
"""Images by name: the relative path without extension, with forward slashes."""


@dataclass(frozen=True)
class Plate:
    """What serves as the plate of a photograph.

    Attributes:
        path: Its file; one that is still to be made, if there are stills.
        how: How it was chosen, in words; None if by its name.
        stills: What it is to be the median of.
    """

    path: Path
    how: str | None = None
    stills: tuple[Path, ...] = ()


Choice = tuple[dict[str, Plate], dict[str, str]]
"""The plates by the names of the photographs; and why a photograph, or a plate, is left over."""


def by_folder(sources: Images, plates: Images, made: Path) -> Choice:
    """Choose the plate that bears the name of the photograph's folder, or of one around it."""
    del made
    chosen, leftovers = {}, {}
    of_folders: dict[str, Plate] = {}  # which many photographs share
    for name in sources:
        folder = next((f for f in _folders(name) if f in plates), None)
        if folder is None:
            leftovers[name] = f"no background is named like a folder of {sources[name]}"
            continue
        if folder not in of_folders:
            of_folders[folder] = Plate(plates[folder], f"of the folder {folder}")
        chosen[name] = of_folders[folder]
    used = {plate.path for plate in of_folders.values()}
    for name, path in plates.items():
        if path not in used and name not in sources:
            leftovers[name] = f"background of a folder without photographs: {path}"
    return chosen, leftovers


def by_time(sources: Images, plates: Images, made: Path) -> Choice:
    """Choose the plate that was taken nearest in time; of two as near, the earlier one."""
    del made
    chosen: dict[str, Plate] = {}
    leftovers: dict[str, str] = {}
    times: list[tuple[datetime, Path]] = []
    for name, path in plates.items():
        taken = capture_time(path)
        if taken is not None:
            times.append((taken, path))
        elif name not in sources:
            leftovers[name] = f"background without a capture time in its EXIF: {path}"
    times.sort()
    for name, path in sources.items():
        taken = capture_time(path)
        if taken is None:
            leftovers[name] = f"source without a capture time in its EXIF: {path}"
        elif not times:
            leftovers[name] = "no background has a capture time in its EXIF"
        else:
            when, plate = min(times, key=lambda other: abs(other[0] - taken))
            chosen[name] = Plate(plate, f"nearest in time, {_apart(when, taken)}")
    return chosen, leftovers


def by_median(sources: Images, plates: Images, made: Path) -> Choice:
    """Choose the median of the stills in the folder of the photograph, or in one around it."""
    stills = _by_folder(plates)
    medians = _medians(stills, made, "still")
    chosen, leftovers = {}, {}
    for name in sources:
        folder = next((f for f in (*_folders(name), "") if f in stills), None)
        if folder is None:
            leftovers[name] = f"no folder of stills for {sources[name]}"
        elif len(stills[folder]) < LEAST_STILLS:
            leftovers[name] = _too_few(len(stills[folder]), "still")
        else:
            chosen[name] = medians[folder]
    return chosen, leftovers


def of_themselves(sources: Images, made: Path) -> Choice:
    """Choose the median of all photographs of a folder, taken by one camera that did not move."""
    groups = _by_folder(sources)
    medians = _medians(groups, made, "photograph")
    chosen, leftovers = {}, {}
    for name in sources:
        folder = _folder(name)
        if len(groups[folder]) < LEAST_STILLS:
            leftovers[name] = _too_few(len(groups[folder]), "photograph")
        else:
            chosen[name] = medians[folder]
    return chosen, leftovers


CHOICES: Mapping[str, Callable[[Images, Images, Path], Choice]] = {
    "folder": by_folder,
    "time": by_time,
    "median": by_median,
}
"""Ways to choose a plate, other than by its name."""


def _medians(groups: Mapping[str, list[Path]], made: Path, what: str) -> dict[str, Plate]:
    """The plate that is to be made in each folder."""
    return {
        folder: Plate(
            made / folder / "median.png",
            f"median of {len(stills)} {what}s{f' in {folder}' if folder else ''}",
            tuple(stills),
        )
        for folder, stills in groups.items()
    }


def _by_folder(images: Images) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = defaultdict(list)
    for name in sorted(images):
        groups[_folder(name)].append(images[name])
    return dict(groups)


def _folder(name: str) -> str:
    return next(iter(_folders(name)), "")


def _folders(name: str) -> list[str]:
    """The folders of a name, the innermost first."""
    return [str(parent) for parent in PurePosixPath(name).parents][:-1]


def _too_few(count: int, what: str) -> str:
    return f"a plate by median needs {LEAST_STILLS} {what}s of one folder, there are {count}"


def _apart(plate: datetime, photograph: datetime) -> str:
    seconds = abs((photograph - plate).total_seconds())
    text = f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
    return f"{text} {'before' if plate <= photograph else 'after'} the photograph"
