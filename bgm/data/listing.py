"""What a place holds, in little memory: a million photographs are ordinary on remote storage."""

from __future__ import annotations

import sys
import unicodedata
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bgm.storage import RemotePath


class ImageFiles(Mapping[str, list[Path]]):
    """Image files by name: the path relative to a folder, without extension, with forward slashes.

    There is more than one file of a name where only the extension differs. Paths are made when
    they are asked for; held are their names, and what a listing told of remote ones.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._at: dict[str, int] = {}
        self._more: dict[str, list[int]] = {}
        self._rests: list[str] = []  # the extension; or, after a slash, what the name does not tell
        self._sizes, self._changes = array("q"), array("q")

    def add(self, path: Path) -> None:
        """Add a file, which lies under the root."""
        relative, suffix = path.relative_to(self._root).as_posix(), path.suffix
        name = _name(relative, suffix)
        index = len(self._rests)
        if name in self._at:
            self._more.setdefault(name, []).append(index)
        else:
            self._at[name] = index
        self._rests.append(sys.intern(suffix) if name + suffix == relative else f"/{relative}")
        if isinstance(path, RemotePath):
            state = path.stat()  # as the listing told
            self._sizes.append(state.st_size)
            self._changes.append(state.st_mtime_ns)

    def first(self, name: str) -> Path:
        """The file of a name, or the first of several."""
        return self._path(name, self._at[name])

    def several(self) -> dict[str, list[Path]]:
        """The files of those names that have more than one."""
        return {name: self[name] for name in self._more}

    def __getitem__(self, name: str) -> list[Path]:
        return [self._path(name, i) for i in (self._at[name], *self._more.get(name, ()))]

    def __iter__(self) -> Iterator[str]:
        return iter(self._at)

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, name: object) -> bool:
        return name in self._at

    def _path(self, name: str, index: int) -> Path:
        rest = self._rests[index]
        relative = rest[1:] if rest.startswith("/") else name + rest
        path = self._root / relative
        if isinstance(path, RemotePath):
            return path.know(self._sizes[index], self._changes[index])
        return path


@dataclass
class Listing:
    """What a source holds.

    Attributes:
        images: Its images by name.
        unread: What looks like a photograph but cannot be read, by name, where there is no image
            of that name.
        films: Videos.
    """

    images: ImageFiles
    unread: dict[str, Path] = field(default_factory=dict)
    films: list[Path] = field(default_factory=list)

    def files(self) -> Iterator[Path]:
        """All of them."""
        for paths in self.images.values():
            yield from paths
        yield from self.unread.values()
        yield from self.films


def name_of(path: Path, root: Path) -> str:
    """The name of an image: one for each spelling of accents, which systems store differently."""
    return _name(path.relative_to(root).as_posix(), path.suffix)


def _name(relative: str, suffix: str) -> str:
    return unicodedata.normalize("NFC", relative.removesuffix(suffix))
