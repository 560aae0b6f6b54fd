"""Races: which of several settings are beaten beyond doubt by what is known so far."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from bgm.comparison.figures import figure
from bgm.comparison.finished import FinishedRun
from bgm.comparison.paired import Difference, compare_pair

_DOUBT = 0.05
"""How likely one of the settings may be to drop out by chance; it is shared among its rivals."""


class Race:
    """Runs of several settings on the same few images.

    Args:
        objective: Names of the figures to race by, all the better the smaller.
        rivals: How many settings there were at the start.
    """

    def __init__(self, objective: Sequence[str], rivals: int) -> None:
        self._figures = [figure(name) for name in objective]
        self._confidence = 1 - _DOUBT / max(1, rivals - 1)

    def losers(self, runs: Sequence[FinishedRun]) -> dict[int, str]:
        """The settings that another is better than beyond doubt, by every figure.

        Args:
            runs: Their runs so far.

        Returns:
            Why each of them drops out, by its place among the runs.
        """
        lost = {}
        for place, run in enumerate(runs):
            why = self._why_out(run, [other for other in runs if other is not run])
            if why is not None:
                lost[place] = why
        return lost

    def is_over(self, runs: Sequence[FinishedRun]) -> bool:
        """Whether more images would change nothing: one is left, or a front beyond doubt."""
        return all(self._is_settled(one, other) for one, other in combinations(runs, 2))

    def _why_out(self, run: FinishedRun, others: Sequence[FinishedRun]) -> str | None:
        if run.summary.status != "finished" or not run.figures:
            return f"out: {run.summary.status}" + (
                f", {run.summary.error}" if run.summary.error else ""
            )
        for other in others:
            found = self._compare(run, other)
            if found and all(d is not None and d.verdict == "worse" for d in found):
                return f"dropped after {len(run.figures)} images: {self._describe(other, found)}"
        return None

    def _is_settled(self, one: FinishedRun, other: FinishedRun) -> bool:
        verdicts = {d.verdict for d in self._compare(one, other) if d is not None}
        return {"better", "worse"} <= verdicts

    def _compare(self, one: FinishedRun, other: FinishedRun) -> list[Difference | None]:
        return [
            compare_pair(figure, figure.of(one), figure.of(other), self._confidence)
            for figure in self._figures
        ]

    def _describe(self, other: FinishedRun, found: Sequence[Difference | None]) -> str:
        parts = [
            f"by {d.mean:.3g} [{d.low:.3g}, {d.high:.3g}] {figure.label}"
            for figure, d in zip(self._figures, found, strict=True)
            if d is not None
        ]
        return f"{other.name} is better {' and '.join(parts)}"
