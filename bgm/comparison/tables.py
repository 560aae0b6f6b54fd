"""A comparison as tables: in the terminal, as CSV, JSON and Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table as RichTable
from rich.text import Text

from bgm.comparison.compare import Comparison, GroupRow
from bgm.comparison.figures import Metric
from bgm.comparison.finished import FinishedRun
from bgm.comparison.paired import LEAST_IMAGES, Difference

_WIDEST = 40
_PADDING = 3
_MARKS = {"best": "*", "tied": "="}
_STYLES = {"best": "bold green", "better": "green", "worse": "red"}


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What it says.
        value: The number that it says, if it is one; for sorting.
        mark: `best` if every other run is worse beyond doubt, `tied` if it cannot be told from the
            best; of a difference its verdict.
        run: The row of the run that it names, if it does.
    """

    text: str
    value: float | None = None
    mark: str = ""
    run: int | None = None


@dataclass(frozen=True)
class Table:
    """Something to print.

    Attributes:
        title: What it shows, in a sentence.
        headings: Of its columns; the first names the run, or the group.
        rows: Its cells.
    """

    title: str
    headings: list[str]
    rows: list[list[Cell]]


def tables(comparison: Comparison) -> list[Table]:
    """The runs; how far each is from the best or the baseline; both of them by group."""
    made = [_runs(comparison)]
    if comparison.paired:
        made.append(_differences(comparison))
    if comparison.groups:
        made.append(_groups(comparison))
    return made


def _runs(comparison: Comparison) -> Table:
    return Table(
        _title(comparison), headings(comparison), [list(row) for row in run_rows(comparison)]
    )


def headings(comparison: Comparison) -> list[str]:
    """The heading of each column of the table of runs."""
    labels = [metric.label for metric in comparison.metrics]
    notes = ["note"] if _has_notes(comparison) else []
    return ["run", *comparison.settings, *labels, *notes, "status"]


def _title(comparison: Comparison) -> str:
    images = [d.images for found in comparison.differences.values() for d in found.values()]
    if images and max(images) < LEAST_IMAGES:
        return (
            f"{len(comparison.runs)} runs; {max(images)} images are too few to tell which is best "
            f"({LEAST_IMAGES} are needed)"
        )
    return f"{len(comparison.runs)} runs; * is the best beyond doubt, = cannot be told from it"


def _has_notes(comparison: Comparison) -> bool:
    return any(run.note for run in comparison.runs)


def run_rows(comparison: Comparison) -> Iterator[list[Cell]]:
    """The table of runs, a row for each, in the order of `headings`."""
    for row, run in enumerate(comparison.runs):
        yield [
            Cell(run.name, run=row),
            *(_setting(comparison, run, key) for key in comparison.settings),
            *(_figure(comparison, metric, row) for metric in comparison.metrics),
            *([Cell(run.note or "")] if _has_notes(comparison) else []),
            Cell(_status(run)),
        ]


def _setting(comparison: Comparison, run: FinishedRun, key: str) -> Cell:
    text, value = comparison.setting(run, key), run.settings.get(key)
    is_number = text and isinstance(value, (int, float)) and not isinstance(value, bool)
    return Cell(text, float(value) if is_number else None)  # type: ignore[arg-type]


def _figure(comparison: Comparison, metric: Metric, row: int) -> Cell:
    value = metric.value(comparison.runs[row])
    if value is None:
        return Cell("")
    return Cell(f"{value:.{metric.digits}f}", value, mark(comparison, metric, row))


def mark(comparison: Comparison, metric: Metric, row: int) -> str:
    """`best`, `tied` or nothing."""
    if row in comparison.best.get(metric.key, ()):
        return "best"
    return "tied" if row in comparison.tied.get(metric.key, ()) else ""


def _status(run: FinishedRun) -> str:
    error = run.summary.error
    return f"{run.summary.status}: {error}" if error else run.summary.status


def _differences(comparison: Comparison) -> Table:
    metrics = comparison.paired
    if comparison.baseline is None:
        title = "difference of each image to the run that is best by the figure"
    else:
        title = f"difference of each image to {comparison.runs[comparison.baseline].name}"
    rows = []
    for row, run in enumerate(comparison.runs):
        cells = [Cell(run.name, run=row)]
        for metric in metrics:
            if row == comparison.references[metric.key]:
                cells += [Cell("reference"), Cell("")]
            else:
                found = comparison.differences[metric.key].get(row)
                cells += [_difference(metric, found), _won(found)]
        worst = [_worst(comparison, m, row) for m in metrics if not _is_time(m)]
        rows.append([*cells, next(filter(None, worst), Cell(""))])
    labels = [text for metric in metrics for text in (f"Δ {metric.label}", "won %")]
    return Table(
        f"{title}: its mean, the interval that holds it in 95 of 100 cases, the share of images won"
        f"; = where the interval holds 0",
        ["run", *labels, "worst regression"],
        rows,
    )


def _is_time(metric: Metric) -> bool:
    return metric.figure is not None and metric.figure.is_time


def _difference(metric: Metric, found: Difference | None) -> Cell:
    if found is None:
        return Cell("")
    shown = f"{found.mean:+.{metric.digits}f}"
    if found.low is None or found.high is None:
        return Cell(f"{shown} (too few)", found.mean)
    interval = f"[{found.low:+.{metric.digits}f}, {found.high:+.{metric.digits}f}]"
    sign = "= " if found.verdict == "tie" else ""
    return Cell(f"{sign}{shown} {interval}", found.mean, found.verdict)


def _won(found: Difference | None) -> Cell:
    return Cell("") if found is None else Cell(f"{found.won * 100:.0f}", found.won * 100)


def _worst(comparison: Comparison, metric: Metric, row: int) -> Cell | None:
    """The image that became worst by a figure; None if none did."""
    found = comparison.differences[metric.key].get(row)
    if found is None or not found.worst:
        return None
    name, by = found.worst[0]
    return Cell(f"{name}: {metric.label} {by:+.{metric.digits}f}")


def _groups(comparison: Comparison) -> Table:
    metrics = [m for m in comparison.paired if not _is_time(m)]
    rows = []
    for group in comparison.groups:
        cells = [
            Cell(group.group),
            Cell(comparison.runs[group.row].name, run=group.row),
            Cell(str(group.images), group.images),
        ]
        for metric in metrics:
            value = group.values.get(metric.key)
            cells.append(Cell("") if value is None else Cell(f"{value:.{metric.digits}f}", value))
            is_reference = group.row == comparison.references[metric.key]
            found = group.differences.get(metric.key)
            cells.append(Cell("reference") if is_reference else _difference(metric, found))
        rows.append(cells)
    labels = [text for metric in metrics for text in (metric.label, f"Δ {metric.label}")]
    return Table("by group of images", ["group", "run", "images", *labels], rows)


def to_terminal(comparison: Comparison, width: int) -> list[RichTable]:
    """For a terminal `width` characters wide: several tables below each other if one is too wide.

    The column that names the run is in each of them. The best values are marked.
    """
    printed = []
    for table in tables(comparison):
        texts = [[f"{c.text}{_MARKS.get(c.mark, '')}" for c in row] for row in table.rows]
        if table.headings[-1] == "status":  # why a run failed is too long for a column
            for row, run in zip(texts, comparison.runs, strict=True):
                row[-1] = run.summary.status
        styles = [[_STYLES.get(c.mark, "") for c in row] for row in table.rows]
        fixed = table.headings.index("run") + 1
        blocks = _blocks(table.headings, texts, fixed, width)
        for number, columns in enumerate(blocks):
            title = table.title if number == 0 else None
            printed.append(_rich(title, table.headings, texts, styles, columns))
    return printed


def _blocks(
    headings: Sequence[str], texts: Sequence[Sequence[str]], fixed: int, width: int
) -> list[list[int]]:
    """Columns that fit beside each other, the first ones in every block."""

    def needs(column: int) -> int:
        longest = max(len(text) for text in (headings[column], *(row[column] for row in texts)))
        return min(_WIDEST, longest) + _PADDING

    blocks: list[list[int]] = []
    left = 0
    for column in range(fixed, len(headings)):
        if not blocks or needs(column) > left:
            blocks.append(list(range(fixed)))
            left = width - sum(map(needs, range(fixed))) - 1
        left -= needs(column)
        blocks[-1].append(column)
    return blocks


def _rich(
    title: str | None,
    headings: Sequence[str],
    texts: Sequence[Sequence[str]],
    styles: Sequence[Sequence[str]],
    columns: Sequence[int],
) -> RichTable:
    table = RichTable(title=title, title_justify="left", title_style="")
    for column in columns:
        cells = [row[column] for row in texts]
        is_figure = any(cell.strip("*=+-").replace(".", "").isdecimal() for cell in cells)
        justify: Any = "right" if is_figure else "left"
        table.add_column(headings[column], justify=justify, max_width=_WIDEST)
    for row, style in zip(texts, styles, strict=True):
        table.add_row(*(Text(row[column], style[column]) for column in columns))
    return table


def to_csv(comparison: Comparison) -> str:
    """As CSV, numbers with all their digits: a row per run, then one per group and run."""
    has_groups = bool(comparison.groups)
    extra = [
        f"{metric.label}: {part}"
        for metric in comparison.paired
        for part in ("difference", "low", "high", "won %", "verdict", "worst image")
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    first, *others = headings(comparison)
    writer.writerow([first, *(["group", "images"] if has_groups else []), *others, *extra])
    for row, (name, *cells) in enumerate(run_rows(comparison)):
        found = {m.key: comparison.differences[m.key].get(row) for m in comparison.paired}
        of_all = ["", len(comparison.runs[row].records)] if has_groups else []
        plain = [cell.text if cell.value is None else cell.value for cell in cells]
        writer.writerow([name.text, *of_all, *plain, *_flat(comparison, found)])
    for group in comparison.groups:
        writer.writerow(_group_line(comparison, group))
    return text.getvalue()


def _group_line(comparison: Comparison, group: GroupRow) -> list[Any]:
    run = comparison.runs[group.row]
    settings = [_setting(comparison, run, key) for key in comparison.settings]
    return [
        *(run.name, group.group, group.images),
        *(cell.text if cell.value is None else cell.value for cell in settings),
        *(group.values.get(metric.key, "") for metric in comparison.metrics),
        *([""] if _has_notes(comparison) else []),
        "",
        *_flat(comparison, group.differences),
    ]


def _flat(comparison: Comparison, found: Mapping[str, Difference | None]) -> list[Any]:
    """The differences of a row, one after the other."""
    flat: list[Any] = []
    for metric in comparison.paired:
        difference = found.get(metric.key)
        if difference is None:
            flat += [""] * 6
        else:
            worst = difference.worst[0][0] if difference.worst else ""
            flat += [difference.mean, difference.low, difference.high, difference.won * 100]
            flat += [difference.verdict, worst]
    return flat


def to_json(comparison: Comparison) -> str:
    """As JSON: a list of runs, each with its settings that differ and its figures by key."""
    runs = comparison.runs
    rows: list[dict[str, Any]] = [
        {
            "run": run.name,
            "path": str(run.path.absolute()),
            "status": run.summary.status,
            "error": run.summary.error,
            "note": run.note,
            "settings": {key: run.settings.get(key) for key in comparison.settings},
            "figures": {metric.key: metric.value(run) for metric in comparison.metrics},
            "best": [m.key for m in comparison.metrics if mark(comparison, m, row) == "best"],
            "tied": [m.key for m in comparison.metrics if mark(comparison, m, row) == "tied"],
            "differences": {
                metric.key: _plain(comparison.differences[metric.key][row])
                for metric in comparison.paired
                if row in comparison.differences[metric.key]
            },
        }
        for row, run in enumerate(runs)
    ]
    groups = [
        {
            "group": group.group,
            "run": runs[group.row].name,
            "images": group.images,
            "figures": group.values,
            "differences": {key: _plain(found) for key, found in group.differences.items()},
        }
        for group in comparison.groups
    ]
    baseline = None if comparison.baseline is None else runs[comparison.baseline].name
    content = {
        "columns": {metric.key: metric.label for metric in comparison.metrics},
        "baseline": baseline,
        "references": {key: runs[row].name for key, row in comparison.references.items()},
        "runs": rows,
        "groups": groups,
    }
    return json.dumps(content, indent=2) + "\n"


def _plain(difference: Difference) -> dict[str, Any]:
    worst = [{"image": name, "difference": by} for name, by in difference.worst]
    return {**asdict(difference), "worst": worst, "verdict": difference.verdict}


def to_markdown(comparison: Comparison) -> str:
    """As Markdown; the best values are bold, those that cannot be told from them have a `=`."""
    parts = []
    for table in tables(comparison):
        lines = [f"{table.title[:1].upper()}{table.title[1:]}.", ""]
        lines += ["| " + " | ".join(table.headings) + " |", "|" + "---|" * len(table.headings)]
        for row in table.rows:
            lines.append("| " + " | ".join(map(_markdown, row)) + " |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _markdown(cell: Cell) -> str:
    text = " ".join(cell.text.replace("|", r"\|").replace("*", r"\*").split())
    if cell.mark == "best":
        return f"**{text}**"
    return f"{text} =" if cell.mark == "tied" else text
