"""What `bgm-export` prints: how each file compared with torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import rich
from rich.table import Table

if TYPE_CHECKING:
    from bgm.export.export import ExportedFile

_DIFFERENCES = ("picture", "size", "error map", "blocks", "alpha", "largest", "mean")
_RESULTS = ("picture", "MAD torch", "MAD file", "MSE torch", "MSE file", "torch ms", "file ms")


def print_check(files: Sequence[ExportedFile]) -> None:
    """Print the tables of each file, then where the file is, or why there is none."""
    console = rich.get_console()
    for file in files:
        console.print(_differences(file))
        console.print(_results(file))
        for failure in file.failures:
            console.print(f"beyond tolerance, not kept: {failure}", style="red", highlight=False)
        for note in file.facts.notes if file.path else ():
            console.print(note, highlight=False)
        if file.path:
            console.print(f"written: {file.path}", highlight=False, soft_wrap=True)


def _differences(file: ExportedFile) -> Table:
    facts = file.facts
    size = f"{facts.width}x{facts.height}" if facts.width else "any size"
    what = f"{facts.format}, {facts.model}, {facts.backbone}, {facts.precision}, {size}"
    table = _table(f"{what}: how far from torch in float32", _DIFFERENCES, left=2)
    for each in file.comparisons:
        far = (f"{value:.1e}" for value in (each.alpha, each.largest, each.mean))
        table.add_row(each.name, each.size, f"{each.coarse:.1e}", f"{each.blocks:.2%}", *far)
    limits = file.limits
    small = (f"{limits[key]:.1e}" for key in ("coarse", "alpha", "mean"))
    coarse, alpha, mean = small
    table.add_section()
    table.add_row("tolerance", "", coarse, f"{limits['blocks']:.2%}", alpha, "", mean)
    table.caption = (
        "error map, alpha: 99.9 % of the pixels; alpha, largest: where the blocks are equal"
    )
    return table


def _results(file: ExportedFile) -> Table:
    table = _table(f"against the truth (tolerance {file.limits['score']:g})", _RESULTS, left=1)
    for each in file.comparisons:
        scores = (each.mad_torch, each.mad_file, each.mse_torch, each.mse_file)
        written = ("" if score is None else f"{score:.5f}" for score in scores)
        table.add_row(each.name, *written, f"{each.ms_torch:.0f}", f"{each.ms_file:.0f}")
    return table


def _table(title: str, headings: Sequence[str], left: int) -> Table:
    table = Table(title=title)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index >= left else "left")
    return table
