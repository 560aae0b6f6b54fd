"""Logs a run, and the comparison of a sweep, to Weights & Biases."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np

from bgm.records.figures import WHOLE_RUN
from bgm.records.record import ImageRecord
from bgm.records.summary import SHOWN, Summary
from bgm.tracking.base import ComparisonInfo, Preview, RunInfo, TrackerSettings, register_tracker
from bgm.tracking.wandb_session import WandbSession
from bgm.tracking.wandb_table import TIMES, ImagesTable

_OVERLAY = {0: "background", 1: "soft, below 50 %", 2: "soft, from 50 %", 3: "subject"}
_STEPS = (3, 128, 253)
"""Alphas of 255 from which on a pixel is of the next class; networks seldom say 0 or 255."""

_DIRECTIONS = {"low": "min", "high": "max"}


@register_tracker("wandb")
class WandbTracker:
    """One W&B run: settings, curves, a table of images, samples and the summary.

    W&B's own environment variables win over the settings.
    """

    package = "wandb"

    def __init__(self, settings: TrackerSettings) -> None:
        self._settings = settings
        self._done = 0

    def start(self, run: RunInfo) -> None:
        """Start the W&B run in the run's own directory, or go on with it."""
        self._done = len(run.settled)
        self._started = time.perf_counter()
        self._session = WandbSession(
            self._settings,
            run.working or run.output_dir,
            {**run.config, "facts": run.facts} if run.shown is None else run.shown,
            run.identity,
        )
        _define_metrics(self._session.run)
        self._table = ImagesTable(self._session)
        if not self._session.run.resumed:  # else it has them
            for record in run.settled:
                self._table.add(record)

    def image(self, record: ImageRecord, preview: Preview | None) -> None:
        """Log the figures of the image, its row, and the sample if it is one."""
        self._done += 1
        self._table.add(record)
        timings = {f"time/{stage}": getattr(record.timings, stage) for stage in TIMES}
        scores = {f"score/{metric}": value for metric, value in record.scores.items()}
        suspicion = None if record.check is None else record.check.suspicion
        known = {**timings, **scores, "suspicion": suspicion, "refined": record.refined}
        figures: dict[str, Any] = {key: value for key, value in known.items() if value is not None}
        figures["images"] = self._done
        figures["images_per_second"] = self._done / (time.perf_counter() - self._started)
        if preview is None:
            self._session.run.log(figures)
            return
        with self._session.pictures() as picture:
            figures["samples"] = picture(preview.strip, caption=record.name)
            figures["mattes"] = picture(
                preview.photograph, caption=record.name, masks={"alpha": _overlay(preview)}
            )
            self._session.run.log(figures)

    def finish(self, summary: Summary) -> None:
        """Log the rest of the table and the summary, and say how the run ended."""
        is_finished = summary.status == "finished"
        try:
            self._table.send()
            if is_finished:
                self._session.run.log({"images": self._done, **_final_figures(summary)})
            known = {key: value for key, value in summary.as_dict().items() if value is not None}
            self._session.run.summary.update(known)
        finally:
            self._session.finish(0 if is_finished else 1)

    def comparison(self, info: ComparisonInfo) -> None:
        """Log a comparison as a run of the sweep's group: its table, its page, its files."""
        session = WandbSession(self._settings, info.folder, {}, info.identity)
        try:
            wandb = session.wandb
            table = wandb.Table(columns=list(info.headings), data=[list(row) for row in info.rows])
            session.run.log({"comparison": table, "page": wandb.Html(str(info.page), inject=False)})
            name = re.sub(r"[^\w.-]", "-", f"comparison-{self._settings.group}")
            artifact = wandb.Artifact(name, type="comparison")
            for file in info.files:
                artifact.add_file(str(file), name=file.relative_to(info.folder).as_posix())
            session.run.log_artifact(artifact)
        except BaseException:
            session.finish(1)
            raise
        session.finish(0, info.runs)


def _define_metrics(run: Any) -> None:
    """Tell W&B what counts the images, and which figures are the better the lower or the higher."""
    run.define_metric("images", hidden=True)
    for of_images in ("time/*", "score/*", "refined"):
        run.define_metric(of_images, step_metric="images", summary="mean")
    run.define_metric("suspicion", step_metric="images", summary="mean,max")
    run.define_metric("images_per_second", step_metric="images", summary="last")
    for picture in ("samples", "mattes"):
        run.define_metric(picture, step_metric="images")
    better = {**dict.fromkeys(SHOWN, "low"), **dict.fromkeys(TIMES, "low"), **WHOLE_RUN}
    for figure, direction in better.items():
        summary = f"{_DIRECTIONS[direction]},last"
        run.define_metric(f"final/{figure}", step_metric="images", hidden=True, summary=summary)


def _final_figures(summary: Summary) -> dict[str, float]:
    """What runs are told apart by in the end, by the names that directions are defined for."""
    figures: dict[str, float | None] = {
        **summary.scores,
        **{f"{stage}_ms": of_stage.median_ms for stage, of_stage in summary.stages.items()},
        **{figure: getattr(summary, figure) for figure in WHOLE_RUN},
    }
    return {f"final/{name}": value for name, value in figures.items() if value is not None}


def _overlay(preview: Preview) -> dict[str, Any]:
    """Alpha in classes, which W&B lays over the photograph and lets people turn off and on."""
    classes = np.digitize(preview.alpha, _STEPS).astype(np.uint8)
    return {"mask_data": classes, "class_labels": _OVERLAY}
