"""Scores a directory of mattes, whatever made them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import rich
from rich.table import Table
from rich.text import Text

from bgm.config.schema import EvaluateConfig, Unmatched
from bgm.data import describe, find_truths, leave_limit_to_settings, list_images, read_alpha
from bgm.data.kinds import why_missing
from bgm.data.processors import usable_cpus
from bgm.errors import BgmError, ConfigError, DataError
from bgm.evaluation.clips import are_clips, evaluate_clips
from bgm.evaluation.rows import Row
from bgm.evaluation.truth import Scorer, unknown_only
from bgm.records.summary import SHOWN, mean_scores
from bgm.storage import is_url, locate
from bgm.tracking.console import printable

_WORST = 10


def evaluate(config: EvaluateConfig) -> list[Row]:
    """Score mattes against the truths of the same relative names.

    Returns:
        A row per matte, of clips per frame, in the order of their names; with `unmatched=skip` also
        one per file that has no partner.

    Raises:
        BgmError: A path does not exist, there are no mattes, a file has no partner, or none has.
    """
    leave_limit_to_settings()
    for key in ("pred", "true", "trimap"):
        path = getattr(config, key)
        if path is not None and not locate(path).exists() and not are_clips(Path(path)):
            raise ConfigError(f"{key}={path}: {why_missing(locate(path))}")
    if not is_url(config.pred) and (are_clips(Path(config.pred)) or are_clips(Path(config.true))):
        return evaluate_clips(config)
    skip = config.unmatched is Unmatched.skip
    mattes = list_images(locate(config.pred))
    if not mattes:
        raise DataError(f"no images in pred={config.pred}")
    roots = {"pha": config.true, "trimap": config.trimap}
    given = {kind: locate(path) for kind, path in roots.items() if path is not None}
    truths = find_truths(mattes, given, skip_unmatched=skip)
    missing = {}
    if locate(config.true).is_dir():
        names = sorted(list_images(locate(config.true)).keys() - mattes.keys())
        missing = dict.fromkeys(names, "truth without a matte")
    if missing and not skip:
        raise DataError(describe(missing, "truth without a matte", "unmatched=skip"))
    scorer = Scorer(
        truths,
        unknown_only=unknown_only(config.scores.region.name, config.trimap),
        band=config.scores.band,
    )

    def score(name: str, path: Path) -> Row:
        for kind in given.keys() - truths[name].keys():
            what = "truth" if kind == "pha" else kind
            return Row(name, error=f"matte without a {what}", unmatched=True)
        try:
            return Row(name, scorer(name, read_alpha(path)))
        except BgmError as error:
            return Row(name, error=str(error))

    with ThreadPoolExecutor(config.workers or usable_cpus()) as pool:
        rows = list(pool.map(score, mattes.keys(), mattes.values()))
    if all(row.unmatched for row in rows):
        raise DataError(f"no matte in pred={config.pred} has a truth in true={config.true}")
    return rows + [Row(name, error=why, unmatched=True) for name, why in missing.items()]


def write_report(rows: list[Row], output_dir: Path) -> None:
    """Print the scores; write them as `scores.csv` and `scores.json`.

    The table and the CSV are in the scales that their headings name; the JSON has the plain values.
    """
    mean = mean_scores(row.scores for row in rows)
    content = {
        "images": len(rows),
        "failed": sum(row.failed for row in rows),
        "unmatched": sum(row.unmatched for row in rows),
        "mean": mean,
        "rows": [asdict(row) for row in rows],
    }
    (output_dir / "scores.json").write_text(json.dumps(content, indent=2) + "\n")
    metrics = [metric for metric in SHOWN if metric in mean]
    with (output_dir / "scores.csv").open(
        "w", newline="", encoding="utf-8", errors="backslashreplace"
    ) as file:
        writer = csv.writer(file)
        writer.writerow(["name", *(SHOWN[metric].label for metric in metrics), "error"])
        for row in rows:
            values = [_shown(row.scores, metric) for metric in metrics]
            writer.writerow([row.name, *values, row.error])
    _print(rows, mean, metrics, output_dir)


def _shown(scores: Mapping[str, float | None], metric: str) -> float | None:
    value = scores.get(metric)
    return None if value is None else value * SHOWN[metric].factor


def _headline(rows: list[Row]) -> str:
    """How many mattes were scored, and what became of the other files."""
    others = {"failed": [row.failed for row in rows], "unmatched": [row.unmatched for row in rows]}
    counts = "".join(f", {sum(those)} {what}" for what, those in others.items() if any(those))
    return f"{sum(bool(row.scores) for row in rows)} mattes{counts}; the worst first"


def _print(
    rows: list[Row], mean: Mapping[str, float | None], metrics: list[str], output_dir: Path
) -> None:
    scored = [row for row in rows if row.scores]
    worst = sorted(scored, key=lambda row: row.scores.get("mse") or 0, reverse=True)[:_WORST]
    table = Table("name", title=_headline(rows), title_justify="left")
    for metric in metrics:
        table.add_column(SHOWN[metric].label, justify="right")
    for name, scores in [*((row.name, row.scores) for row in worst), ("mean", mean)]:
        values = [_shown(scores, metric) for metric in metrics]
        table.add_row(
            Text(printable(name)), *("" if value is None else f"{value:.3f}" for value in values)
        )
    console = rich.get_console()
    console.print(table)
    for row in rows:
        if row.error is not None:
            message = printable(f"{row.name}: {row.error}")
            console.print(message, style="yellow", markup=False, soft_wrap=True)
    console.print(f"Files are in {output_dir}", soft_wrap=True, markup=False)
