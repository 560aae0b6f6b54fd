"""Sets finished runs side by side: what was different about them, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from bgm.comparison.figures import Figure, Metric, all_metrics
from bgm.comparison.finished import CHECKPOINT_HASH, FinishedRun
from bgm.comparison.groups import group_images
from bgm.comparison.paired import Difference, compare_pair
from bgm.errors import ConfigError

_NAMES_CHECKPOINT = ("backbone.name", "model.name")
_NOT_COMPARED = (
    *("output_dir", "tracking", "on_existing", "repeat", "baseline", "groups", "page_mb"),
    *("objective", "race", "data.images"),
)
_SETTINGS_IN_LABEL = 5
_ONLY_FOR = {
    "refine.sample_pixels": ("refine.mode", "sampling"),
    "refine.threshold": ("refine.mode", "thresholding"),
}
"""Settings that count only where another has a certain value."""

Differences = Mapping[str, Mapping[int, Difference]]
"""By the key of a metric and the row of a run: how far it is from the reference of that metric."""


@dataclass(frozen=True)
class GroupRow:
    """One run on the images of one group.

    Attributes:
        group: The group.
        row: The run's.
        images: How many images of the group it has figures of.
        values: Its means over them, by the key of the metric.
        differences: To the reference of each metric, on the same images.
    """

    group: str
    row: int
    images: int
    values: Mapping[str, float]
    differences: Mapping[str, Difference]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: One per row.
        settings: Keys of the settings that are not the same in all of them.
        metrics: The figures that at least one of them has.
        best: The row that is best by each metric, by its key, where that is beyond doubt.
        tied: The rows that cannot be told from the best one.
        references: The row that the others are set beside, by the key of the metric.
        differences: How far they are from it.
        groups: Runs on groups of images, if there are any.
        baseline: The row that was chosen as reference; None if it is the best one by each metric.
        conditional: Settings that not all of the runs make use of.
    """

    runs: Sequence[FinishedRun]
    settings: Sequence[str]
    metrics: Sequence[Metric]
    best: Mapping[str, frozenset[int]] = field(default_factory=dict)
    tied: Mapping[str, frozenset[int]] = field(default_factory=dict)
    references: Mapping[str, int] = field(default_factory=dict)
    differences: Differences = field(default_factory=dict)
    groups: Sequence[GroupRow] = ()
    baseline: int | None = None
    conditional: frozenset[str] = frozenset()

    @property
    def paired(self) -> list[Metric]:
        """The metrics that runs can be told apart by, image by image."""
        return [metric for metric in self.metrics if metric.key in self.differences]

    def setting(self, run: FinishedRun, key: str) -> str:
        """A setting of a run as text; empty if it is not known."""
        value = run.settings.get(key)
        return "" if value is None or not _applies(run, key, self.conditional) else str(value)

    def labels(self) -> list[str]:
        """What to call each run where there is room for a few words: its name and settings."""
        keys = self.settings[:_SETTINGS_IN_LABEL]
        labels = []
        for run in self.runs:
            values = ", ".join(filter(None, (self.setting(run, key) for key in keys)))
            labels.append(f"{run.name} · {values}" if values else run.name)
        return labels


def compare_runs(
    runs: Sequence[FinishedRun], baseline: str | None = None, groups: str | None = None
) -> Comparison:
    """Find what differs between runs, which is best by what, and whether that is beyond doubt.

    Args:
        runs: The runs.
        baseline: The one to set the others beside: its name, or settings that only it has, as in
            `refine.mode=full`; None sets them beside the best one by each figure.
        groups: How to group the images: `folder`, the path of a CSV of tags, or None.

    Raises:
        ConfigError: There is no such run, or the groups cannot be read.
    """
    conditional = frozenset(
        key
        for key, (other, _) in _ONLY_FOR.items()
        if len({_comparable(run.settings[other]) for run in runs if other in run.settings}) > 1
    )
    metrics = all_metrics(runs)
    chosen = None if baseline is None else find_baseline(runs, baseline)
    pairs = _Pairs(runs)
    best, tied = {}, {}
    references: dict[str, int] = {}
    for metric in metrics:
        if metric.figure is None:  # measured once: there is no telling what is chance
            continue
        leader = pairs.leader(metric.figure)
        best[metric.key], tied[metric.key] = pairs.marks(metric.figure, leader)
        reference = leader if chosen is None else chosen
        if reference is not None:
            references[metric.key] = reference
    compared = {m.key: m.figure for m in metrics if m.key in references and m.figure is not None}
    differences = {
        key: pairs.differences(figure, references[key]) for key, figure in compared.items()
    }
    names = {name: None for run in runs for name in run.figures}
    grouped = group_images(names, groups)
    return Comparison(
        runs=runs,
        settings=_differing(runs, conditional),
        metrics=metrics,
        best=best,
        tied=tied,
        references=references,
        differences={key: found for key, found in differences.items() if found},
        groups=[
            row
            for group, members in grouped.items()
            for row in _group_rows(pairs, group, members, compared, references)
        ],
        baseline=chosen,
        conditional=conditional,
    )


def find_baseline(runs: Sequence[FinishedRun], wanted: str) -> int:
    """The row of the run that is meant by its name or by settings that only it has.

    Raises:
        ConfigError: None is, or several are.
    """
    names = [run.name for run in runs]
    if wanted in names:
        return names.index(wanted)
    settings = [part.partition("=")[::2] for part in wanted.split(",")]
    rows = [
        row
        for row, run in enumerate(runs)
        if all(key in run.settings and _says(run.settings[key], text) for key, text in settings)
    ]
    if len(rows) == 1:
        return rows[0]
    found = f"{len(rows)} runs have it" if rows else "no run is called that or has such settings"
    raise ConfigError(
        f"baseline={wanted}: {found}; give the name of a run ({', '.join(names)}) or settings that "
        "only one has, as in \"baseline='refine.mode=full'\""
    )


def _says(value: Any, text: str) -> bool:
    return text.strip() in (str(value), json.dumps(value))


class _Pairs:
    """The figures of runs image by image, and the runs set beside each other by them."""

    def __init__(self, runs: Sequence[FinishedRun]) -> None:
        self._runs = runs
        self.count = len(runs)
        self.values = cache(self._values)
        self.difference = cache(self._difference)

    def _values(self, figure: Figure, row: int) -> dict[str, float]:
        return figure.of(self._runs[row])

    def _difference(self, figure: Figure, row: int, other: int) -> Difference | None:
        return compare_pair(figure, self.values(figure, row), self.values(figure, other))

    def leader(self, figure: Figure) -> int | None:
        """The run that is best by a figure, of those that have it of the most images."""
        counts = {row: len(self.values(figure, row)) for row in range(len(self._runs))}
        most = max(counts.values(), default=0)
        if not most:
            return None
        rows = [row for row, count in counts.items() if count == most]
        return min(rows, key=lambda row: figure.middle(list(self.values(figure, row).values())))

    def differences(self, figure: Figure, reference: int) -> dict[int, Difference]:
        """How far the other runs are from one, by their rows."""
        found = {
            row: self.difference(figure, row, reference)
            for row in range(len(self._runs))
            if row != reference
        }
        return {row: difference for row, difference in found.items() if difference is not None}

    def marks(self, figure: Figure, leader: int | None) -> tuple[frozenset[int], frozenset[int]]:
        """The best row, if that is beyond doubt; else the rows between which it is not."""
        if leader is None:
            return frozenset(), frozenset()
        others = self.differences(figure, leader)
        verdicts = {row: difference.verdict for row, difference in others.items()}
        if not verdicts or "too few" in verdicts.values():
            return frozenset(), frozenset()
        rivals = {row for row, verdict in verdicts.items() if verdict != "worse"}
        if rivals:
            return frozenset(), frozenset({leader, *rivals})
        return frozenset({leader}), frozenset()


def _group_rows(
    pairs: _Pairs,
    group: str,
    members: frozenset[str],
    compared: Mapping[str, Figure],
    references: Mapping[str, int],
) -> Iterable[GroupRow]:
    """Every run on the images of one group."""

    def inside(figure: Figure, row: int) -> dict[str, float]:
        return {name: v for name, v in pairs.values(figure, row).items() if name in members}

    for row in range(pairs.count):
        values, differences, images = {}, {}, 0
        for key, figure in compared.items():
            known = inside(figure, row)
            if not known:
                continue
            images = max(images, len(known))
            values[key] = figure.middle(list(known.values()))
            if row != references[key]:
                difference = compare_pair(figure, known, inside(figure, references[key]))
                if difference is not None:
                    differences[key] = difference
        if images:
            yield GroupRow(group, row, images, values, differences)


def _differing(runs: Sequence[FinishedRun], conditional: frozenset[str]) -> list[str]:
    """Keys of the settings that are not the same in all runs."""
    keys = {key: None for run in runs for key in run.settings}  # in order, without doubles
    found = [
        key
        for key in keys
        if key.split(".")[0] not in _NOT_COMPARED
        and key not in _NOT_COMPARED
        and len({_comparable(run.settings[key]) for run in runs if _applies(run, key, conditional)})
        > 1
    ]
    # Each backbone has a checkpoint of its own: where that tells which one, the hash says no more.
    named = {tuple(map(run.settings.get, _NAMES_CHECKPOINT)) for run in runs}
    stored = {
        (*map(run.settings.get, _NAMES_CHECKPOINT), run.settings.get(CHECKPOINT_HASH))
        for run in runs
    }
    return [key for key in found if key != CHECKPOINT_HASH or len(stored) > len(named)]


def _applies(run: FinishedRun, key: str, conditional: frozenset[str]) -> bool:
    """Whether a run has a setting and, where runs differ in that, makes use of it."""
    if key not in conditional:
        return key in run.settings
    other, needed = _ONLY_FOR[key]
    return key in run.settings and run.settings.get(other) == needed


def _comparable(value: Any) -> str:
    """A setting such that equal ones are equal: 400 is 400.0."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return json.dumps(float(value) if is_number else value)
