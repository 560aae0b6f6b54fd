"""Scores mattes that are clips against true clips, frame by frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path

from bgm.config.schema import EvaluateConfig, Unmatched
from bgm.data import describe
from bgm.data.kinds import is_film
from bgm.data.pixels import to_uint8
from bgm.data.processors import usable_cpus
from bgm.data.sources import Folder
from bgm.data.video.clip import Clip, Frame, Range
from bgm.data.video.find import Reading, find_clips
from bgm.data.video.sequence import is_pattern
from bgm.errors import BgmError, DataError
from bgm.evaluation.rows import Row
from bgm.evaluation.truth import Scorer, unknown_only

_AHEAD = 2  # frames per worker that are held


def are_clips(path: Path) -> bool:
    """Whether a path is a video, a pattern, or a folder with videos and no pictures."""
    if not path.exists():
        return is_pattern(path) and path.parent.is_dir()
    if path.is_dir():
        found = Folder(path).list()
        return bool(found.films) and not found.images
    return is_film(path)


def evaluate_clips(config: EvaluateConfig) -> list[Row]:
    """Score mattes that are clips; a single one of each goes together whatever its name.

    Returns:
        A row per frame; and one for each clip that has no partner, or that cannot be read on.

    Raises:
        BgmError: There are no clips, one has no partner, or none has.
    """
    reading = Reading(workers=config.workers or 2)
    given = {"pha": config.true, "trimap": config.trimap}
    mattes = find_clips(Path(config.pred), reading, alpha=True)
    truths = {
        kind: find_clips(Path(path), reading, alpha=True)
        for kind, path in given.items()
        if path is not None
    }
    missing = _missing(mattes, truths)
    if missing and config.unmatched is not Unmatched.skip:
        raise DataError(describe(missing, "clip without partner", "unmatched=skip"))
    if not mattes.keys() - missing.keys():
        raise DataError(f"no clip in pred={config.pred} has a truth in true={config.true}")
    scorer = Scorer(
        {},
        unknown_only=unknown_only(config.scores.region.name, config.trimap),
        band=config.scores.band,
        has_trimaps=config.trimap is not None,
    )
    rows: list[Row] = []
    with ThreadPoolExecutor(config.workers or usable_cpus()) as pool:
        for name, matte in mattes.items():
            if name not in missing:
                own = {kind: _partner(name, mattes, found) for kind, found in truths.items()}
                rows += _score_clip(name, matte, own, scorer, pool)
    return rows + [Row(name, error=why, unmatched=True) for name, why in missing.items()]


def _partner(name: str, mattes: dict[str, Clip], found: dict[str, Clip]) -> Clip:
    return found[name] if name in found else next(iter(found.values()))


def _missing(mattes: dict[str, Clip], truths: dict[str, dict[str, Clip]]) -> dict[str, str]:
    missing: dict[str, str] = {}
    for kind, found in truths.items():
        if len(mattes) == len(found) == 1:
            continue
        what = "truth" if kind == "pha" else kind
        missing |= dict.fromkeys(sorted(mattes.keys() - found.keys()), f"matte without a {what}")
        if kind == "pha":
            missing |= dict.fromkeys(sorted(found.keys() - mattes.keys()), "truth without a matte")
    return missing


def _score_clip(
    name: str, matte: Clip, truths: dict[str, Clip], scorer: Scorer, pool: ThreadPoolExecutor
) -> Iterator[Row]:
    """The rows of a clip, in the order of its frames; only a few of them are held decoded."""
    waiting: deque[Future[Row]] = deque()
    frames = zip_longest(*(clip.read(Range()) for clip in (matte, *truths.values())))
    try:
        for own, *true in frames:
            beside = dict(zip(truths, true, strict=True))
            waiting.append(pool.submit(_score, name, own, beside, scorer))
            if len(waiting) > _AHEAD * usable_cpus():
                yield waiting.popleft().result()
    except BgmError as error:
        waiting.append(pool.submit(Row, name, error=str(error)))
    while waiting:
        yield waiting.popleft().result()


def _score(clip: str, own: Frame | None, true: dict[str, Frame | None], scorer: Scorer) -> Row:
    shown = next(frame for frame in (own, *true.values()) if frame is not None)
    name = f"{clip}/{shown.name}"
    if own is None:
        return Row(name, error="the matte has fewer frames than the truth")
    for kind, frame in true.items():
        if frame is None:
            return Row(name, error=f"the true {kind} has fewer frames than the matte")
    if isinstance(own.pixels, Exception):
        return Row(name, error=str(own.pixels))
    given = {kind: frame.pixels for kind, frame in true.items() if frame is not None}
    try:
        return Row(name, scorer(name, to_uint8(own.pixels), truth=given))
    except BgmError as error:
        return Row(name, error=str(error))
