"""Groups of images: by sub-folder, or as a table of tags says."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from bgm.errors import ConfigError

FOLDER = "folder"
"""What `groups` is set to for groups by sub-folder; anything else is the path of a table."""

_TAG_COLUMNS = ("tag", "tags", "group", "groups")
_YES = ("1", "yes", "true", "x")
_NO = ("", "0", "no", "false", "-")
_NAMED = 5

Groups = Mapping[str, frozenset[str]]
"""Names of images by the name of their group; an image may be in several."""


def check_groups(wanted: str | None) -> None:
    """Refuse a setting of `groups` that cannot be read.

    Raises:
        ConfigError: It says why.
    """
    if wanted not in (None, FOLDER):
        read_tags(Path(str(wanted)))


def group_images(names: Iterable[str], wanted: str | None) -> dict[str, frozenset[str]]:
    """Sort images into groups.

    Args:
        names: Names of the images, relative paths without extension.
        wanted: `folder`, the path of a CSV of tags, or None for no groups.

    Raises:
        ConfigError: The table cannot be read, or has none of the images.
    """
    names = list(names)
    if wanted is None:
        return {}
    if wanted == FOLDER:
        return _by_folder(names)
    tags = read_tags(Path(wanted))
    groups: dict[str, set[str]] = {}
    for name in names:
        for tag in tags.get(name, ()):
            groups.setdefault(tag, set()).add(name)
    if names and not groups:
        seen = ", ".join(list(tags)[:_NAMED])
        raise ConfigError(
            f"groups={wanted}: it has none of the images, which are named like {names[0]}; "
            f"it has {seen or 'no rows'}"
        )
    return {tag: frozenset(groups[tag]) for tag in sorted(groups)}


def _by_folder(names: list[str]) -> dict[str, frozenset[str]]:
    """By the first folder in which the names differ; no groups if there is only one."""
    folders = {name: PurePosixPath(name).parent.parts for name in names}
    depth = 0
    while len({parts[: depth + 1] for parts in folders.values()}) == 1 and any(
        len(parts) > depth for parts in folders.values()
    ):
        depth += 1
    groups: dict[str, set[str]] = {}
    for name, parts in folders.items():
        groups.setdefault(parts[depth] if len(parts) > depth else ".", set()).add(name)
    if len(groups) < 2:
        return {}
    return {folder: frozenset(groups[folder]) for folder in sorted(groups)}


def read_tags(path: Path) -> dict[str, list[str]]:
    """The tags of each image in a CSV.

    The first column names the image, with or without its extension. Of the others, one called
    `tag`, `tags`, `group` or `groups` holds tags, several with `;` between them; one that says yes
    or no (1 and 0, x and nothing) is a tag of its own; any other makes tags like `light=day`.

    Raises:
        ConfigError: It cannot be read, or has no column of tags.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"groups={path}: {why}; give `folder`, or a CSV with a column of names and one of tags"
        ) from None
    if not rows or len(rows[0]) < 2:
        raise ConfigError(
            f"groups={path}: needs a heading and at least two columns, the name of an image and "
            "its tags, like `name,tags`"
        )
    headings = [cell.strip() for cell in rows[0]]
    flags = {
        column
        for column in range(1, len(headings))
        if all(_cell(row, column).lower() in (*_YES, *_NO) for row in rows[1:])
    }
    tags: dict[str, list[str]] = {}
    for row in rows[1:]:
        found = tags.setdefault(_bare(row[0]), [])
        for column, heading in enumerate(headings[1:], 1):
            cell = _cell(row, column)
            if column in flags:
                found += [heading] if cell.lower() in _YES else []
            elif heading.lower() in _TAG_COLUMNS:
                found += [tag for part in cell.split(";") if (tag := part.strip())]
            elif cell:
                found.append(f"{heading}={cell}")
    known = set(tags)
    for name in known:  # with its extension, the name of a photograph has a dot in it
        stem = str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).suffix else name
        tags.setdefault(stem, tags[name])
    return tags


def _cell(row: list[str], column: int) -> str:
    return row[column].strip() if column < len(row) else ""


def _bare(name: str) -> str:
    return name.strip().replace("\\", "/").removeprefix("./")
