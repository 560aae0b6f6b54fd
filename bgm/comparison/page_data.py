"""What the page of a comparison draws from: figures of runs and images, and their command lines."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from bgm.comparison.compare import Comparison
from bgm.comparison.figures import Figure, figure
from bgm.comparison.finished import FinishedRun


def page_figures(comparison: Comparison) -> dict[str, Figure]:
    """The figures of images that the page can draw, by the key of their column."""
    found = {m.key: m.figure for m in comparison.paired if m.figure is not None}
    if any("refined" in figures for run in comparison.runs for figures in run.figures.values()):
        found["refined"] = figure("refined")
    return found


def page_data(comparison: Comparison) -> dict[str, Any]:
    """Everything the page needs to draw, ready for JSON.

    Returns:
        `runs` with their settings and figures, `columns` and `figures` by key with their labels,
        `names` of the images, `values` of each figure by run and image, `references` by figure.
    """
    names = list({name: None for run in comparison.runs for name in run.figures})
    figures = page_figures(comparison)
    values = {}
    for key, one in figures.items():
        known = [one.of(run) for run in comparison.runs]
        values[key] = [[_short(of_run.get(name)) for name in names] for of_run in known]
    return {
        "runs": [
            {
                "name": run.name,
                "settings": {key: comparison.setting(run, key) for key in comparison.settings},
                "figures": {m.key: _short(m.value(run)) for m in comparison.metrics},
            }
            for run in comparison.runs
        ],
        "columns": {metric.key: metric.label for metric in comparison.metrics},
        "figures": {key: one.label for key, one in figures.items()},
        "names": names,
        "values": values,
        "references": dict(comparison.references),
    }


def choices(comparison: Comparison) -> dict[str, list[str]]:
    """The values that each setting has, of those that differ."""
    return {
        key: list({comparison.setting(run, key): None for run in comparison.runs})
        for key in comparison.settings
    }


def repeating_commands(runs: Sequence[FinishedRun]) -> list[str]:
    """What repeats each run."""
    return [shlex.join(["bgm", f"repeat={run.path.absolute()}"]) for run in runs]


def first_commands(runs: Sequence[FinishedRun]) -> list[str]:
    """What each run was begun with; empty if that is not known."""
    return [shlex.join(["bgm", *run.overrides]) if run.overrides else "" for run in runs]


def _short(value: float | None) -> float | None:
    """A number with as many digits as can be seen."""
    return None if value is None else float(f"{value:.5g}")
