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

from bgm.comparison.figures import FORWARD, score_metric
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
        front: Quality against speed, SVG; None if fewer than two runs have both.
        distribution: Per-image scores of each run, SVG.
    """

    score: str
    label: str
    front: str | None
    distribution: str


def plot_scores(runs: Sequence[FinishedRun], labels: Sequence[str]) -> list[ScorePlots]:
    """Plot every error that a run has.

    Args:
        runs: The runs.
        labels: What to call each of them.
    """
    with mpl.rc_context(_STYLE):
        return [
            ScorePlots(
                name, SHOWN[name].label, _front(runs, name), _distribution(runs, labels, name)
            )
            for name in SHOWN
            if any(name in run.summary.scores for run in runs)
        ]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points that no other is better than in both ways, both the better the smaller.

    Returns:
        Their indices, by rising first coordinate.
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: points[i]):
        if not front or points[index][1] < points[front[-1]][1]:
            front.append(index)
    return front


def _front(runs: Sequence[FinishedRun], score: str) -> str | None:
    error = score_metric(score)
    known = [
        (number, ms, value)
        for number, run in enumerate(runs)
        if (ms := FORWARD.value(run)) is not None and (value := error.value(run)) is not None
    ]
    if len(known) < 2:
        return None
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    front = pareto_front([(ms, value) for _, ms, value in known])
    axes.step(
        [known[i][1] for i in front],
        [known[i][2] for i in front],
        where="post",
        color=_ACCENT,
        linewidth=1.5,
        linestyle=(0, (4, 3)),
        zorder=2,
    )
    for place, (number, ms, value) in enumerate(known):
        (point,) = axes.plot(
            [ms],
            [value],
            "o",
            markersize=9,
            markerfacecolor=_ACCENT if place in front else _PANEL,
            markeredgecolor=_ACCENT,
            markeredgewidth=1.5,
            zorder=3,
        )
        point.set_gid(f"front-{score}-{number}")
        axes.annotate(
            runs[number].name,
            (ms, value),
            xytext=(8, 6),
            textcoords="offset points",
            fontsize=10,
            color=_INK,
        )
    axes.margins(0.12)
    axes.set_xlabel("network, ms per image (median); to the left is faster")
    axes.set_ylabel(f"{error.label}; lower is better")
    return _to_svg(figure, f"front-{score}", f"{error.label} against the speed of each run")


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
