"""Writes a comparison: tables, and a page to look at that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import rich
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bgm import __version__
from bgm.comparison.compare import Comparison
from bgm.comparison.figures import FORWARD
from bgm.comparison.gallery import GalleryImage, make_gallery, to_script
from bgm.comparison.page_data import choices, first_commands, page_data, repeating_commands
from bgm.comparison.plots import plot_scores
from bgm.comparison.tables import tables, to_csv, to_json, to_markdown, to_terminal
from bgm.config.experiments import ComparisonSettings
from bgm.data import leave_limit_to_settings
from bgm.records.summary import SHOWN

PAGE = "comparison.html"

_SCRIPTS = ("comparison.js", "explore.js")
_ASSETS = Path(__file__).parent.parent / "assets" / "page"


def write_comparison(
    comparison: Comparison, output_dir: Path, settings: ComparisonSettings
) -> None:
    """Print a comparison and write `comparison.csv`, `.json`, `.md` and `.html`.

    Args:
        comparison: What to write.
        output_dir: Where to.
        settings: How many pictures the page may have, and how large they may be.
    """
    leave_limit_to_settings()
    console = rich.get_console()
    for table in to_terminal(comparison, console.width):
        console.print(table)
    page = output_dir / PAGE
    texts = {"csv": to_csv, "json": to_json, "md": to_markdown}
    for suffix, to_text in texts.items():
        _write(page.with_suffix(f".{suffix}"), to_text(comparison))
    gallery = make_gallery(comparison.runs, page, settings.page_mb, settings.page_images)
    _write(page, render_page(comparison, gallery))
    console.print(f"The comparison is in {page}", soft_wrap=True, markup=False, highlight=False)


def _write(path: Path, text: str) -> None:
    """Write text; names of files may hold what UTF-8 cannot."""
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def render_page(comparison: Comparison, gallery: Sequence[GalleryImage]) -> str:
    """Make the page: HTML with its styles, script, plots and pictures inside."""
    environment = Environment(
        loader=FileSystemLoader(_ASSETS), autoescape=True, undefined=StrictUndefined
    )
    runs, labels = comparison.runs, comparison.labels()
    data = page_data(comparison)
    columns: dict[str, str] = data["columns"]
    scores = [key for key in columns if key in SHOWN]
    return environment.get_template("comparison.html.jinja").render(
        runs=runs,
        failed=sum(run.failed for run in runs),
        tables=tables(comparison),
        labels=labels,
        plots=plot_scores(runs, labels),
        gallery=gallery,
        images=len({name for run in runs for name in run.records}),
        pictures=[None if image.piece else to_script(asdict(image)) for image in gallery],
        data=to_script(data),
        figures=data["figures"],
        columns=columns,
        across=FORWARD.key,
        up=scores[0] if scores else "",
        choices=choices(comparison),
        repeats=repeating_commands(runs),
        begun=first_commands(runs),
        run_labels=to_script(labels),
        css=(_ASSETS / "comparison.css").read_text(encoding="utf-8"),
        js="\n".join((_ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS),
        version=__version__,
        made=f"{datetime.now():%Y-%m-%d %H:%M}",
    )
