"""The steps that change alpha: plain functions of float32 arrays (H, W) in [0, 1]."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]
"""(H, W), float32 in [0, 1]."""

CONNECTS = 0.02
"""Alpha from which on a pixel belongs to what is beside it, so that the tips of hair stay."""


def keep_inside(alpha: Plane, mask: NDArray[np.uint8]) -> Plane:
    """Let alpha be nowhere above a mask.

    Args:
        alpha: Alpha.
        mask: uint8 of the same size; 255 leaves alpha alone, 0 makes it 0.
    """
    return np.asarray(np.minimum(alpha, mask * np.float32(1 / 255)))


def despeckle(alpha: Plane, share: float, seed: float) -> Plane:
    """Remove islands.

    An island is what hangs together by alpha of at least `CONNECTS`. It goes, with its soft edge,
    if its pixels of at least `seed` are together less than `share` of the picture; so faint smudges
    without any go too, and a strand of hair stays that hangs on to the head by a faint piece.

    Args:
        alpha: Alpha.
        share: Share of the picture, in [0, 1].
        seed: Alpha that counts as there, in (0, 1].
    """
    labels, solid = _regions(alpha, seed, round(share * alpha.size))
    return _where(labels, solid < share * alpha.size, 0.0, alpha)


def fill(alpha: Plane, share: float, seed: float) -> Plane:
    """Close holes.

    As `despeckle`, of what is missing to full alpha; but a hole has at least one pixel where
    alpha is at most `1 - seed`: what is merely translucent, such as glass, is none.

    Args:
        alpha: Alpha.
        share: Share of the picture below which a hole is closed, in [0, 1].
        seed: Lack of alpha that counts as a hole, in (0, 1].
    """
    labels, empty = _regions(1 - alpha, seed, 0)
    return _where(labels, (empty > 0) & (empty < share * alpha.size), 1.0, alpha)


def _regions(values: Plane, seed: float, least: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Label what hangs together, and count in each region the pixels of at least `seed`.

    Args:
        values: What hangs together where it is at least `CONNECTS`.
        seed: What is counted.
        least: Smaller regions are not worth counting in; their size stands for the count.

    Returns:
        Labels, (H, W), 0 for what belongs to no region; and the counts.
    """
    there = (values >= CONNECTS).view(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(there, connectivity=8)
    seeds = stats[:, cv2.CC_STAT_AREA].copy()
    for label in range(1, count):
        left, top, width, height, area = stats[label]
        if area >= least:
            box = slice(top, top + height), slice(left, left + width)
            seeds[label] = np.count_nonzero((labels[box] == label) & (values[box] >= seed))
    return np.asarray(labels), seeds


def _where(labels: NDArray[Any], gone: NDArray[Any], value: float, alpha: Plane) -> Plane:
    """Alpha with `value` in the regions that are gone; what belongs to no region stays."""
    gone[0] = False
    if not gone.any():
        return alpha
    return np.where(gone[labels], np.float32(value), alpha)


def levels(alpha: Plane, black: float, white: float, gamma: float) -> Plane:
    """Stretch alpha so that `black` becomes 0 and `white` 1; gamma above 1 makes the rest denser.

    Args:
        alpha: Alpha.
        black: Below `white`.
        white: At most 1.
        gamma: The result is raised to the power of 1 / gamma.
    """
    stretched = ((alpha - np.float32(black)) / np.float32(white - black)).clip(0, 1)
    return np.asarray(stretched if gamma == 1 else cv2.pow(stretched, 1 / gamma))


def choke(alpha: Plane, pixels: float) -> Plane:
    """Move the edge inwards, or outwards if `pixels` is negative; by parts of a pixel too."""
    whole = math.floor(abs(pixels))
    rest = np.float32(abs(pixels) - whole)
    move = cv2.erode if pixels > 0 else cv2.dilate
    moved = move(alpha, _disc(whole)) if whole else alpha
    if not rest:
        return np.asarray(moved)
    further = np.asarray(move(alpha, _disc(whole + 1)))
    return np.asarray(cv2.addWeighted(moved, 1 - float(rest), further, float(rest), 0))


def _disc(radius: int) -> NDArray[np.uint8]:
    size = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))


def feather(alpha: Plane, pixels: float) -> Plane:
    """Soften alpha by a Gaussian whose standard deviation is `pixels`."""
    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), pixels, borderType=cv2.BORDER_REPLICATE))
