"""Finds the photographs and the background plate that belongs to each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import overload

from bgm.data.kinds import why_unread
from bgm.data.listing import ImageFiles, Listing
from bgm.data.plates import CHOICES, Plate, of_themselves
from bgm.data.sources import name_unread, open_source, why_empty
from bgm.errors import DataError

_LISTED = 10


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and its background.

    Attributes:
        name: Path relative to the sources, without extension, with forward slashes.
        src: The source photograph.
        bgr: The background plate.
        plate: How it was chosen, if not by its name.
        stills: What the plate is to be made from before it can be read.
    """

    name: str
    src: Path
    bgr: Path
    plate: str | None = None
    stills: tuple[Path, ...] = ()


class Pairs(Sequence[Pair]):
    """Pairs in the order they were given in, each made when it is asked for.

    A million of them are held as their names; what they are made from, they share.

    Args:
        names: Their names.
        sources: Finds the photograph of a name.
        plates: Finds its plate.
        any_stills: Whether any plate is to be made from stills.
    """

    def __init__(
        self,
        names: Iterable[str] = (),
        sources: Callable[[str], Path] = Path,
        plates: Callable[[str], Plate] | None = None,
        *,
        any_stills: bool = False,
    ) -> None:
        self.names = list(names)
        self._sources = sources
        self._plates = plates or partial(Plate, Path())
        self._any_stills = any_stills

    def only(self, names: Iterable[str]) -> Pairs:
        """The pairs of these names."""
        return Pairs(names, self._sources, self._plates, any_stills=self._any_stills)

    def source(self, name: str) -> Path:
        """The photograph of a name."""
        return self._sources(name)

    def stills(self) -> dict[Path, tuple[Path, ...]]:
        """What plates are to be made from, by their paths."""
        pairs = self if self._any_stills else ()
        return {pair.bgr: pair.stills for pair in pairs if pair.stills}

    @overload
    def __getitem__(self, at: int) -> Pair: ...

    @overload
    def __getitem__(self, at: slice) -> Pairs: ...

    def __getitem__(self, at: int | slice) -> Pair | Pairs:
        return self.only(self.names[at]) if isinstance(at, slice) else self._pair(self.names[at])

    def __iter__(self) -> Iterator[Pair]:
        return map(self._pair, self.names)

    def __len__(self) -> int:
        return len(self.names)

    def _pair(self, name: str) -> Pair:
        plate = self._plates(name)
        return Pair(name, self.source(name), plate.path, plate.how, plate.stills)


@dataclass
class Pairing:
    """The pairs found, and what was left over.

    Attributes:
        pairs: In the order of their names.
        leftovers: Why a file has no part in any pair, by its relative name.
    """

    pairs: Pairs = field(default_factory=Pairs)
    leftovers: dict[str, str] = field(default_factory=dict)


def find_pairs(
    src: Path,
    bgr: Path | None,
    *,
    skip_unmatched: bool = False,
    choice: str = "name",
    made: Path = Path("plates"),
) -> Pairing:
    """Match sources and backgrounds, by their relative path without extension or otherwise.

    Args:
        src: Directory of sources, searched with its sub-folders, or one source.
        bgr: Directory of backgrounds, or ONE image, used for every source; None if backgrounds
            are to be made from the sources.
        skip_unmatched: Whether to go on without the files that cannot be matched.
        choice: `name`, or a way of `bgm.data.plates`, for a directory of backgrounds.
        made: Directory of backgrounds that are to be made.

    Raises:
        DataError: There is no source, or a file cannot be matched and may not be skipped.
    """
    listing = open_source(src).list()
    sources = listing.images
    if not sources:
        raise DataError(why_empty(src, listing))
    pairing = Pairing()
    _drop_ambiguous(sources, "source", pairing.leftovers)
    _drop_twins(sources, pairing.leftovers)
    if bgr is None or (bgr.is_dir() and choice != "name"):
        _choose(pairing, sources, bgr, choice, made)
    else:
        _match_names(pairing, src, listing, bgr)
    pairing.leftovers = dict(sorted(pairing.leftovers.items()))
    if pairing.leftovers and not skip_unmatched:
        raise DataError(describe(pairing.leftovers, "file without partner", "data.unmatched=skip"))
    name_unread(listing)
    return pairing


def _choose(
    pairing: Pairing, sources: ImageFiles, bgr: Path | None, choice: str, made: Path
) -> None:
    """Pair sources with backgrounds by another way than names."""
    wanted = _Single(sources, pairing.leftovers)
    if bgr is None:
        chosen, leftovers = of_themselves(wanted, made)
    else:
        found = open_source(bgr).list().images
        ambiguous: dict[str, str] = {}
        _drop_ambiguous(found, "background", ambiguous)
        chosen, leftovers = CHOICES[choice](wanted, _Single(found, ambiguous), made)
        pairing.leftovers |= ambiguous
    pairing.leftovers |= leftovers
    any_stills = any(plate.stills for plate in chosen.values())
    find = wanted.__getitem__, chosen.__getitem__
    pairing.pairs = Pairs(chosen, *find, any_stills=any_stills)


def _match_names(pairing: Pairing, src: Path, listing: Listing, bgr: Path) -> None:
    """Pair sources with the backgrounds of the same names, or all with one."""
    sources = listing.images
    plates = open_source(bgr).list()
    is_folder = bgr.is_dir()
    if is_folder:
        _drop_ambiguous(plates.images, "background", pairing.leftovers)
        if src.is_dir():
            for name in plates.images.keys() - sources.keys() - pairing.leftovers.keys():
                why = _without("background without a source", plates, name, listing)
                pairing.leftovers[name] = why
    names = []
    for name in sorted(sources.keys() - pairing.leftovers.keys()):
        if name in plates.images or not is_folder:
            names.append(name)
        else:
            why = _without("source without a background", listing, name, plates)
            pairing.leftovers[name] = why
    plate = partial(_named, plates.images) if is_folder else partial(_the_one, Plate(bgr))
    pairing.pairs = Pairs(names, sources.first, plate)


def _named(plates: ImageFiles, name: str) -> Plate:
    return Plate(plates.first(name))


def _the_one(plate: Plate, name: str) -> Plate:
    del name
    return plate


class _Single(Mapping[str, Path]):
    """The files of those names that can be paired, in the order of the names."""

    def __init__(self, images: ImageFiles, left: Collection[str]) -> None:
        self._images = images
        self._names = dict.fromkeys(sorted(images.keys() - left))

    def __getitem__(self, name: str) -> Path:
        return self._images.first(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


def _without(what: str, side: Listing, name: str, other: Listing) -> str:
    """Say that an image has no partner, and why, if the partner is there but cannot be read."""
    partner = other.unread.get(name)
    reason = f" ({partner.name} is {why_unread(partner)})" if partner is not None else ""
    return f"{what}: {side.images.first(name)}{reason}"


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
        DataError: An image is without one, or has two, and that may not be; or there is one file
            for several images, which would be compared with what is true of one of them.
    """
    truths: dict[str, dict[str, Path]] = {name: {} for name in names}
    problems: dict[str, str] = {}
    for kind, root in roots.items():
        if not root.is_dir() and len(names) > 1:
            raise DataError(
                f"{root} is one file ({kind}), but there are {len(names)} images to compare; give "
                "a folder with one for each, of the same relative names"
            )
        found = open_source(root).list().images
        is_folder = root.is_dir()
        for name in names:
            paths = found.get(name, ()) if is_folder else [root]
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
    found = open_source(root).list().images
    ambiguous: dict[str, str] = {}
    _drop_ambiguous(found, "image", ambiguous)
    if ambiguous:
        raise DataError(describe(ambiguous, "name with several images"))
    return {name: found.first(name) for name in sorted(found)}


def _drop_ambiguous(found: ImageFiles, kind: str, leftovers: dict[str, str]) -> None:
    for name, paths in found.several().items():
        files = ", ".join(path.name for path in paths)
        leftovers[name] = f"more than one {kind} of that name: {files}"


def _drop_twins(found: ImageFiles, leftovers: dict[str, str]) -> None:
    """Leave out sources whose mattes would be one file on a disk that ignores letter case."""
    seen: set[str] = set()
    twins: dict[str, list[str]] = {}
    for name in found:  # of a million names there is one set, and not a list for each
        folded = name.casefold()
        if folded in seen:
            twins[folded] = []
        seen.add(folded)
    for name in found if twins else ():
        twins.get(name.casefold(), []).append(name)
    for names in twins.values():
        for name in names:
            others = ", ".join(str(found.first(other)) for other in names if other != name)
            leftovers.setdefault(
                name,
                f"source whose name differs only in letter case from {others}: on many disks "
                "their mattes would overwrite each other; rename one",
            )


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
