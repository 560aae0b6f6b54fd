"""Checks a matte without truth: whether foreground and plate give the photograph by it.

`|aF + (1-a)B - I|` is large where a matte contradicts its photograph. What it cannot see, a subject
that was kept where only the plate is, shows where the photograph agrees with the plate inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bgm.data.residual import residual
from bgm.evaluation.coefficients import COEFFICIENTS, INTERCEPT
from bgm.records.check import Check

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

TYPICAL_ERROR = 0.01
"""Mean absolute error of alpha at which the suspicion is a half."""

_LOW, _HIGH = 0.05, 0.95
_BAND = 5  # pixels across which the edge's surroundings belong to it
_SEEN = 0.1  # a difference of this much is no noise
_SAME = 0.03
_SPECK = 0.0005  # of the picture: what is larger is a part of the subject
_FLOOR = 1e-3


def check(src: Bytes, bgr: Bytes, matte: Bytes) -> Check:
    """Check a matte by its photograph and plate, all shrunk to `bgm.data.residual.CHECK_SIDE`.

    Args:
        src: The photograph, uint8, (H, W, 3).
        bgr: The plate as the network saw it, uint8, (H, W, 3).
        matte: Foreground and alpha, uint8, (H, W, 4).
    """
    left = residual(src, bgr, matte)
    alpha = matte[:, :, 3].astype(np.float32) / 255
    differs = np.asarray(cv2.absdiff(src, bgr).mean(axis=2) / 255, np.float32)
    uncertain = (alpha > _LOW) & (alpha < _HIGH)
    inside, outside = alpha >= _HIGH, alpha <= _LOW
    edge = cv2.dilate(uncertain.astype(np.uint8), np.ones((_BAND, _BAND), np.uint8)) > 0
    islands, holes = _specks(alpha > 0.5), _specks(alpha <= 0.5)
    frame = np.ones(alpha.shape, bool)
    frame[2:-2, 2:-2] = False
    numbers = {
        "residual_edge": _mean(left, edge),
        "residual_foreground": _mean(left, inside),
        "residual_background": _mean(left, outside),
        "uncertain": float(uncertain.mean()),
        "uncertain_of_subject": float(uncertain.sum() / max(1.0, (alpha > _LOW).sum())),
        "islands": islands,
        "holes": holes,
        "at_frame": float(((alpha > 0.1) & (differs < _SAME))[frame].mean()),
        "missed": float((outside & (differs > _SEEN)).mean()),
        "plate_kept": float((inside & (differs < _SAME)).mean()),
    }
    rounded: dict[str, Any] = {name: round(value, 6) for name, value in numbers.items()}
    return Check(suspicion(numbers), **rounded)


def suspicion(numbers: Mapping[str, float]) -> float:
    """One number in [0, 1] of those that a check found: how likely the matte needs eyes.

    It is fitted, by `scripts/fit_check.py`, so that a half means a mean absolute error of 0.01.
    """
    total = INTERCEPT + sum(
        weight * feature(name, numbers[name]) for name, weight in COEFFICIENTS.items()
    )
    return round(float(1 / (1 + np.exp(-total))), 4)


def feature(name: str, value: float) -> float:
    """A number of a check as the fit takes it: by its order of magnitude."""
    scale = 1.0 if name in ("islands", "holes") else _FLOOR
    return float(np.log(1 + value / scale))


def numbers_of(found: Check) -> dict[str, float]:
    """What of a check the suspicion is made from."""
    return {
        name: value
        for name, value in asdict(found).items()
        if name not in ("suspicion", "needs_eyes")
    }


def _mean(values: NDArray[np.float32], where: Mask) -> float:
    return float(values[where].mean()) if where.any() else 0.0


def _specks(mask: Mask) -> int:
    """How many small pieces there are."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[1:count, cv2.CC_STAT_AREA]
    return int((areas < _SPECK * mask.size).sum())
