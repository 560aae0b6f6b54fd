"""The plots of a comparison, as SVG that takes its colours from the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bgm.comparison.finished import FinishedRun
from bgm.records.summary import SHOWN

# Colours that stand for CSS variables of the page, so that the plots follow light and dark.
_INK, _MUTED, _LINE, _ACCENT, _PANEL = "#010201", "#010202", "#010203", "#010204", "#010205"
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _LINE: "var(--line)",
    _ACCENT: "var(--accent)",
    _PANEL: "var(--panel)",
}
_DOTS = 200
_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.7,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class ScorePlots:
    """The plots of one error.

    Attributes:
        score: Its key.
        label: Its heading, with the scale.
        distribution: Per-image scores of each run, SVG.
    """

    score: str
    label: str
    distribution: str


def plot_scores(runs: Sequence[FinishedRun], labels: Sequence[str]) -> list[ScorePlots]:
    """Plot every error that a run has.

    Args:
        runs: The runs.
        labels: What to call each of them.
    """
    with mpl.rc_context(_STYLE):
        return [
            ScorePlots(name, SHOWN[name].label, _distribution(runs, labels, name))
            for name in SHOWN
            if any(name in run.summary.scores for run in runs)
        ]


def _distribution(runs: Sequence[FinishedRun], labels: Sequence[str], score: str) -> str:
    factor = SHOWN[score].factor
    values = [
        [v * factor for r in run.records.values() if (v := r.scores.get(score)) is not None]
        for run in runs
    ]
    figure = Figure(figsize=(6.4, 0.9 + 0.42 * len(runs)), layout="constrained")
    axes = figure.subplots()
    for row, points in enumerate(values):
        if points:
            _strip(axes, row, points, f"distribution-{score}-{row}")
    axes.set_yticks(range(len(runs)), labels)
    axes.tick_params(axis="y", colors=_INK)
    axes.set_ylim(len(runs) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"{SHOWN[score].label} of each image; the bar is the median")
    return _to_svg(figure, f"distribution-{score}", f"{SHOWN[score].label} of each image, by run")


def _strip(axes: Axes, row: int, points: Sequence[float], gid: str) -> None:
    """One run: every image a dot, the middle half of them a band, the median a bar."""
    low, middle, high = np.percentile(points, [25, 50, 75])
    axes.barh(row, high - low, left=low, height=0.5, color=_LINE, zorder=1)
    spread = np.random.default_rng(0).uniform(-0.16, 0.16, len(points))
    if len(points) > _DOTS:  # more would be a smear, and megabytes
        points = np.sort(points)[np.linspace(0, len(points) - 1, _DOTS).astype(int)].tolist()
        spread = spread[:_DOTS]
    axes.plot(points, row + spread, "o", markersize=4, color=_ACCENT, alpha=0.65, zorder=3)[
        0
    ].set_gid(gid)
    axes.plot([middle, middle], [row - 0.3, row + 0.3], color=_INK, linewidth=2, zorder=2)


def _to_svg(figure: Figure, identity: str, title: str) -> str:
    """Render inline SVG; ids are made unique, because a page has several."""
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": identity}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    # The page scales it, and its text is in the page's own typeface.
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
