"""What a finished run is worth to a search: the figures that it goes by."""

from __future__ import annotations

from collections.abc import Sequence

from bgm.comparison.figures import figure
from bgm.comparison.finished import FinishedRun
from bgm.records.figures import WHOLE_RUN


def objective_values(run: FinishedRun, objective: Sequence[str]) -> list[float] | None:
    """The figures of a run; times are medians, other figures of the images means.

    Args:
        run: The run.
        objective: Names of figures.

    Returns:
        Their values, as recorded; None unless every image has them: what failed on the hardest
        images must not look best.
    """
    if run.summary.status != "finished" or run.summary.failed or not run.figures:
        return None
    values = []
    for name in objective:
        if name in WHOLE_RUN:
            whole = getattr(run.summary, name)
            if whole is None:
                return None
            values.append(float(whole))
            continue
        known = [figures[name] for figures in run.figures.values() if name in figures]
        if len(known) < len(run.figures):
            return None
        values.append(figure(name).middle(known))
    return values


def is_maximized(name: str) -> bool:
    """Whether more of a figure is better."""
    return WHOLE_RUN.get(name) == "high"
