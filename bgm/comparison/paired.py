"""Differences of two runs on the same images, and whether they are more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bgm.comparison.figures import Figure

LEAST_IMAGES = 6
"""Fewer cannot tell two runs apart: even if one wins on all of five, chance does that one time in
16, more often than the one in 20 that an interval of 95 % leaves."""

_CONFIDENCE = 0.95
_RESAMPLES = 2000
_RESAMPLES_AT_ONCE = 256  # bounds the memory
_BCA_UP_TO = 200  # images; above, the correction for bias and skew no longer matters
_WORST = 5
_SAME = 1e-9  # of the differences: rounding


@dataclass(frozen=True)
class Difference:
    """A run beside another on the images that both have; less is better.

    Attributes:
        images: How many those are.
        mean: Mean over them (of times the median) of the run's figure less the other's.
        low: Lower end of its confidence interval; None of fewer than `LEAST_IMAGES`.
        high: Upper end.
        won: Share of the images on which the run is the better one, in [0, 1].
        worst: The images on which it is worse than the other by most, with by how much.
    """

    images: int
    mean: float
    low: float | None
    high: float | None
    won: float
    worst: tuple[tuple[str, float], ...] = ()

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `tie` if the interval holds 0, `too few` images to say."""
        if self.low is None or self.high is None:
            return "too few"
        if self.low <= 0 <= self.high:
            return "tie"
        return "better" if self.high < 0 else "worse"


def compare_pair(
    figure: Figure,
    values: Mapping[str, float],
    others: Mapping[str, float],
    confidence: float = _CONFIDENCE,
) -> Difference | None:
    """Set a figure of one run beside that of another.

    Args:
        figure: What it is.
        values: The run's, by image.
        others: The other's.
        confidence: Of the interval.

    Returns:
        What differs; None if no image is in both.
    """
    names = [name for name in values if name in others]
    if not names:
        return None
    differences = np.array([values[name] - others[name] for name in names])
    low, high = _interval(differences, figure, confidence)
    order = np.argsort(-differences, kind="stable")[:_WORST]
    return Difference(
        images=len(names),
        mean=figure.middle(differences),
        low=low,
        high=high,
        won=float(np.mean(differences < 0)),
        worst=tuple((names[i], float(differences[i])) for i in order if differences[i] > 0),
    )


def _interval(
    differences: NDArray[np.float64], figure: Figure, confidence: float
) -> tuple[float | None, float | None]:
    """Where the middle of the differences lies, by resampling the images."""
    count = len(differences)
    if count < LEAST_IMAGES:
        return None, None
    if np.ptp(differences) <= _SAME * np.abs(differences).max():  # nothing to resample
        return float(differences.min()), float(differences.max())
    from scipy import stats  # takes a second to import

    is_mean = not figure.is_time
    for method in (["BCa"] if is_mean and count <= _BCA_UP_TO else []) + ["percentile"]:
        low, high = stats.bootstrap(
            (differences,),
            np.mean if is_mean else np.median,
            n_resamples=max(_RESAMPLES, round(40 / (1 - confidence))),
            batch=_RESAMPLES_AT_ONCE,
            confidence_level=confidence,
            method=method,
            random_state=0,  # the same records give the same interval
        ).confidence_interval
        if np.isfinite([low, high]).all():
            break
    return float(low), float(high)
