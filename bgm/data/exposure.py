"""Brings a plate to the exposure and white balance of its photograph, by a gain per channel.

The gains are those of linear light, where exposure and white balance are factors. They are read
from the pixels that most agree on: the subject, whose pixels differ from the plate's in every way,
agrees with nobody for long. What does not bring the plate closer is not used.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from bgm.data.colour import decode, encode
from bgm.data.pixels import Pixels
from bgm.data.shrink import shrink
from bgm.records.record import Exposure

EXPOSURE_SIDE = 320
"""Pixels of the longer side, at most, of what the gains are read from."""

_USABLE = (12, 243)  # levels of 255: darker ones are noise, brighter ones may be cut off
_MOST = 0.8  # of the logarithm: exposures further apart are not corrected
_BIN = 0.02
_NEAR = 0.1
_FRAME = 0.12  # of the picture, at its border, where the plate shows most likely
_LEAST_SHARE = 0.03  # of the picture that must agree on the gains
_STILL = 0.004  # gains nearer to 1 change nothing that is seen
_CAP = 32  # levels: the subject, which only one shows, cannot dominate
_BETTER = 0.99
_DEEP = 65535


def match_exposure(src: Pixels, bgr: Pixels) -> tuple[Pixels, Exposure]:
    """Multiply a plate by a gain per channel, if that brings it closer to its source.

    Args:
        src: The source, (H, W, 3), uint8 or float32 in [0, 1].
        bgr: Its plate, of the same size, aligned.

    Returns:
        The plate, or `bgr` itself where it was kept; and what happened.
    """
    exposure = find_exposure(shrink(src, EXPOSURE_SIDE), shrink(bgr, EXPOSURE_SIDE))
    if exposure.applied and exposure.gain is not None:
        return apply_gain(bgr, exposure.gain), exposure
    return bgr, exposure


def find_exposure(src: NDArray[np.uint8], bgr: NDArray[np.uint8]) -> Exposure:
    """The gains of a plate, from small versions of both, and whether they should be used."""
    found = _gains(src, bgr)
    if found is None:
        return Exposure(False, "kept: too little of the photograph agrees on an exposure")
    gain = (round(float(found[0]), 4), round(float(found[1]), 4), round(float(found[2]), 4))
    if max(abs(np.log(gain))) < _STILL:
        return Exposure(False, "kept: already the same", gain)
    if distance(src, apply_gain(bgr, gain)) > _BETTER * distance(src, bgr):
        return Exposure(False, "kept: no closer to the source", gain)
    return Exposure(True, "matched", gain)


def apply_gain(pixels: Pixels, gain: tuple[float, float, float]) -> Pixels:
    """Multiply linear light by a factor per channel; what becomes too bright is cut off."""
    levels = 255 if pixels.dtype == np.uint8 else _DEEP
    if gain == (1.0, 1.0, 1.0):
        return pixels
    tables = _tables(gain, levels)
    if pixels.dtype == np.uint8:
        table = (tables * 255).round().astype(np.uint8).reshape(1, 256, 3)
        return np.asarray(cv2.LUT(pixels, table))
    matched = np.empty_like(pixels)
    for channel in range(3):
        index = (pixels[:, :, channel] * levels).round().astype(np.uint16)
        matched[:, :, channel] = tables[:, channel][index]
    return matched


@lru_cache(maxsize=8)
def _tables(gain: tuple[float, float, float], levels: int) -> NDArray[np.float32]:
    """What becomes of each level, (levels + 1, 3), in [0, 1]."""
    light = decode(np.linspace(0, 1, levels + 1))
    return np.stack([encode(light * factor) for factor in gain], axis=1)


def distance(src: NDArray[np.uint8], bgr: NDArray[np.uint8]) -> float:
    """How much two pictures differ, in levels; no pixel counts for more than 32."""
    return float(np.minimum(cv2.absdiff(src, bgr), _CAP).mean())


def _gains(src: NDArray[np.uint8], bgr: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """The factors per channel that most of the picture agrees on; None if too little does."""
    least, most = _USABLE
    usable = ((src >= least) & (src <= most) & (bgr >= least) & (bgr <= most)).all(axis=2)
    light = np.log(np.maximum(decode(np.linspace(0, 1, 256)), 1e-6))
    ratios = (light[src] - light[bgr])[usable]
    weights = _weights(src.shape[0], src.shape[1])[usable]
    inside = (np.abs(ratios) < _MOST).all(axis=1)
    ratios, weights = ratios[inside], weights[inside]
    if len(ratios) < _LEAST_SHARE * usable.size:
        return None
    peak = np.zeros(3)
    near = np.ones(len(ratios), bool)
    for channel in (1, 0, 2):  # green first, which has the least noise
        peak[channel] = _peak(ratios[near, channel], weights[near])
        near &= np.abs(ratios[:, channel] - peak[channel]) < _NEAR
        if near.sum() < _LEAST_SHARE * usable.size:
            return None
    for _ in range(5):
        peak = np.median(ratios[near], axis=0)
        spread = 1.4826 * np.median(np.abs(ratios[near] - peak), axis=0)
        near = (np.abs(ratios - peak) < np.clip(3 * spread, 0.02, _NEAR)).all(axis=1)
        if near.sum() < _LEAST_SHARE * usable.size:
            return None
    return np.asarray(np.exp(peak))


def _peak(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Where most values lie."""
    edges = np.arange(-_MOST, _MOST + _BIN, _BIN)
    counts, _ = np.histogram(values, edges, weights=weights)
    smooth = np.convolve(counts, [1, 2, 3, 2, 1], "same")
    return float(edges[int(smooth.argmax())] + _BIN / 2)


def _weights(height: int, width: int) -> NDArray[np.float64]:
    """More for the border of a picture, where the subject is seldom."""
    weights = np.full((height, width), 3.0)
    top, left = round(_FRAME * height), round(_FRAME * width)
    weights[top : height - top, left : width - left] = 1.0
    return weights
