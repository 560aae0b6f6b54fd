"""The steps that change colours: what the subject's own are under a soft edge, beside the plate's.

Everything is computed in sRGB as the pixels are stored, because alpha is: the network learnt it
from pictures mixed so, and `Matte.composite` mixes so. Photograph and plate are (H, W, 3), uint8
or float32 in [0, 1]; the other arrays are float32 in [0, 1].
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bgm.data.pixels import Pixels, as_type, white

Plane = NDArray[Any]
Colours = NDArray[Any]
"""(H, W, 3), float32 RGB in [0, 1]."""

OUTSIDE = 1 / 510
"""Alpha below which a pixel is stored as fully transparent."""

_ENOUGH = 0.25  # alpha from which on what is beside the subject takes its colour from here alone
_GREY = 0.05  # chroma below which a plate counts as the less coloured, the less there is
_LARGE, _SMALL = 1 / 12, 1 / 180  # of the shorter side: radii of the two passes
_STEP = 4  # the large pass, and what is far outside, are computed at this part of the size


_FLOAT = np.dtype(np.float32)


def _taken(pixels: Pixels, where: NDArray[Any]) -> NDArray[Any]:
    """The pixels of some flat indices, (N, 3), as floats in [0, 1]."""
    taken: NDArray[Any] = pixels.reshape(-1, 3)[where].astype(np.float32)
    taken *= np.float32(1 / white(pixels.dtype))
    return taken


def unmix(prior: Colours, alpha: Plane, photo: Pixels, plate: Pixels, pull: float) -> Colours:
    """Take the plate out of the photograph where they are mixed.

    The photograph I is aF + (1-a)B with a known plate B, so F follows. Where a is small that
    would amplify noise, so F minimises (aF + (1-a)B - I)^2 + pull (F - prior)^2 instead; and
    where a is 1, F is I.

    Args:
        prior: What F is thought to be; it is changed in place.
        alpha: a.
        photo: I.
        plate: B, aligned.
        pull: How much the prior counts, above 0.
    """
    solid = (alpha > 1 - OUTSIDE).view(np.uint8)
    full = cv2.addWeighted(photo, 1 / white(photo.dtype), photo, 0, 0, dtype=cv2.CV_32F)
    found = np.ascontiguousarray(cv2.copyTo(full, solid, prior))
    soft = np.flatnonzero(cv2.inRange(alpha, OUTSIDE, 1 - OUTSIDE))
    a = alpha.reshape(-1)[soft][:, None]
    own = _taken(photo, soft) - (1 - a) * _taken(plate, soft)
    solved = (a * own + np.float32(pull) * _taken(prior, soft)) / (a * a + np.float32(pull))
    found.reshape(-1, 3)[soft] = solved.clip(0, 1)
    return found


def blur_fusion(photo: Pixels, plate: Pixels, alpha: Plane) -> Colours:
    """Estimate the subject's colours from those around, by two passes of box blurs.

    After Forte, "Approximate Fast Foreground Colour Estimation" (ICIP 2021), with the plate, which
    is known here, in the place of the estimated background.

    Args:
        photo: The photograph.
        plate: Its plate, aligned.
        alpha: Alpha.
    """
    photo, plate = as_type(photo, _FLOAT), as_type(plate, _FLOAT)
    size = (photo.shape[1], photo.shape[0])
    side = min(size)
    small = (max(1, size[0] // _STEP), max(1, size[1] // _STEP))
    lit = np.dstack([photo * alpha[:, :, None], alpha])
    far = _mean(cv2.resize(lit, small, interpolation=cv2.INTER_AREA), side * _LARGE / _STEP)
    colours = cv2.resize(far, size, interpolation=cv2.INTER_LINEAR)
    colours = _corrected(colours, photo, plate, alpha)
    near = np.dstack([colours * alpha[:, :, None], alpha])
    return _corrected(_mean(near, side * _SMALL, colours), photo, plate, alpha)


def _mean(lit: NDArray[Any], radius: float, otherwise: Colours | None = None) -> NDArray[Any]:
    """Mean colour around each pixel, weighted by alpha; `otherwise` where there is no alpha."""
    width = 2 * max(1, round(radius)) + 1
    mean = np.asarray(cv2.blur(lit, (width, width)))
    weight = mean[:, :, 3:]
    colours = mean[:, :, :3] / np.maximum(weight, np.float32(1e-5))
    return colours if otherwise is None else np.where(weight > 1e-5, colours, otherwise)


def _corrected(colours: Colours, photo: Colours, plate: Colours, alpha: Plane) -> Colours:
    a = alpha[:, :, None]
    corrected: Colours = (colours + a * (photo - a * colours - (1 - a) * plate)).clip(0, 1)
    return corrected


def multi_level(photo: Pixels, alpha: Plane) -> Colours:
    """Estimate the subject's colours from photograph and alpha alone, by pymatting.

    Germer et al., "Fast Multi-Level Foreground Estimation" (ICPR 2020). Its first call in a
    process takes a minute where numba has not compiled it before.
    """
    from pymatting import estimate_foreground_ml

    found = estimate_foreground_ml(
        as_type(photo, _FLOAT).astype(np.float64), alpha.astype(np.float64)
    )
    return np.asarray(found, np.float32).clip(0, 1)


def despill(colours: Colours, alpha: Plane, plate: Pixels, strength: float) -> Colours:
    """Take out of the colours at the edge what light of the plate's own colour they caught.

    Of each pixel's chroma only the part goes that points the way the plate's does there, so that
    brightness stays; grey plates spill nothing.

    Args:
        colours: The subject's; they are changed in place.
        alpha: Alpha; only where the subject is soft, and a little inside of that, is there spill.
        plate: The plate, aligned.
        strength: In [0, 1].
    """
    radius = max(1.0, min(alpha.shape) / 400)
    soft = cv2.erode(alpha, np.ones((3, 3), np.uint8), iterations=max(1, round(radius)))
    edge = np.flatnonzero((alpha >= OUTSIDE) & (soft < 1))
    hue = _taken(plate, edge)
    hue -= hue.mean(axis=1, keepdims=True)
    length = np.linalg.norm(hue, axis=1, keepdims=True)
    hue /= np.maximum(length, np.float32(_GREY))
    here = _taken(colours, edge)
    caught = (here * hue).sum(axis=1, keepdims=True).clip(0, None)  # the mean of `hue` is 0
    weight = np.float32(strength) * (1 - np.asarray(soft).reshape(-1)[edge])[:, None]
    colours.reshape(-1, 3)[edge] = (here - weight * caught * hue).clip(0, 1)
    return colours


def extend(colours: Colours, alpha: Plane) -> Colours:
    """Continue the colours of the edge where there is no subject, so that scaling bleeds nothing.

    Args:
        colours: The subject's; they are changed in place.
        alpha: Alpha.
    """
    height, width = alpha.shape
    small = (max(1, width // _STEP), max(1, height // _STEP))
    sampled = alpha[::2, ::2, None]  # every other pixel tells enough
    lit = np.dstack([colours[::2, ::2] * sampled, sampled])
    spread = _spread(np.asarray(cv2.resize(lit, small, interpolation=cv2.INTER_AREA)))
    far = np.ascontiguousarray(spread[:, :, :3])
    enlarged = cv2.resize(far, (width, height), interpolation=cv2.INTER_LINEAR)
    outside = (alpha < OUTSIDE).view(np.uint8)
    return np.asarray(cv2.copyTo(enlarged, outside, colours))


def _spread(lit: NDArray[Any]) -> NDArray[Any]:
    """Give premultiplied colours to where there are none, coarse to fine; (H, W, 4), opaque."""
    height, width = lit.shape[:2]
    weight = lit[:, :, 3:]
    if min(height, width) <= 1:
        total = lit.sum(axis=(0, 1))
        return np.broadcast_to(total / max(float(total[3]), 1e-5), lit.shape).astype(np.float32)
    half = (max(1, width // 2), max(1, height // 2))
    behind = _spread(np.asarray(cv2.resize(lit, half, interpolation=cv2.INTER_AREA)))
    enlarged = cv2.resize(behind, (width, height), interpolation=cv2.INTER_LINEAR)
    gain = 1 / np.maximum(weight, np.float32(_ENOUGH))
    return np.asarray(gain * lit + (1 - gain * weight) * enlarged)
