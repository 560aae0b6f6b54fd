"""Finds the photographs and the background plate that belongs to each."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bgm.errors import DataError

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Extensions, in lower case, of the files that are taken for images."""

_RUN_FILES = {"images.jsonl", "run.json"}
"""What tells the output of a run: its mattes are never taken for photographs."""

_LISTED = 10


@dataclass(frozen=True)
class Pair:
    """A source and its background.

    Attributes:
        name: Path relative to the sources, without extension, with forward slashes.
        src: The source photograph.
        bgr: The background plate.
    """

    name: str
    src: Path
    bgr: Path


@dataclass
class Pairing:
    """The pairs found, and what was left over.

    Attributes:
        pairs: In the order of their names.
        leftovers: Why a file has no part in any pair, by its relative name.
    """

    pairs: list[Pair] = field(default_factory=list)
    leftovers: dict[str, str] = field(default_factory=dict)


def find_pairs(src: Path, bgr: Path, *, skip_unmatched: bool = False) -> Pairing:
    """Match sources and backgrounds by their relative path without extension.

    Args:
        src: Directory of sources, searched with its sub-folders, or one source.
        bgr: Directory of backgrounds, or ONE image, used for every source.
        skip_unmatched: Whether to go on without the files that cannot be matched.

    Raises:
        DataError: There is no source, or a file cannot be matched and may not be skipped.
    """
    sources = _collect(src)
    if not sources:
        kinds = " ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"no images in {src} (looked for {kinds}, in any letter case)")
    pairing = Pairing()
    _drop_ambiguous(sources, "source", pairing.leftovers)
    if bgr.is_dir():
        backgrounds = _collect(bgr)
        _drop_ambiguous(backgrounds, "background", pairing.leftovers)
        if src.is_dir():
            for name in backgrounds.keys() - sources.keys() - pairing.leftovers.keys():
                pairing.leftovers[name] = f"background without a source: {backgrounds[name][0]}"
    else:
        backgrounds = {name: [bgr] for name in sources}

    for name in sorted(sources.keys() - pairing.leftovers.keys()):
        if name in backgrounds:
            pairing.pairs.append(Pair(name, sources[name][0], backgrounds[name][0]))
        else:
            pairing.leftovers[name] = f"source without a background: {sources[name][0]}"
    pairing.leftovers = dict(sorted(pairing.leftovers.items()))
    if pairing.leftovers and not skip_unmatched:
        raise DataError(describe(pairing.leftovers, "file without partner", "data.unmatched=skip"))
    return pairing


def find_truths(
    names: Collection[str], roots: Mapping[str, Path], *, skip_unmatched: bool = False
) -> dict[str, dict[str, Path]]:
    """Find what each image is to be compared with, by the same relative names.

    Args:
        names: Names of the images.
        roots: A directory (or, for one image, a file) for each kind of truth, such as `pha`.
        skip_unmatched: Whether images may be without one.

    Returns:
        For each name the files found, by kind.

    Raises:
        DataError: An image is without one, or has two, and that may not be.
    """
    truths: dict[str, dict[str, Path]] = {name: {} for name in names}
    problems: dict[str, str] = {}
    for kind, root in roots.items():
        found = _collect(root) if root.is_dir() else dict.fromkeys(names, (root,))
        for name in names:
            paths = found.get(name, ())
            if len(paths) == 1:
                truths[name][kind] = paths[0]
            else:
                files = ", ".join(path.name for path in paths)
                problems[name] = f"more than one {kind}: {files}" if paths else f"no {kind}"
    if problems and not skip_unmatched:
        raise DataError(describe(problems, "image without truth", "unmatched=skip"))
    return truths


def list_images(root: Path) -> dict[str, Path]:
    """Every image under `root`, with its sub-folders, by name.

    Raises:
        DataError: Two images have the same name.
    """
    found = _collect(root)
    ambiguous: dict[str, str] = {}
    _drop_ambiguous(found, "image", ambiguous)
    if ambiguous:
        raise DataError(describe(ambiguous, "name with several images"))
    return {name: paths[0] for name, paths in sorted(found.items())}


def _collect(root: Path) -> dict[str, list[Path]]:
    """Every image under `root` by name; a file stands for itself whatever its extension."""
    if not root.is_dir():
        return {root.stem: [root]}
    found: dict[str, list[Path]] = defaultdict(list)
    for path in _walk(root):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if path.name.startswith("._"):
            log.info("%s holds macOS metadata, not an image: left out", path)
            continue
        found[path.relative_to(root).with_suffix("").as_posix()].append(path)
    return dict(found)


def _walk(root: Path) -> Iterator[Path]:
    """Every file under `root`, through symbolic links but never in a circle."""
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = Path(folder).resolve()
        is_output = Path(folder) != root and set(files) >= _RUN_FILES
        if is_output:
            log.info("%s holds the output of a run: left out", folder)
        if is_output or real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        yield from (Path(folder, name) for name in sorted(files))


def _drop_ambiguous(found: dict[str, list[Path]], kind: str, leftovers: dict[str, str]) -> None:
    for name, paths in found.items():
        if len(paths) > 1:
            files = ", ".join(path.name for path in paths)
            leftovers[name] = f"more than one {kind} of that name: {files}"


def describe(problems: Mapping[str, str], what: str, remedy: str | None = None) -> str:
    """Say what is wrong with the first few of many files.

    Args:
        problems: What is wrong, by name.
        what: What each of them is.
        remedy: The setting that goes on without them.
    """
    lines = [f"  {name}: {why}" for name, why in list(problems.items())[:_LISTED]]
    if len(problems) > _LISTED:
        lines.append(f"  ... and {len(problems) - _LISTED} more")
    hint = f" ({remedy} goes on without)" if remedy else ""
    return "\n".join([f"{len(problems)} x {what}{hint}:", *lines])
