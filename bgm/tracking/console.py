"""Shows a run to the person in front of it."""

from __future__ import annotations

import logging
import time

import rich
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bgm.records.record import ImageRecord
from bgm.records.summary import SHOWN, Summary
from bgm.tracking.base import Preview, RunInfo

log = logging.getLogger(__name__)

_NAME_WIDTH = 40
_NAMED = 10
_SECONDS_BETWEEN_FRAMES = 5.0


class ConsoleHandler(logging.Handler):
    """Logs through the console that the progress bar is drawn on, so that they do not mix."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message, in red or yellow if it is an error or a warning."""
        try:
            self._print(record)
        except OSError:  # nobody listens any more, which is not worth a trace
            pass
        except Exception:
            self.handleError(record)

    def _print(self, record: logging.LogRecord) -> None:
        style = {logging.WARNING: "yellow", logging.ERROR: "red"}.get(record.levelno, "")
        text = "\n".join(map(printable, self.format(record).expandtabs(2).splitlines()))
        rich.get_console().print(text, style=style, markup=False, highlight=False, soft_wrap=True)


class ConsoleTracker:
    """A progress bar with speed, time left and current image; plain lines off a terminal."""

    def start(self, run: RunInfo) -> None:
        """Show the bar, empty."""
        self._run = run
        self._done = len(run.settled)
        self._begun = 0
        self._failed: list[str] = []
        self._suspects: list[tuple[float, str]] = []
        self._checked = 0
        self._started = time.perf_counter()
        self._said = 0.0
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]:.2f} " + run.unit + "/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[current]}", markup=False),
            disable=not rich.get_console().is_terminal,
        )
        self._task = self._progress.add_task(
            "", total=run.images, completed=self._done, speed=0.0, current=""
        )
        self._progress.start()
        skipped = 0
        for record in run.settled:
            skipped += record.status == "skipped"
            self._note_suspect(record)
            if record.error is not None:
                log.warning("%s: %s: %s", printable(record.name), record.status, record.error)
        if skipped:
            log.info("%d %s are done already", skipped, run.unit)

    def image(self, record: ImageRecord, preview: Preview | None) -> None:
        """Advance the bar; failures are always said aloud."""
        self._done += 1
        self._begun += 1
        speed = self._begun / (time.perf_counter() - self._started)
        name = printable(record.name)
        self._progress.update(
            self._task, advance=1, speed=speed, current=name[-_NAME_WIDTH:], refresh=True
        )
        if record.error is not None:
            self._failed += [name] if record.status == "failed" else []
            log.warning("%s: %s: %s", name, record.status, record.error)
        self._note_suspect(record)
        for remark in record.remarks:
            log.info("%s: %s", name, remark)
        if record.error is None and self._progress.disable and self._is_due():
            done = f"{self._done}/{self._run.images}"
            log.info("%s %s: %s, %.2f %s/s", done, name, record.status, speed, self._run.unit)

    def _note_suspect(self, record: ImageRecord) -> None:
        self._checked += record.check is not None
        if record.check is not None and record.check.needs_eyes:
            self._suspects.append((record.check.suspicion, printable(record.name)))

    def _is_due(self) -> bool:
        """Whether a line is worth it: of every image, of frames every few seconds."""
        now = time.perf_counter()
        if self._run.unit != "frames" or now - self._said >= _SECONDS_BETWEEN_FRAMES:
            self._said = now
            return True
        return False

    def finish(self, summary: Summary) -> None:
        """Take the bar away and print the figures."""
        self._progress.stop()
        console = rich.get_console()
        console.print(_headline(summary, self._run.unit), markup=False, highlight=False)
        if summary.stages:
            console.print(_table(summary))
        if summary.scores:
            console.print(
                scores_table(summary.scores, f"mean of {summary.scored} {self._run.unit}")
            )
        if self._failed:
            names = ", ".join(self._failed[:_NAMED])
            more = f" and {len(self._failed) - _NAMED} more" if len(self._failed) > _NAMED else ""
            log.warning("failed (reasons above and in images.jsonl): %s%s", names, more)
        if self._suspects:
            worst = sorted(self._suspects, key=lambda one: (-one[0], one[1]))
            named = ", ".join(f"{name} ({suspicion:.2f})" for suspicion, name in worst[:_NAMED])
            more = f" and {len(worst) - _NAMED} more" if len(worst) > _NAMED else ""
            log.warning("these %d of %d need eyes: %s%s", len(worst), self._checked, named, more)
        if summary.status == "interrupted":
            log.info("the same command with on_existing=resume does what is missing")
        where = f"Files are in {printable(str(self._run.output_dir))}"
        console.print(where, soft_wrap=True, markup=False, highlight=False)


def _headline(summary: Summary, unit: str) -> str:
    """What became of the images, in one line."""
    counts = [
        f"{getattr(summary, status)} {status}"
        for status in ("written", "failed", "skipped", "unmatched")
        if status == "written" or getattr(summary, status)
    ]
    line = f"{', '.join(counts)}; {summary.images_per_second:.2f} {unit}/s"
    return line if summary.status == "finished" else f"{summary.status}: {line}"


def _table(summary: Summary) -> Table:
    table = Table("stage", caption="total: with waiting", caption_justify="left")
    table.add_column("median ms", justify="right")
    table.add_column("95 % ms", justify="right")
    for stage, figures in summary.stages.items():
        table.add_row(stage, f"{figures.median_ms:.1f}", f"{figures.p95_ms:.1f}")
    return table


def scores_table(scores: dict[str, float], title: str) -> Table:
    """One row of errors, each named with the scale that it is printed in."""
    table = Table(title=title, title_justify="left")
    for metric in scores:
        table.add_column(SHOWN[metric].label, justify="right")
    table.add_row(*(f"{value * SHOWN[metric].factor:.3f}" for metric, value in scores.items()))
    return table


def printable(text: str) -> str:
    """Text that any terminal can show: names of files may hold anything."""
    cleaned = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    encoding = rich.get_console().encoding
    return cleaned.encode(encoding, "backslashreplace").decode(encoding)
