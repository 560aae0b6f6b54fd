"""The curves of a training as one picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bgm.records.atomic import write_atomically
from bgm.training.journal import Entry
from bgm.training.validation import AVERAGE

CURVES_FILE = "curves.png"
_FIRST_PART_LEFT_OUT = 0.02


def draw_curves(folder: Path, entries: Sequence[Entry]) -> None:
    """Draw losses and validation over the steps into `curves.png`.

    Raises:
        WriteError: It cannot be written.
    """
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_losses(left, [entry for entry in entries if "losses" in entry])
    _draw_validation(right, entries)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100)
    write_atomically(folder / CURVES_FILE, data.getvalue())


def _draw_losses(axes: Any, entries: Sequence[Entry]) -> None:
    """Losses at which one can see something: without the first, very large ones."""
    shown = entries[int(len(entries) * _FIRST_PART_LEFT_OUT) :]
    names = [
        name for name in (shown[0]["losses"] if shown else {}) if name not in ("norm", "left_out")
    ]
    for name in names:
        values = [entry["losses"][name] for entry in shown]
        axes.plot([entry["step"] for entry in shown], values, label=name, linewidth=1)
    axes.set(xlabel="step", title="losses", yscale="log")
    if names:
        axes.legend(fontsize="small")


def _draw_validation(axes: Any, entries: Sequence[Entry]) -> None:
    tables = [(entry["step"], entry["validation"]) for entry in entries if "validation" in entry]
    for kind in tables[0][1] if tables else {}:
        values = [table[kind]["mad"] for _, table in tables]
        width = 3 if kind == AVERAGE else 1
        axes.plot([step for step, _ in tables], values, label=kind, linewidth=width)
    keyed = [entry["difference_key"] for entry in entries if "difference_key" in entry]
    if keyed:
        level = keyed[0][AVERAGE]["mad"]
        axes.axhline(level, color="grey", linestyle=":", label="difference key, all")
    axes.set(xlabel="step", title="validation: mean absolute error of alpha x1000", yscale="log")
    if tables or keyed:
        axes.legend(fontsize="small", ncols=2)
