"""Examines the photographs and plates of a run, up to where the network would begin."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import rich
from rich.table import Table
from rich.text import Text

from bgm.config.schema import Config
from bgm.data import Pair, prefetch
from bgm.data.datasets import Sample, ZipDataset
from bgm.data.examination import examine, judge
from bgm.data.pixels import as_pixels
from bgm.data.video.reel import Reel
from bgm.errors import BgmError
from bgm.inference.device import default_threads, helper_threads
from bgm.records.alignments import Alignments
from bgm.records.atomic import in_words
from bgm.records.directory import RunDirectory
from bgm.records.examination import Examination
from bgm.records.siblings import jobs_beside
from bgm.runs import steps
from bgm.runs.clip_plan import PlannedClip, preparing
from bgm.runs.plan import make_plan
from bgm.runs.plates import make_plates
from bgm.runs.preflight import create_output_dir
from bgm.tracking.console import printable

PLATES_FILE = "plates.jsonl"
_SHOWN = 40
_OF_A_CLIP = 2  # frames


def dry_run(config: Config, output_dir: Path, working: Path) -> list[Examination]:
    """Examine every pair; write and print what was found.

    Args:
        config: What is asked for.
        output_dir: Where a run with these settings would write.
        working: Where on this machine `plates.jsonl` goes.

    Returns:
        What was found of each pair, in the order of their names; of clips, of two frames each.

    Raises:
        BgmError: Something is wrong before the first image; or the file cannot be written.
    """
    plan = make_plan(config, output_dir, working)
    create_output_dir(working)
    directory = RunDirectory(output_dir, working)
    directory.lock()
    try:
        make_plates(plan.pairs.stills(), working, config.data.max_pixels)
        if plan.clips is None:
            items = _pairs(config, plan.pairs, working)
        else:
            items = _frames(config, plan.clips)
        with closing(items):
            found = _keep(items, working / PLATES_FILE)
    finally:
        directory.release()
    _print(found, working)
    return found


def _keep(items: Iterator[Examination], path: Path) -> list[Examination]:
    """Write down what was found, line by line."""
    found = []
    with in_words(path), path.open("w", encoding="utf-8") as file:
        for item in items:
            found.append(item)
            file.write(json.dumps(item.as_dict()) + "\n")
            file.flush()
    return found


def _pairs(
    config: Config, pairs: Sequence[Pair], working: Path
) -> Generator[Examination, None, None]:
    """Every photograph with its plate."""
    dataset = ZipDataset(
        pairs,
        align=True,
        alignments=Alignments(working, jobs_beside(working)),
        resize_background=config.data.resize_background,
        max_pixels=config.data.max_pixels,
    )

    def load(index: int) -> Examination:
        return _examine(config, steps.load(dataset, index))

    workers = config.data.workers or helper_threads(config.threads or default_threads())
    items = prefetch(load, len(pairs), workers, lambda index: pairs[index].name)
    with closing(items):
        for pair, item in zip(pairs, items, strict=True):
            yield _hopeless(pair, item) if isinstance(item, Exception) else item


def _frames(config: Config, clips: Sequence[PlannedClip]) -> Generator[Examination, None, None]:
    """The first frame of every clip and one from its middle."""
    how = replace(preparing(config, align="frames"), match_exposure=False)
    for clip in clips:
        frames = clip.wanted.expected(clip.info) or 2
        few = replace(clip.wanted, stride=clip.wanted.stride * max(1, frames // 2))
        path = clip.shot.inputs()["src"]
        try:
            with closing(Reel(clip.shot, few, how, clip.info.time_base).run()) as reel:
                for _, pair, item in islice(reel, _OF_A_CLIP):
                    if isinstance(item, Exception):
                        yield _hopeless(pair, item)
                    else:
                        yield _examine(config, item, clip.shot.plate.describe())
        except BgmError as error:
            yield _hopeless(Pair(clip.name, path, path), error)


def _hopeless(pair: Pair, error: Exception) -> Examination:
    return Examination(pair.name, _plate(pair), verdicts=[steps.explain(error)], is_hopeless=True)


def _examine(config: Config, sample: Sample, plate: str | None = None) -> Examination:
    assert sample.alignment is not None, "whoever loads aligns"
    findings = examine(as_pixels(sample.src), as_pixels(sample.bgr), sample.alignment)
    verdicts, is_hopeless = judge(
        findings, aligns=bool(config.data.align), matches=config.data.match_exposure
    )
    height, width = sample.src.shape[1:]
    return Examination(
        name=sample.pair.name,
        plate=plate or _plate(sample.pair),
        width=width,
        height=height,
        shift_px=sample.alignment.shift_px,
        gain=findings.gain,
        blur_px=findings.blur_px,
        noise=findings.noise,
        agrees=findings.agrees,
        verdicts=[*sample.remarks, *verdicts],
        is_hopeless=is_hopeless,
    )


def _plate(pair: Pair) -> str:
    return f"{pair.bgr} ({pair.plate})" if pair.plate else str(pair.bgr)


def _print(found: Sequence[Examination], working: Path) -> None:
    """Print what was found, the worst first."""
    order = sorted(found, key=lambda one: (not one.is_hopeless, not one.verdicts))[:_SHOWN]
    console = rich.get_console()
    table = Table()
    table.add_column("image", overflow="fold")
    for title in ("px off", "gain R, G, B", "blur px", "noise", "agrees", ""):
        table.add_column(title, justify="right", no_wrap=True)
    for one in order:
        gain = " ".join(f"{factor:.2f}" for factor in one.gain) if one.gain else "-"
        agrees = "-" if one.agrees is None else f"{one.agrees:.0%}"
        numbers = _number(one.shift_px), gain, _number(one.blur_px), _number(one.noise), agrees
        word, style = ("fits", "green") if not one.verdicts else ("look", "yellow")
        word, style = ("hopeless", "red") if one.is_hopeless else (word, style)
        table.add_row(Text(printable(one.name)), *numbers, Text(word, style))
    console.print(table)
    for one in order:
        for verdict in one.verdicts:
            text = f"{printable(one.name)}: {printable(verdict)}"
            style = "red" if one.is_hopeless else ""
            console.print(text, style=style, soft_wrap=True, markup=False, highlight=False)
    hopeless = sum(one.is_hopeless for one in found)
    faulty = sum(bool(one.verdicts) for one in found) - hopeless
    line = f"{len(found)} pairs: {len(found) - faulty - hopeless} fit, {faulty} with remarks, "
    more = f"; the worst {_SHOWN} are shown" if len(found) > _SHOWN else ""
    where = printable(str(working / PLATES_FILE))
    console.print(
        f"{line}{hopeless} hopeless{more}; all are in {where}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
