"""Where photographs come from: a folder, or one file."""

from __future__ import annotations

import logging
import os
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bgm.data.kinds import image_suffixes, is_film, is_image, why_no_photograph, why_unread
from bgm.data.listing import ImageFiles, Listing, name_of
from bgm.errors import DataError
from bgm.storage import RemotePath, list_objects

log = logging.getLogger(__name__)

_RUN_FILES = {"images.jsonl", "run.json"}
"""What tells the output of a run: its mattes are never taken for photographs."""

_NAMED = 3


class Source(Protocol):
    """Something that photographs, or backgrounds, or true mattes come from."""

    @property
    def root(self) -> Path:
        """Where it is."""

    def list(self) -> Listing:
        """What it holds.

        Raises:
            DataError: It cannot be a source.
        """


@dataclass(frozen=True)
class Folder:
    """A folder with its sub-folders."""

    root: Path

    def list(self) -> Listing:
        """Every image in it, and what looks like one."""
        return _sorted_out(_walk(self.root), self.root)


@dataclass(frozen=True)
class RemoteFolder:
    """What lies under one path on remote storage."""

    root: RemotePath

    def list(self) -> Listing:
        """Every image under it, and what looks like one.

        Raises:
            StorageError: The storage does not tell.
        """
        marks: dict[Path, set[str]] = defaultdict(set)

        def noting_runs() -> Iterator[Path]:
            for path in list_objects(self.root):
                if path.name in _RUN_FILES:
                    marks[path.parent].add(path.name)
                yield path

        listing = _sorted_out(noting_runs(), self.root)
        runs = {folder for folder, names in marks.items() if names == _RUN_FILES} - {self.root}
        for run in runs:
            log.info("%s holds the output of a run: left out", run)
        if runs:
            files = (path for path in listing.files() if runs.isdisjoint(path.parents))
            listing = _sorted_out(files, self.root)
        return listing


@dataclass(frozen=True)
class SingleFile:
    """One image, whatever its extension."""

    root: Path

    def list(self) -> Listing:
        """The one image.

        Raises:
            DataError: Its name says that it is none.
        """
        reason = why_no_photograph(self.root)
        if reason is not None:
            raise DataError(f"{self.root} is {reason}")
        images = ImageFiles(self.root.parent)
        images.add(self.root)
        return Listing(images)


def open_source(root: Path) -> Source:
    """The source of a path."""
    if not root.is_dir():
        return SingleFile(root)
    return RemoteFolder(root) if isinstance(root, RemotePath) else Folder(root)


def _sorted_out(paths: Iterable[Path], root: Path) -> Listing:
    """What there is of each kind among files, by name."""
    images = ImageFiles(root)
    listing = Listing(images)
    for path in paths:
        if path.name.startswith("._"):
            log.info("%s holds macOS metadata, not an image: left out", path)
        elif is_image(path):
            images.add(path)
        elif is_film(path):
            listing.films.append(path)
        elif why_unread(path):
            listing.unread[name_of(path, root)] = path
    shown = {name.casefold() for name in images} if listing.unread else set()
    for name in [name for name in listing.unread if name.casefold() in shown]:
        del listing.unread[name]  # such as a raw file beside its picture
    return listing


def why_empty(root: Path, listing: Listing) -> str:
    """Say that there are no images in a source, and what there is instead."""
    kinds = " ".join(sorted(image_suffixes()))
    lines = [f"no images in {root} (looked for {kinds}, in any letter case)"]
    others = [*_grouped(list(listing.unread.values())).items()]
    if listing.films:
        others.append((str(why_no_photograph(listing.films[0])), listing.films))
    lines += [f"  {_examples(paths)}: {what}" for what, paths in others]
    return "\n".join(lines)


def name_unread(listing: Listing) -> None:
    """Name in the log, once, what looks like a photograph but cannot be read."""
    for what, paths in _grouped(list(listing.unread.values())).items():
        log.warning("left out: %s (%s)", _examples(paths), what)


def _grouped(paths: list[Path]) -> dict[str, list[Path]]:
    """Files that cannot be read by what they are."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        groups[str(why_unread(path))].append(path)
    return groups


def _examples(paths: list[Path]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(path.name for path in paths[:_NAMED]) + more


def _walk(root: Path) -> Iterator[Path]:
    """Every file under `root`, each folder once: links to folders come last."""
    seen = set()
    folders, links = deque([root]), deque[Path]()
    while folders or links:
        # What is reached both directly and through a link is listed where it really is.
        folder = folders.popleft() if folders else links.popleft()
        real = folder.resolve()
        if real in seen:
            continue
        seen.add(real)
        entries = _entries(folder)
        if folder != root and {entry.name for entry in entries} >= _RUN_FILES:
            log.info("%s holds the output of a run: left out", folder)
            continue
        for entry in entries:
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(folder / entry.name)
            else:
                yield folder / entry.name


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, in the order of the names; nothing if it may not be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        log.warning("%s is left out: %s", folder, error.strerror)
        return []
