"""A comparison as a table: in the terminal, as CSV, JSON and Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from bgm.comparison.compare import Comparison, FinishedRun, Metric

_WIDEST = 40
_PADDING = 3


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What it says.
        value: The number that it says, if it is one; for sorting.
        best: Whether no other row is better.
    """

    text: str
    value: float | None = None
    best: bool = False


def headings(comparison: Comparison) -> list[str]:
    """The heading of each column."""
    labels = [metric.label for metric in comparison.metrics]
    return ["run", *comparison.settings, *labels, "status"]


def cells(comparison: Comparison) -> Iterator[list[Cell]]:
    """The rows of the table, one per run."""
    for row, run in enumerate(comparison.runs):
        yield [
            Cell(run.name),
            *(_setting(comparison, run, key) for key in comparison.settings),
            *(
                _figure(metric, run, row in comparison.best[metric.key])
                for metric in comparison.metrics
            ),
            Cell(_status(run)),
        ]


def _setting(comparison: Comparison, run: FinishedRun, key: str) -> Cell:
    text, value = comparison.setting(run, key), run.settings.get(key)
    is_number = text and isinstance(value, (int, float)) and not isinstance(value, bool)
    return Cell(text, float(value) if is_number else None)  # type: ignore[arg-type]


def _figure(metric: Metric, run: FinishedRun, best: bool) -> Cell:
    value = metric.value(run)
    return Cell("", None) if value is None else Cell(f"{value:.{metric.digits}f}", value, best)


def _status(run: FinishedRun) -> str:
    error = run.summary.error
    return f"{run.summary.status}: {error}" if error else run.summary.status


def to_terminal(comparison: Comparison, width: int) -> list[Table]:
    """For a terminal `width` characters wide: several tables below each other if one is too wide.

    The column that names the run is in each of them. The best values are marked.
    """
    rows = [[f"{c.text}*" if c.best else c.text for c in row] for row in cells(comparison)]
    for row, run in zip(rows, comparison.runs, strict=True):
        row[-1] = run.summary.status  # why a run failed is too long for a column
    columns = list(zip(headings(comparison), *rows, strict=True))
    blocks: list[list[tuple[str, ...]]] = []
    left = 0
    for column in columns[1:]:
        needs = min(_WIDEST, max(map(len, column))) + _PADDING
        if not blocks or needs > left:
            blocks.append([columns[0]])
            left = width - max(map(len, columns[0])) - _PADDING - 1
        left -= needs
        blocks[-1].append(column)
    return [_table(block) for block in blocks]


def _table(columns: Sequence[Sequence[str]]) -> Table:
    table = Table()
    for heading, *texts in columns:
        is_figure = any(text.rstrip("*").replace(".", "").isdecimal() for text in texts)
        table.add_column(heading, justify="right" if is_figure else "left", max_width=_WIDEST)
    for row in list(zip(*columns, strict=True))[1:]:
        table.add_row(*(Text(text, "bold green" if text.endswith("*") else "") for text in row))
    return table


def to_csv(comparison: Comparison) -> str:
    """As CSV, numbers with all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headings(comparison))
    for row in cells(comparison):
        writer.writerow([c.text if c.value is None else c.value for c in row])
    return text.getvalue()


def to_json(comparison: Comparison) -> str:
    """As JSON: a list of runs, each with its settings that differ and its figures by key."""
    rows: list[dict[str, Any]] = [
        {
            "run": run.name,
            "path": str(run.path.absolute()),
            "status": run.summary.status,
            "error": run.summary.error,
            "settings": {key: run.settings.get(key) for key in comparison.settings},
            "figures": {metric.key: metric.value(run) for metric in comparison.metrics},
            "best": [m.key for m in comparison.metrics if row in comparison.best[m.key]],
        }
        for row, run in enumerate(comparison.runs)
    ]
    columns = {metric.key: metric.label for metric in comparison.metrics}
    return json.dumps({"columns": columns, "runs": rows}, indent=2) + "\n"


def to_markdown(comparison: Comparison) -> str:
    """As Markdown; the best values are bold."""
    head = headings(comparison)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in cells(comparison):
        texts = [" ".join(c.text.replace("|", r"\|").split()) for c in row]
        marked = [f"**{t}**" if c.best else t for t, c in zip(texts, row, strict=True)]
        lines.append("| " + " | ".join(marked) + " |")
    return "\n".join(lines) + "\n"
