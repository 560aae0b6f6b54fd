"""What is written down about each image and each run: plain data that trackers pass on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from bgm.records.fingerprints import InputFile


class Shown(NamedTuple):
    """How an error is printed: its heading with the scale, and the factor to it."""

    label: str
    factor: float


SHOWN = {
    "mse": Shown("MSE x1000", 1e3),
    "sad": Shown("SAD /1000", 1.0),  # recorded divided by 1000 already
    "grad": Shown("Grad /1000", 1e-3),
    "conn": Shown("Conn /1000", 1e-3),
    "mad": Shown("MAD x1000", 1e3),
    "fg_mse": Shown("Fg MSE x1000", 1e3),
}
"""The scale of each error in tables for people, that of the tables in the literature."""


ALREADY_ALIGNED = "kept: already aligned"
"""Why a background is left alone that needs no alignment."""


@dataclass(frozen=True)
class Alignment:
    """What became of the attempt to align a background to its source.

    Attributes:
        applied: Whether the background was warped.
        reason: Why it was, or why it was not.
        matches: Feature matches found.
        inliers: Matches that agree with the homography.
        shift_px: Mean distance by which the homography moves a pixel, or None without one.
    """

    applied: bool
    reason: str
    matches: int = 0
    inliers: int = 0
    shift_px: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the background fits its source now, as far as can be told."""
        return self.applied or self.reason == ALREADY_ALIGNED


@dataclass
class Timings:
    """Milliseconds that one image spent in each stage; None where it did not get there.

    Attributes:
        load_ms: Decoding source and background.
        align_ms: Aligning the background.
        forward_ms: The network, with the transfer to the device; the device is synchronised.
        layers_ms: Composing the layers, rounding them, copying them to the host.
        write_wait_ms: Inference waiting for a free place among the writers.
        encode_ms: Encoding and storing the files.
        score_ms: Comparing with the truth.
        total_ms: From the start of decoding to the last file stored, waiting in queues included.
    """

    load_ms: float | None = None
    align_ms: float | None = None
    forward_ms: float | None = None
    layers_ms: float | None = None
    write_wait_ms: float | None = None
    encode_ms: float | None = None
    score_ms: float | None = None
    total_ms: float | None = None


@dataclass
class ImageRecord:
    """Everything known about one image of a run.

    Attributes:
        name: Path relative to the sources, without extension.
        status: `written`, `failed`, `skipped` (its outputs exist) or `unmatched`.
        error: What went wrong, if anything did.
        remarks: What else there is to say, such as that only the first frame was used.
        width: Width in pixels, once decoded.
        height: Height in pixels, once decoded.
        inputs: The files it was made from: `src`, `bgr` and, once scored, the truth.
        files: Output path per layer, relative to the run's directory.
        alignment: What the alignment did, if it was asked for.
        refined: Share of the pixels that the refiner redid, in [0, 1]; None without a refiner.
        scores: Errors against the truth, as `bgm.evaluation` defines them; empty without truth.
        timings: Milliseconds per stage.
    """

    name: str
    status: str = "written"
    error: str | None = None
    remarks: list[str] = field(default_factory=list)
    width: int | None = None
    height: int | None = None
    inputs: dict[str, InputFile] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    alignment: Alignment | None = None
    refined: float | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    timings: Timings = field(default_factory=Timings)

    def fail(self, reason: str) -> ImageRecord:
        """Mark the image as failed for `reason`."""
        self.status, self.error = "failed", reason
        return self

    def as_dict(self) -> dict[str, Any]:
        """The record as nested plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> ImageRecord:
        """The record that `as_dict` was called on."""
        alignment = content["alignment"] and Alignment(**content["alignment"])
        timings = Timings(**content["timings"])
        inputs = {kind: InputFile(**file) for kind, file in content["inputs"].items()}
        return cls(**{**content, "alignment": alignment, "timings": timings, "inputs": inputs})


@dataclass(frozen=True)
class StageSummary:
    """Median and 95th percentile of one stage over the written images, in milliseconds."""

    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Summary:
    """A run in a few numbers.

    Attributes:
        status: `running`, `finished`, `interrupted`, or `failed` (as a whole, not by an image).
        images: Images the run was asked for.
        written: Images of which every file is stored.
        failed: Images that failed.
        skipped: Images whose outputs existed already.
        unmatched: Files left out because they had no partner.
        seconds: Wall-clock time of the run, without setting up the network.
        images_per_second: Written images per second of that time.
        stages: Figures per stage, by the names of `Timings` without their unit.
        refined: Mean share of the pixels that the refiner redid; None without a refiner.
        peak_memory_mib: Largest resident size of the process during the run, in MiB.
        device_peak_memory_mib: Most memory held on a CUDA device, in MiB; None elsewhere.
        scored: Images that were compared with the truth.
        scores: Mean of each error over the images that have it.
        error: Why the run failed as a whole, or None.
        figures: Whatever else was measured, by name.
    """

    status: str
    images: int
    written: int = 0
    failed: int = 0
    skipped: int = 0
    unmatched: int = 0
    seconds: float = 0.0
    images_per_second: float = 0.0
    stages: dict[str, StageSummary] = field(default_factory=dict)
    refined: float | None = None
    peak_memory_mib: float | None = None
    device_peak_memory_mib: float | None = None
    scored: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The summary as nested plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Summary:
        """The summary that `as_dict` was called on."""
        stages = {name: StageSummary(**figures) for name, figures in content["stages"].items()}
        return cls(**{**content, "stages": stages})


def summarize(
    records: Iterable[ImageRecord],
    images: int,
    seconds: float,
    status: str = "finished",
    error: str | None = None,
) -> Summary:
    """Sum up the records of a run.

    Args:
        records: The records so far.
        images: Images the run was asked for.
        seconds: Wall-clock time they took.
        status: What to say of the run.
        error: Why it failed as a whole, if it did.
    """
    records = list(records)
    count = {s: sum(r.status == s for r in records) for s in {r.status for r in records}}
    written = [record for record in records if record.status == "written"]
    refined = [record.refined for record in written if record.refined is not None]
    stages = {}
    for stage in fields(Timings):
        values = [getattr(record.timings, stage.name) for record in written]
        known = [value for value in values if value is not None]
        if known:
            median, p95 = np.percentile(known, [50, 95]).round(3).tolist()
            stages[stage.name.removesuffix("_ms")] = StageSummary(median, p95)
    return Summary(
        status=status,
        images=images,
        written=len(written),
        failed=count.get("failed", 0),
        skipped=count.get("skipped", 0),
        unmatched=count.get("unmatched", 0),
        seconds=round(seconds, 3),
        images_per_second=round(len(written) / seconds, 3) if seconds else 0.0,
        stages=stages,
        refined=round(float(np.mean(refined)), 6) if refined else None,
        scored=sum(bool(record.scores) for record in records),
        scores=mean_scores(record.scores for record in records),
        error=error,
    )


def mean_scores(scores: Iterable[Mapping[str, float | None]]) -> dict[str, float]:
    """Mean of each error over the images for which it is defined."""
    values: dict[str, list[float]] = {}
    for one in scores:
        for metric, value in one.items():
            if value is not None:
                values.setdefault(metric, []).append(value)
    return {metric: float(np.mean(found)) for metric, found in values.items()}
