"""Finds the clips of a run, and the plate and the truths that belong to each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from bgm.data.kinds import is_film, is_image, why_no_photograph, why_unread
from bgm.data.listing import name_of
from bgm.data.pairs import describe
from bgm.data.sources import Folder
from bgm.data.video.clip import Clip
from bgm.data.video.container import VideoFile
from bgm.data.video.plates import ClipPlate, OwnPlate, Plate, StillPlate, own_plate
from bgm.data.video.sequence import (
    FrameSequence,
    check_gaps,
    files_of,
    is_pattern,
    name_of_sequence,
    sequences,
)
from bgm.errors import DataError


@dataclass(frozen=True)
class Reading:
    """How clips are read.

    Attributes:
        rate: Frames per second of numbered pictures.
        deinterlace: `auto`, `on` or `off`.
        max_pixels: Frames that claim to have more are refused.
        workers: Pictures that are decoded at once.
        skip_gaps: Whether frames may be missing between numbered pictures.
    """

    rate: Fraction = Fraction(25)
    deinterlace: str = "auto"
    max_pixels: int = 400_000_000
    workers: int = 2
    skip_gaps: bool = False


@dataclass(frozen=True)
class Shot:
    """A clip with what belongs to it.

    Attributes:
        clip: The clip.
        plate: Its background.
        truths: Clips of what is true of it, by kind: `pha`, `fgr`, `trimap`.
    """

    clip: Clip
    plate: Plate
    truths: dict[str, Clip] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.clip.name

    def inputs(self) -> dict[str, Path]:
        """The files it is made from, by kind; of numbered pictures the first."""
        files = {"src": first_file(self.clip)}
        if (plate := self.plate.file) is not None:
            files["bgr"] = plate
        return files | {kind: first_file(clip) for kind, clip in self.truths.items()}


def first_file(clip: Clip) -> Path:
    """The file of a clip, or of numbered pictures the first."""
    return clip.file(clip.numbers[0]) if isinstance(clip, FrameSequence) else clip.path


def find_clips(root: Path, reading: Reading, *, alpha: bool = False) -> dict[str, Clip]:
    """The clips that a path stands for, by name.

    Args:
        root: A video; a folder of videos or of numbered pictures, with its sub-folders; or a
            pattern of numbered pictures.
        reading: How they are read.
        alpha: Whether their alpha is read, not their colours.

    Raises:
        DataError: There is none, names are not clear, or frames are missing.
    """
    if is_pattern(root) and not root.exists():
        groups = sequences(files_of(root))
        if len(groups) != 1:
            names = ", ".join(sorted(f"{prefix}*{suffix}" for _, prefix, suffix, _ in groups))
            raise DataError(f"{root} matches {len(groups)} numbered sequences ({names}), not one")
        ((folder, prefix, suffix, width), numbers) = groups.popitem()
        name = name_of_sequence(folder, prefix)
        made = _sequence(folder, name, (prefix, suffix, width), numbers, reading, alpha)
        return {name: made}
    if root.is_dir():
        return _in_folder(root, reading, alpha)
    if is_image(root):
        raise DataError(
            f"{root} is one picture, not a clip; give a video, a folder of numbered pictures or a "
            "pattern such as frames/%05d.png, or use data=folders for photographs"
        )
    reason = None if is_film(root) else why_unread(root)
    if reason is not None:
        raise DataError(f"{root} is {reason}")
    return {name_of(root, root.parent): _video(root, name_of(root, root.parent), reading, alpha)}


def _in_folder(root: Path, reading: Reading, alpha: bool) -> dict[str, Clip]:
    listing = Folder(root).list()
    found: dict[str, list[Clip]] = defaultdict(list)
    for path in listing.films:
        name = name_of(path, root)
        found[name].append(_video(path, name, reading, alpha))
    pictures = (path for paths in listing.images.values() for path in paths)
    groups = {key: numbers for key, numbers in sequences(pictures).items() if len(numbers) > 1}
    in_folder: dict[Path, int] = defaultdict(int)
    for folder, *_ in groups:
        in_folder[folder] += 1
    for (folder, prefix, suffix, width), numbers in groups.items():
        own = name_of_sequence(folder, prefix)
        relative = folder.relative_to(root)
        alone = in_folder[folder] == 1 and folder != root
        name = (relative if alone else relative / own).as_posix()
        found[name].append(
            _sequence(folder, name, (prefix, suffix, width), numbers, reading, alpha)
        )
    doubled = {
        name: "more than one clip of that name: " + ", ".join(str(clip.path) for clip in clips)
        for name, clips in found.items()
        if len(clips) > 1
    }
    if doubled:
        raise DataError(describe(doubled, "name with several clips"))
    if not found:
        raise DataError(f"no clips in {root}: neither videos nor numbered pictures")
    return {name: clips[0] for name, clips in sorted(found.items())}


def _video(path: Path, name: str, reading: Reading, alpha: bool) -> VideoFile:
    return VideoFile(path, name, reading.deinterlace, reading.max_pixels, alpha)


def _sequence(
    folder: Path,
    name: str,
    naming: tuple[str, str, int],
    numbers: Sequence[int],
    reading: Reading,
    alpha: bool,
) -> FrameSequence:
    prefix, suffix, width = naming
    sequence = FrameSequence(
        folder=folder,
        name=name,
        prefix=prefix,
        suffix=suffix,
        width=width,
        numbers=numbers,  # type: ignore[arg-type]
        rate=reading.rate,
        workers=reading.workers,
        max_pixels=reading.max_pixels,
        alpha=alpha,
    )
    check_gaps(sequence, may_skip=reading.skip_gaps)
    return sequence


def find_shots(
    src: Path,
    bgr: str,
    truths: dict[str, Path],
    reading: Reading,
    *,
    skip_unmatched: bool = False,
) -> tuple[list[Shot], dict[str, str]]:
    """Find clips, their plates and what is true of them.

    Args:
        src: What `find_clips` takes.
        bgr: `first:2s`, `range:2s-4s` or `median`, of each clip itself; a picture or a clip for
            all; or a folder with one of either for each clip, of the same relative names.
        truths: For each kind what `find_clips` takes.
        reading: How clips are read.
        skip_unmatched: Whether clips without plate or truth may be left out or unscored.

    Returns:
        The shots in the order of their names, and why a clip is none, by name.

    Raises:
        DataError: There are no clips, or a clip is without partner and may not be.
    """
    clips = find_clips(src, reading)
    plate_of = _plates(clips, bgr, reading)
    shots, leftovers = [], {}
    given = {kind: find_clips(root, reading, alpha=kind != "fgr") for kind, root in truths.items()}
    for name, clip in clips.items():
        plate = plate_of(clip)
        if plate is None:
            leftovers[name] = f"clip without a background: {clip.path}"
            continue
        own = {kind: found for kind, all_ in given.items() if (found := _truth(name, clips, all_))}
        lacking = [kind for kind in given if kind not in own]
        if lacking and not skip_unmatched:
            raise DataError(
                f"clip without truth ({', '.join(lacking)}): {name} (data.unmatched=skip goes on "
                "without)"
            )
        shots.append(Shot(clip, plate, own))
    if leftovers and not skip_unmatched:
        raise DataError(describe(leftovers, "clip without partner", "data.unmatched=skip"))
    return shots, leftovers


def _truth(name: str, clips: dict[str, Clip], found: dict[str, Clip]) -> Clip | None:
    """What is true of a clip; one clip of another name stands for one clip."""
    if len(clips) == len(found) == 1:
        return next(iter(found.values()))
    return found.get(name)


def _plates(clips: dict[str, Clip], bgr: str, reading: Reading) -> Callable[[Clip], Plate | None]:
    """What finds the plate of a clip."""
    wanted = own_plate(bgr)
    if wanted is not None:
        return lambda clip: OwnPlate(clip, wanted)
    root = Path(bgr)
    if root.is_dir():
        pictures = {
            name: paths[0]
            for name, paths in Folder(root).list().images.items()
            if len(paths) == 1 and name in clips
        }
        try:
            found = find_clips(root, replace(reading))
        except DataError:
            found = {}
        if not pictures and len(found) == 1:  # numbered pictures of one plate that moves
            (only,) = found.values()
            return lambda clip: ClipPlate(only)

        def of_name(clip: Clip) -> Plate | None:
            if clip.name in pictures:
                return StillPlate(pictures[clip.name], reading.max_pixels)
            return ClipPlate(found[clip.name]) if clip.name in found else None

        return of_name
    if is_film(root) or is_pattern(root):
        (clip_of_all,) = find_clips(root, reading).values()
        return lambda clip: ClipPlate(clip_of_all)
    reason = why_no_photograph(root)
    if reason is not None:
        raise DataError(f"{root} is {reason}")
    still = StillPlate(root, reading.max_pixels)
    return lambda clip: still
