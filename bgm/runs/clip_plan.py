"""What clips a run is asked for, each looked into before any work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bgm.config.schema import Config, Unmatched
from bgm.config.video import parse_rate
from bgm.data.video.clip import ClipInfo, Range
from bgm.data.video.find import Reading, Shot, find_shots
from bgm.data.video.points import parse_point
from bgm.data.video.reel import Preparing
from bgm.errors import BgmError, ConfigError, DataError
from bgm.records.record import ImageRecord
from bgm.storage import is_url


@dataclass(frozen=True)
class PlannedClip:
    """A clip, known well enough to begin with it.

    Attributes:
        shot: The clip with its plate and truths.
        info: What it says of itself.
        wanted: Which of its frames.
    """

    shot: Shot
    info: ClipInfo
    wanted: Range

    @property
    def name(self) -> str:
        """What it is called."""
        return self.shot.name


def plan_clips(config: Config) -> tuple[list[PlannedClip], list[ImageRecord]]:
    """Find the clips of a run and look into each.

    Returns:
        The clips that can be begun with, and records of the others.

    Raises:
        BgmError: There is none, or none can be read; it says why.
    """
    data = config.data
    for key in ("data.src", "data.bgr", "data.pha", "data.fgr", "data.trimap", "output_dir"):
        place = getattr(data, key[5:]) if key.startswith("data.") else config.output_dir
        if place is not None and is_url(str(place)):
            raise ConfigError(f"{key}={place}: clips are read and written on this machine only")
    reading = Reading(
        rate=parse_rate(data.frame_rate),
        deinterlace=data.deinterlace.name,
        max_pixels=round(data.max_megapixels * 1e6),
        workers=data.workers or 2,
        skip_gaps=data.unmatched is Unmatched.skip,
    )
    truths = {
        kind: Path(path)
        for kind in ("pha", "fgr", "trimap")
        if (path := getattr(data, kind)) is not None
    }
    shots, leftovers = find_shots(
        Path(data.src), data.bgr, truths, reading, skip_unmatched=reading.skip_gaps
    )
    others = [ImageRecord(name, "unmatched", why) for name, why in leftovers.items()]
    start, end = (
        None if text is None else parse_point(f"data.{key}", text)
        for key, text in (("start", data.start), ("end", data.end))
    )
    planned: list[PlannedClip] = []
    errors: list[BgmError] = []
    for shot in shots:
        try:
            planned.append(_look_into(shot, Range(start, end, data.stride)))
        except BgmError as error:
            errors.append(error)
            others.append(ImageRecord(shot.name).fail(str(error)))
    if not planned:
        raise errors[0] if errors else DataError("no clip has a background")
    return planned, others


def _look_into(shot: Shot, wanted: Range) -> PlannedClip:
    info = shot.clip.probe()
    resolved = wanted.resolve(info)
    if resolved.expected(info) == 0:
        raise ConfigError(
            f"{shot.clip.path} has no frame between data.start and data.end (it is "
            f"{info.seconds or 0:g} s long)"
        )
    shot.plate.check(info, resolved)
    return PlannedClip(shot, info, resolved)


def preparing(config: Config, *, align: str | None = None, check_every: int = 0) -> Preparing:
    """What happens to frames before the network.

    Args:
        config: What is asked for.
        align: When plates are aligned, if not as it says.
        check_every: Every how manyth matte is checked.
    """
    data = config.data
    asked = "off" if not data.align else "frames" if data.align == "frames" else "clip"
    return Preparing(
        align=align or asked,
        resize_background=data.resize_background,
        metadata=config.outputs.metadata,
        match_exposure=data.match_exposure,
        check_every=check_every,
    )
