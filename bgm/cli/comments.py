"""What the files of the configuration say of themselves in their comments."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

_LINE = re.compile(r"^(?P<indent> *)\"?(?P<key>[\w.]+)\"?:(?P<rest>.*)$")
_COMMENT = re.compile(r"(?:^|\s)#\s+(?P<text>.*)$")
_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class ConfigFile:
    """One file of the configuration.

    Attributes:
        path: Where it is.
        group: The group that it is a choice of; empty for none.
    """

    path: Path
    group: str = ""

    @cached_property
    def title(self) -> str:
        """What it is for: the comment at its head."""
        lines = []
        for line in self._text.splitlines():
            if not line.startswith("#"):
                break
            if not _PACKAGE.match(line):
                lines.append(line.lstrip("# "))
        return " ".join(lines)

    @cached_property
    def comments(self) -> dict[str, str]:
        """What it says of each key, by the dotted key in the whole configuration."""
        found: dict[str, str] = {}
        above: list[tuple[int, str]] = [(-1, self._package)]
        for line in self._text.splitlines():
            match = _LINE.match(line)
            if match is None or line.startswith("defaults:"):
                continue
            indent = len(match["indent"])
            while above[-1][0] >= indent:
                above.pop()
            key = ".".join(filter(None, (above[-1][1], match["key"])))
            above.append((indent, key))
            comment = _COMMENT.search(match["rest"])
            found[key] = comment["text"].strip() if comment is not None else ""
        return found

    def tells(self, key: str) -> bool:
        """Whether it has a key, or what that is in."""
        return key in self.comments or key.rpartition(".")[0] in self.comments

    @cached_property
    def _text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def _package(self) -> str:
        given = _PACKAGE.search(self._text)
        if given is None:
            return self.group.replace("/", ".")
        return "" if given[1] == "_global_" else given[1]


@dataclass(frozen=True)
class ConfigFiles:
    """The files in some directories, laid out as `conf/`.

    Attributes:
        folders: The directories; the first that has a file counts.
    """

    folders: tuple[Path, ...]
    _known: dict[tuple[str, str], ConfigFile] = field(default_factory=dict)

    def choices(self, group: str) -> list[str]:
        """The names of what can be chosen in a group."""
        names = {path.stem for folder in self.folders for path in (folder / group).glob("*.yaml")}
        return sorted(names)

    def file(self, group: str, name: str) -> ConfigFile | None:
        """A choice of a group, or with an empty group a file at the top."""
        if (group, name) not in self._known:
            for folder in self.folders:
                path = folder / group / f"{name}.yaml"
                if path.is_file():
                    self._known[group, name] = ConfigFile(path, group)
                    break
        return self._known.get((group, name))
