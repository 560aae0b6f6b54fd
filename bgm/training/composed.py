"""Puts cut-outs into photographs, as a set of files that `data=set` reads."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from bgm import __version__
from bgm.config.composing import ComposeConfig, OnExistingSet
from bgm.data.png import encode_png
from bgm.data.prefetch import prefetch
from bgm.data.processors import usable_cpus
from bgm.errors import ConfigError, DataError, WriteError
from bgm.records.atomic import write_atomically, write_together
from bgm.records.lock import DirectoryLock
from bgm.training.composites import Composer, Sample
from bgm.training.sheet import SHEET_FILE, write_sheet
from bgm.training.sources import Source, find_sources, read_background, read_foreground
from bgm.training.store import PictureStore, build_store

log = logging.getLogger(__name__)

SET_FILE = "set.json"
"""What the set is made of, in its directory."""

_PARTS = Sample._fields
_OF_NO_PIXEL = ("count", "workers", "preview", "on_existing", "output_dir")
_SAID_EVERY = 50


@dataclass(frozen=True)
class Planned:
    """A composite that belongs to the set.

    Attributes:
        name: Path of its files in the folders, without their ending.
        cutout: Number of its cut-out.
        turn: How manyth composite of that cut-out it is.
    """

    name: str
    cutout: int
    turn: int


def compose_set(
    config: ComposeConfig, output_dir: Path, settings: dict[str, Any], command: str
) -> bool:
    """Make a set, or what is missing of it; or only show what would be in it.

    Args:
        config: The settings.
        output_dir: Where the folders `src`, `bgr`, `pha` and `fgr` are made.
        settings: The settings as nested plain values.
        command: The command line, for those who wonder where the set comes from.

    Returns:
        Whether everything was written, and no picture left out.

    Raises:
        BgmError: There is nothing to compose, or a set that is not to be touched.
    """
    cv2.setNumThreads(1)  # composites are made side by side
    lock = DirectoryLock(output_dir)
    try:
        return _Set(config, output_dir).carry_out(settings, command)
    finally:
        lock.release()


class _Set:
    """One set: its pictures, and what is to be made of them.

    Raises:
        BgmError: There is nothing usable, or something is in the way.
    """

    def __init__(self, config: ComposeConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._earlier = None if config.preview else _read_earlier(config, folder)
        data = config.data
        self._sources = find_sources(data.foregrounds, data.alphas), find_sources(data.backgrounds)
        self._cutouts = self._load("foregrounds", self._sources[0])
        photographs = self._load("backgrounds", self._sources[1])
        self._composer = Composer(self._cutouts, photographs, config.composites)
        self._planned = plan_composites(self._cutouts, config.count)
        self._refused = [*self._cutouts.refused, *photographs.refused]

    def _load(self, what: str, sources: Sequence[Source]) -> PictureStore:
        is_cutouts, data = what == "foregrounds", self._config.data
        read = read_foreground if is_cutouts else read_background
        side = data.foreground_side if is_cutouts else data.background_side
        store = build_store(sources, read, Path(data.cache), side, usable_cpus())
        if not len(store):
            raise DataError(f"data.{what}: nothing usable in {', '.join(getattr(data, what))}")
        return store

    def carry_out(self, settings: dict[str, Any], command: str) -> bool:
        """Do what the settings ask for; returns whether nothing went wrong."""
        if self._config.preview:
            count = min(self._config.preview, len(self._planned))
            shown = [self._planned[at * len(self._planned) // count] for at in range(count)]
            write_sheet(self._folder / SHEET_FILE, map(self._make, shown), count)
            return not self._refused
        facts = self._facts(settings)
        if self._earlier is not None:
            _refuse_other(facts, self._earlier, self._folder)
        versions = {"bgm": __version__, "numpy": np.__version__, "opencv": cv2.__version__}
        about = {"command": command, "versions": versions, "left_out": self._refused}
        write_atomically(self._folder / SET_FILE, json.dumps({**about, **facts}, indent=1).encode())
        missing = [one for one in self._planned if not all(p.is_file() for p in self._paths(one))]
        if len(missing) < len(self._planned):
            log.info("%d composites are there already", len(self._planned) - len(missing))
        failed = sum(1 for error in self._write(missing) if error is not None)
        made = len(missing) - failed
        log.info("%d composites made; matte them by data=set data.root=%s", made, self._folder)
        if self._refused:
            log.warning("%d pictures were left out, as named above", len(self._refused))
        return not failed and not self._refused

    def _write(self, missing: Sequence[Planned]) -> Iterator[Exception | None]:
        """Make composites side by side; yields for each what went wrong."""
        workers = self._config.workers or usable_cpus()
        made = prefetch(lambda at: self._store(missing[at]), len(missing), workers)
        with closing(made):
            for number, result in enumerate(made, start=1):
                if isinstance(result, WriteError):
                    log.error("%s", result)
                elif isinstance(result, Exception):
                    raise result
                elif number % _SAID_EVERY == 0:
                    log.info("%d of %d", number, len(missing))
                yield result

    def _store(self, planned: Planned) -> None:
        pictures = zip(self._paths(planned), self._make(planned), strict=True)
        write_together({path: encode_png(pixels.squeeze()) for path, pixels in pictures})

    def _paths(self, planned: Planned) -> list[Path]:
        return [self._folder / part / f"{planned.name}.png" for part in _PARTS]

    def _make(self, planned: Planned) -> Sample:
        # Of the name and not of the number: what is added later changes nothing of the others.
        digest = hashlib.sha256(planned.name.encode()).digest()
        rng = np.random.default_rng([self._config.seed, int.from_bytes(digest[:8], "big")])
        return self._composer.make(rng, (self._config.height, self._config.width), planned.cutout)

    def _facts(self, settings: dict[str, Any]) -> dict[str, Any]:
        """What the pixels of the set follow from."""
        data = {key: value for key, value in settings["data"].items() if key != "cache"}
        return {
            "settings": {
                **{key: value for key, value in settings.items() if key not in _OF_NO_PIXEL},
                "data": data,
            },
            "foregrounds": _fingerprints(self._sources[0]),
            "backgrounds": _fingerprints(self._sources[1]),
            "composites": {
                one.name: self._cutouts.entries[one.cutout].name for one in self._planned
            },
        }


def plan_composites(cutouts: PictureStore, count: int | None) -> list[Planned]:
    """Name the composites of a set: every cut-out has its turn before one has a second.

    Args:
        cutouts: The cut-outs.
        count: How many composites; None for one of each cut-out.

    Raises:
        DataError: Two cut-outs would have composites of one name.
    """
    names = [str(PurePosixPath(e.kind) / Path(e.name).stem) for e in cutouts.entries]
    folded = Counter(name.casefold() for name in names)
    doubled = [name for name in names if folded[name.casefold()] > 1]
    if doubled:
        raise DataError(
            "data.foregrounds: several cut-outs would make composites of one name, "
            f"{', '.join(dict.fromkeys(doubled[:5]))}; rename them, or put them into directories "
            "of other names"
        )
    total = len(names) if count is None else count
    turns = ((number // len(names), number % len(names)) for number in range(total))
    return [
        Planned(f"{names[index]}~{turn + 1}" if turn else names[index], index, turn)
        for turn, index in turns
    ]


def _read_earlier(config: ComposeConfig, folder: Path) -> dict[str, Any] | None:
    """What is recorded of a set that is to be gone on with."""
    path = folder / SET_FILE
    if config.on_existing is OnExistingSet.resume and path.is_file():
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except ValueError:
            raise ConfigError(f"{path} cannot be read; choose another output_dir") from None
    there = [name for name in (SET_FILE, *_PARTS) if (folder / name).exists()]
    if there:
        remedy = "go on with it by on_existing=resume, or " if path.is_file() else ""
        raise ConfigError(
            f"output_dir={folder} holds {', '.join(there)} already; {remedy}choose another one"
        )
    return None


def _refuse_other(now: dict[str, Any], earlier: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with a set that was begun with something else."""
    before = {key: earlier.get(key) or {} for key in now}
    both = {**before["settings"], **now["settings"]}
    differing = [k for k in both if before["settings"].get(k) != now["settings"].get(k)]
    differing += [k for k in ("foregrounds", "backgrounds") if before[k] != now[k]]
    if before["composites"].items() - now["composites"].items():
        differing.append("composites, more of them")
    if differing:
        raise ConfigError(
            f"output_dir={folder} holds a set that was begun with other {', '.join(differing)} "
            f"(see {SET_FILE} there); choose another one"
        )


def _fingerprints(sources: Sequence[Source]) -> dict[str, int]:
    """Sizes of the files by their names."""
    paths = (path for source in sources for path in (source.path, source.alpha) if path)
    return {str(path): path.stat().st_size for path in paths}
