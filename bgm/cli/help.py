"""`--help`: every setting of a command with its value and a line on what it means.

The lines are the comments of the files in `conf/`; the values are those that a run would have, with
what else is on the command line.
"""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bgm.cli.comments import ConfigFile, ConfigFiles
from bgm.records.directory import flatten

_KEYS_WIDTH = 40
_LONGEST_VALUE = 30
_WIDEST = 120
_DESCRIBED = ("experiment", "preset")
"""Groups of which each choice is told in a line, for they set many things at once."""

_FILES_AT_THE_TOP = ("comparing", "sweeping", "checking", "calibrating", "application")

_USAGE = """\
{name} key=value ...            settings are written so; group=choice takes a whole file of them
{name} -m key=value,value ...   a sweep: one run for each combination
{name} ... --cfg job            the settings of a run, without running it (-p data: a part)
{name} ... --info defaults      the files that they come from, in their order
{name} --config-dir=mine ...    looks for choices in mine/<group>/ too
{name} --hydra-help             flags, and how to install tab completion
"""


@dataclass(frozen=True)
class Line:
    """One line: a setting, and what it means.

    Attributes:
        setting: As it is typed, with its value.
        meaning: What it means; empty if nothing says so.
    """

    setting: str
    meaning: str


def render(config: DictConfig, schema: type, primary: str, purpose: str) -> str:
    """The help of a command.

    Args:
        config: Its configuration as Hydra composed it, with what is Hydra's.
        schema: What the configuration must be.
        primary: Name of the command's own file of the configuration.
        purpose: What the command is for.
    """
    sources = [s.path for s in config.hydra.runtime.config_sources if s.schema == "file"]
    # The first of Hydra's sources is the command's own; those of the person count before it.
    files = ConfigFiles(tuple(Path(path) for path in reversed(sources)))
    choices = {
        group: choice
        for group, choice in reversed(config.hydra.runtime.choices.items())
        if not group.startswith("hydra")
    }
    width = min(_WIDEST, shutil.get_terminal_size((100, 24)).columns)
    parts = [
        textwrap.fill(f"{config.hydra.job.name}: {purpose}", width),
        _USAGE.format(name=config.hydra.job.name).rstrip(),
    ]
    for title, lines in _sections(config, schema, primary, files, choices):
        text = "\n".join(_format(line, width) for line in lines)
        parts.append(f"{title}\n{text}" if text else title)
    return "\n\n".join(parts) + "\n"


def _sections(
    config: DictConfig, schema: type, primary: str, files: ConfigFiles, choices: dict[str, Any]
) -> Iterator[tuple[str, list[Line]]]:
    """Titles and lines: the groups, then what is in none, by the file it stands in."""
    left = dict(flatten(OmegaConf.to_container(config, resolve=False)))
    left = {key: value for key, value in left.items() if key.partition(".")[0] != "hydra"}
    for group, choice in choices.items():
        if group in _DESCRIBED:
            yield f"{group}={_shown(choice)}", _described(files, group)
    for package, groups in _by_package(files, choices).items():
        keys = [key for key in left if key.partition(".")[0] == package]
        told = [file for g in groups for file in _files(files, g, choices[g])]
        says = _Meanings(schema, told, keys)
        title = "; ".join(
            f"{group}={_shown(choices[group])}   ({' | '.join(files.choices(group))})"
            for group in groups
        )
        # The name is chosen together with the rest of the file.
        shown = [key for key in keys if key != f"{package}.name"]
        yield title, [_line(config, left.pop(key), says, key) for key in shown]
        left.pop(f"{package}.name", None)
    for name in (*_FILES_AT_THE_TOP, primary):
        file = files.file("", name)
        told = [] if file is None else [file]
        is_last = name == primary
        keys = [key for key in left if is_last or any(one.tells(key) for one in told)]
        says = _Meanings(schema, told, keys)
        if keys:
            title = "Everything else" if file is None or is_last else file.title
            yield title, [_line(config, left.pop(key), says, key) for key in keys]


def _by_package(files: ConfigFiles, choices: dict[str, Any]) -> dict[str, list[str]]:
    """The groups that set keys of each package: most of them those of their own name."""
    found: dict[str, list[str]] = {}
    for group, choice in choices.items():
        if group not in _DESCRIBED:
            file = files.file(group, str(choice))
            package = group if file is None else next(iter(file.comments), group).partition(".")[0]
            found.setdefault(package, []).append(group)
    return found


def _described(files: ConfigFiles, group: str) -> list[Line]:
    found = [(name, files.file(group, name)) for name in files.choices(group)]
    return [Line(f"{group}={name}", file.title) for name, file in found if file is not None]


def _files(files: ConfigFiles, group: str, choice: Any) -> list[ConfigFile]:
    """The files of a group, the chosen one first."""
    names = [str(choice), *(name for name in files.choices(group) if name != choice)]
    return [file for name in names if (file := files.file(group, name)) is not None]


class _Meanings:
    """What settings mean: as files say it, or else what values they take."""

    def __init__(self, schema: type, files: Sequence[ConfigFile], keys: Sequence[str]) -> None:
        self._schema, self._files, self._keys = schema, files, keys

    def of(self, key: str) -> str:
        """What a setting means."""
        parent, _, name = key.rpartition(".")
        own = self._said(lambda told: told == key)
        if own:
            return own
        if key == self._first_of(parent):  # of several that stand on one line
            shared = self._said(lambda told: told == parent)
            if shared:
                return shared
        above = parent.rpartition(".")[0]
        alike = self._said(
            lambda told: told.startswith(f"{above}.") and told.endswith(f".{name}") and above != ""
        )
        return alike or _values(self._schema, key)

    def _said(self, is_it: Callable[[str], bool]) -> str:
        """What is said of the first key that is meant."""
        for file in self._files:
            for told, comment in file.comments.items():
                if comment and is_it(told):
                    return comment
        return ""

    def _first_of(self, parent: str) -> str:
        return next((key for key in self._keys if key.rpartition(".")[0] == parent), "")


def _values(schema: type, key: str) -> str:
    """The values that a setting takes, as its type tells them."""
    kind: Any = schema
    for part in key.split("."):
        hints = get_type_hints(kind) if hasattr(kind, "__dataclass_fields__") else {}
        kind = hints.get(part, Any)
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    words: list[str] = []
    for part in parts:
        if isinstance(part, type) and issubclass(part, Enum):
            words += [member.name for member in part]
        else:
            words += _WORDS.get(get_origin(part) or part, [])
    return " | ".join(dict.fromkeys(words))


_WORDS: dict[Any, list[str]] = {
    bool: ["true", "false"],
    int: ["a whole number"],
    float: ["a number"],
    list: ["a list, in brackets"],
    type(None): ["null"],
}


def _line(config: DictConfig, raw: Any, says: _Meanings, key: str) -> Line:
    """A setting, of which `raw` is what stands in the files."""
    if raw == MISSING:
        return Line(f"{key}=???", says.of(key))
    if "${now:" in str(raw):
        return Line(f"{key}={_in_words(str(raw))}", says.of(key))
    try:
        value = OmegaConf.select(config, key, throw_on_missing=False)
    except OmegaConfBaseException:
        value = MISSING
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True, enum_to_str=True)
    return Line(f"{key}={_shown(value)}", says.of(key))


def _in_words(text: str) -> str:
    """A value that depends on when it is asked for."""
    text = re.sub(r"\$\{now:%Y[^}]*\}", "<date>", text)
    return re.sub(r"\$\{now:[^}]*\}", "<time>", text)


def _shown(value: Any) -> str:
    """A value as it would be typed; of long paths the end."""
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    text = str(value).replace("'", "").replace(", ", ",")
    if len(text) > _LONGEST_VALUE:
        end = str(Path("...", *Path(text).parts[-3:]))
        return end if os.sep in text else f"{text[:_LONGEST_VALUE]}..."
    return text


def _format(line: Line, width: int) -> str:
    """A line in two columns."""
    setting = f"  {line.setting}"
    if not line.meaning:
        return setting
    first = setting.ljust(_KEYS_WIDTH)
    if len(setting) >= _KEYS_WIDTH:
        first = f"{setting}\n{'':{_KEYS_WIDTH}}"
    room = max(20, width - _KEYS_WIDTH)
    indent = "\n" + " " * _KEYS_WIDTH
    return first + indent.join(textwrap.wrap(line.meaning, room))
