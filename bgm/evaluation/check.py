"""Checks a matte without truth: whether foreground and plate give the photograph by it.

`|aF + (1-a)B - I|` is large where a matte contradicts its photograph. What it cannot see, opaque
alpha where there is glass, lace or only the plate, shows by the plate's texture: if the subject's
part of the photograph still follows that of the plate, the plate shines through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bgm.data.residual import in_three, mean_of_channels, residual, unit_alpha
from bgm.evaluation.coefficients import COEFFICIENTS, LEAST_ERROR
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
_DETAIL, _AROUND = 21, 41  # pixels across what is texture, and across what is one place
_FAINT = 3e-4  # variance of a texture that tells nothing


def check(src: Bytes, bgr: Bytes, matte: Bytes) -> Check:
    """Check a matte by its photograph and plate, all shrunk to `bgm.data.residual.CHECK_SIDE`.

    Args:
        src: The photograph, uint8, (H, W, 3).
        bgr: The plate as the network saw it, uint8, (H, W, 3).
        matte: Foreground and alpha, uint8, (H, W, 4).
    """
    left = residual(src, bgr, matte)
    alpha = unit_alpha(matte)
    differs = mean_of_channels(cv2.absdiff(src, bgr)) / np.float32(255)
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
        "plate_through": float((_shining(src, bgr, alpha) * inside).mean()),
    }
    rounded: dict[str, Any] = {name: round(value, 6) for name, value in numbers.items()}
    return Check(suspicion(numbers), **rounded)


def suspicion(numbers: Mapping[str, float]) -> float:
    """One number in [0, 1] of those that a check found: how likely the matte needs eyes.

    The mean absolute error of alpha is guessed, by a fit of `scripts/fit_check.py`; a half means
    that it is `TYPICAL_ERROR`.
    """
    guess = guess_error(numbers, COEFFICIENTS, LEAST_ERROR)
    return round(guess / (guess + TYPICAL_ERROR), 4)


def guess_error(
    numbers: Mapping[str, float], coefficients: Mapping[str, float], least: float
) -> float:
    """The mean absolute error of alpha that the numbers of a check speak for, at least `least`."""
    return least + sum(weight * numbers[name] for name, weight in coefficients.items())


def numbers_of(found: Check) -> dict[str, float]:
    """What of a check the suspicion is made from."""
    return {
        name: value
        for name, value in asdict(found).items()
        if name not in ("suspicion", "needs_eyes")
    }


def _mean(values: NDArray[np.float32], where: Mask) -> float:
    return float(values[where].mean()) if where.any() else 0.0


def _shining(src: Bytes, bgr: Bytes, alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of the plate is left, around each pixel, in what should be the subject's part.

    The slope in a line through I - (1-a)B over B, of what both have in texture: the error of alpha
    where the plate has any, upwards.
    """
    photo, plate = (picture.astype(np.float32) / np.float32(255) for picture in (src, bgr))
    part = photo - cv2.multiply(in_three(1 - alpha), plate)
    for picture in (part, plate):
        picture -= cv2.blur(picture, (_DETAIL, _DETAIL))
    common, own = (
        cv2.blur(3 * mean_of_channels(cv2.multiply(first, plate)), (_AROUND, _AROUND))
        for first in (part, plate)
    )
    return np.asarray((common / (own + _FAINT)).clip(0, 1), np.float32)


def _specks(mask: Mask) -> int:
    """How many small pieces there are."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[1:count, cv2.CC_STAT_AREA]
    return int((areas < _SPECK * mask.size).sum())
