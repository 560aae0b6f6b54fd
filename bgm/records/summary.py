"""What is written down about a run: its figures, kept as running sums while it goes on."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from bgm.records.record import ImageRecord, Timings, from_plain

_SAMPLED = 10_000
"""Up to so many images percentiles are exact; of more, so many are taken at random."""


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
    "com_mse": Shown("Com MSE x1000", 1e3),
}
"""The scale of each error in tables for people, that of the tables in the literature."""


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
        seconds: Wall-clock time from the first decoding to the last file.
        spared_seconds: About how much longer it would have taken without what earlier jobs of its
            sweep had decoded, aligned and computed.
        images_per_second: Images written per second, as if nothing had been spared.
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
    spared_seconds: float = 0.0
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
    def from_dict(cls, content: Mapping[str, Any]) -> Summary:
        """The summary that `as_dict` was called on, perhaps by another version of bgm.

        Raises:
            TypeError: It is no summary.
        """
        stages = content.get("stages", {})
        figures = {name: from_plain(StageSummary, stage) for name, stage in stages.items()}
        return from_plain(cls, {**content, "stages": figures})


class Tally:
    """Sums up records one by one, in memory that does not grow with their number.

    Attributes:
        done: Images that were counted.
    """

    def __init__(self) -> None:
        self.done = 0
        self._status: Counter[str] = Counter()
        self._means: dict[str, _Mean] = {}
        self._refined = _Mean()
        self._scored = 0
        self._stages = {stage.name: _Sampled() for stage in fields(Timings)}

    def add(self, record: ImageRecord) -> None:
        """Count one more image."""
        self.done += 1
        self._status[record.status] += 1
        self._scored += bool(record.scores)
        for metric, score in record.scores.items():
            self._means.setdefault(metric, _Mean()).add(score)
        if record.status == "written":
            self._refined.add(record.refined)
            for stage, values in self._stages.items():
                values.add(getattr(record.timings, stage))

    def summarize(
        self,
        images: int,
        seconds: float,
        status: str = "finished",
        error: str | None = None,
        *,
        spared_seconds: float = 0.0,
    ) -> Summary:
        """The figures so far.

        Args:
            images: Images the run was asked for.
            seconds: Wall-clock time from the first decoding to the last file.
            status: What to say of the run.
            error: Why it failed as a whole, if it did.
            spared_seconds: What earlier jobs of its sweep had done already.
        """
        full = seconds + spared_seconds
        written = self._status["written"]
        stages = {name: values.summary() for name, values in self._stages.items()}
        refined = self._refined.value()
        return Summary(
            status=status,
            images=images,
            written=written,
            failed=self._status["failed"],
            skipped=self._status["skipped"],
            unmatched=self._status["unmatched"],
            seconds=round(seconds, 3),
            spared_seconds=round(spared_seconds, 3),
            images_per_second=round(written / full, 3) if full else 0.0,
            stages={name.removesuffix("_ms"): stage for name, stage in stages.items() if stage},
            refined=None if refined is None else round(refined, 6),
            scored=self._scored,
            scores={
                metric: value
                for metric, mean in self._means.items()
                if (value := mean.value()) is not None
            },
            error=error,
        )


class _Mean:
    """The mean of the numbers among what is added."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self._sum, self._count = self._sum + value, self._count + 1

    def value(self) -> float | None:
        return self._sum / self._count if self._count else None


class _Sampled:
    """Percentiles of the numbers among what is added: of all, or of a random choice of many."""

    def __init__(self) -> None:
        self._values: list[float] = []
        self._seen = 0
        self._random = random.Random(0)  # the same records give the same figures

    def add(self, value: float | None) -> None:
        if value is None:
            return
        self._seen += 1
        if len(self._values) < _SAMPLED:
            self._values.append(value)
        elif (place := self._random.randrange(self._seen)) < _SAMPLED:
            self._values[place] = value

    def summary(self) -> StageSummary | None:
        if not self._values:
            return None
        median, p95 = np.percentile(self._values, [50, 95]).round(3).tolist()
        return StageSummary(median, p95)


def mean_scores(scores: Iterable[Mapping[str, float | None]]) -> dict[str, float]:
    """Mean of each error over the images for which it is defined."""
    tally = Tally()
    for one in scores:
        tally.add(ImageRecord("", scores=dict(one)))
    return tally.summarize(0, 0).scores
