"""How far a matte is from the truth: the measures of the matting literature.

Definitions, and values to agree with, are those of BackgroundMattingV2's evaluation code, which
follows Rhemann et al., "A perceptually motivated online benchmark for image matting" (CVPR 2009).
Alpha is compared as 8-bit whole numbers, so that 153/255 counts as 0.6 whatever the precision.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]

UNKNOWN = 128
"""Value of the unknown region in a trimap."""

METRICS = ("mse", "sad", "grad", "conn", "mad")
"""The errors of alpha, all the better the smaller."""

_SIGMA = 1.4
_KERNEL_RADIUS = 4
_STEPS = 10
_THETA = 0.15


def alpha_errors(pred: Grey, true: Grey, trimap: Grey | None = None) -> dict[str, float | None]:
    """Compare an alpha matte with the truth.

    Args:
        pred: Predicted alpha, uint8, (H, W).
        true: True alpha, uint8, (H, W).
        trimap: uint8, (H, W), 128 where to compare; None compares everywhere.

    Returns:
        `mse` and `mad`: mean squared and mean absolute difference of alpha in [0, 1]; None if
        there is nothing to compare. `sad`: sum of absolute differences, divided by 1000. `grad`
        and `conn`: gradient and connectivity error, plain sums. Where no pixel reaches some level
        in both images, the connectivity error of the original is undefined; here the level then
        counts as having no connected region.

    Raises:
        ValueError: The arrays are not uint8 of one shape.
    """
    selected = _select(trimap, pred, true)
    difference = cv2.absdiff(pred, true)[selected].astype(np.float64) / 255
    count = difference.size
    return {
        "mse": float(np.square(difference).mean()) if count else None,
        "sad": float(difference.sum()) / 1000,
        "grad": _gradient_error(pred, true, selected),
        "conn": _connectivity_error(pred, true, selected),
        "mad": float(difference.mean()) if count else None,
    }


def foreground_mse(
    pred: NDArray[np.uint8],
    true: NDArray[np.uint8],
    alpha: Grey,
    trimap: Grey | None = None,
) -> float | None:
    """Compare foreground colours where there is foreground.

    Args:
        pred: Predicted foreground, uint8, (H, W, 3).
        true: True foreground, uint8, (H, W, 3).
        alpha: True alpha, uint8, (H, W); where it is 0 both colours count as black.
        trimap: uint8, (H, W), 128 where to compare; None compares everywhere.

    Returns:
        Mean squared difference of colours in [0, 1] over the compared pixels, those without
        foreground included; None if there is nothing to compare.

    Raises:
        ValueError: The arrays are not uint8 of one size.
    """
    if pred.shape != true.shape or pred.shape[:2] != alpha.shape:
        raise ValueError(f"sizes differ: {pred.shape}, {true.shape}, alpha {alpha.shape}")
    selected = _select(trimap, alpha, alpha)
    count = int(selected.sum())
    if not count:
        return None
    difference = cv2.absdiff(pred, true)[selected & (alpha > 0)].astype(np.float64) / 255
    return float(np.square(difference).sum()) / count / 3


def recomposite_mse(
    pred: NDArray[np.uint8],
    true: NDArray[np.uint8],
    pred_alpha: Grey,
    true_alpha: Grey,
    trimap: Grey | None = None,
) -> float | None:
    """Compare what a matte is for: the subject on a new background.

    Args:
        pred: Predicted foreground, uint8, (H, W, 3).
        true: True foreground, uint8, (H, W, 3).
        pred_alpha: Predicted alpha, uint8, (H, W).
        true_alpha: True alpha, uint8, (H, W).
        trimap: uint8, (H, W), 128 where to compare; None compares everywhere.

    Returns:
        Mean squared difference of colours in [0, 1] between the composites with the prediction
        and with the truth, on black and on white, where dark and light fringes show most; None if
        there is nothing to compare.

    Raises:
        ValueError: The arrays are not uint8 of one size.
    """
    if pred.shape != true.shape or pred.shape[:2] != true_alpha.shape:
        raise ValueError(f"sizes differ: {pred.shape}, {true.shape}, alpha {true_alpha.shape}")
    selected = _select(trimap, pred_alpha, true_alpha)
    if not selected.any():
        return None
    mine, truth = (alpha[selected][:, None] / np.float32(255) for alpha in (pred_alpha, true_alpha))
    on_black = (mine * pred[selected] - truth * true[selected]) / np.float32(255)
    on_white = on_black + truth - mine
    return float(np.mean([np.square(on_black).mean(), np.square(on_white).mean()]))


def unknown_band(alpha: Grey, width: int) -> Grey:
    """Derive a trimap from a true alpha.

    Args:
        alpha: True alpha, uint8, (H, W).
        width: How far, in pixels, the unknown region reaches beyond what is partly transparent.

    Returns:
        Trimap, uint8, (H, W): 0 background, 128 unknown, 255 foreground.
    """
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    near_foreground = cv2.dilate(alpha, disc) > 0
    near_background = cv2.erode(alpha, disc) < 255
    trimap = np.where(near_background, 0, 255).astype(np.uint8)
    trimap[near_foreground & near_background] = UNKNOWN
    return trimap


def _select(trimap: Grey | None, pred: Grey, true: Grey) -> Mask:
    if pred.shape != true.shape or pred.ndim != 2:
        raise ValueError(f"alphas must be (H, W) of one size, not {pred.shape} and {true.shape}")
    if pred.dtype != np.uint8 or true.dtype != np.uint8:
        raise ValueError(f"alphas must be uint8, not {pred.dtype} and {true.dtype}")
    if trimap is None:
        return np.ones(true.shape, np.bool_)
    if trimap.shape != true.shape:
        raise ValueError(f"the trimap is {trimap.shape}, the alphas are {true.shape}")
    return np.asarray(trimap == UNKNOWN)


def _gradient_error(pred: Grey, true: Grey, selected: Mask) -> float:
    difference = cv2.absdiff(_gradient(pred), _gradient(true))[selected].astype(np.float64)
    return float(np.square(difference).sum())


def _gradient(alpha: Grey) -> NDArray[Any]:
    """Gradient magnitude of an alpha stretched to [0, 1], by derivatives of a Gaussian."""
    low, high = int(alpha.min()), int(alpha.max())
    if low == high:
        return np.zeros(alpha.shape, np.float32)
    stretched = (alpha.astype(np.float32) - low) / np.float32(high - low)
    x = np.arange(-_KERNEL_RADIUS, _KERNEL_RADIUS + 1)
    smooth = np.exp(-(x**2) / (2 * _SIGMA**2))
    slope = x * smooth
    smooth, slope = (kernel / np.linalg.norm(kernel) for kernel in (smooth, slope))
    across, down = (
        cv2.sepFilter2D(stretched, cv2.CV_32F, along_x, along_y, borderType=cv2.BORDER_REPLICATE)
        for along_x, along_y in ((slope, smooth), (smooth, slope))
    )
    return np.asarray(cv2.magnitude(across, down))


def _connectivity_error(pred: Grey, true: Grey, selected: Mask) -> float:
    """Sum of differences in how far each pixel is from being connected to the main region.

    A pixel's level is the last threshold at which it belongs to the largest region that is
    connected (4 neighbours) in both images; what rises above that level by theta or more is
    detached.
    """
    both = cv2.min(pred, true)
    # Level of a pixel, in tenths: the threshold before the first at which it is left out.
    level = np.full(true.shape, _STEPS, np.uint8)
    undecided = np.ones(true.shape, np.bool_)
    for step in range(1, _STEPS + 1):
        left_out = undecided & ~_largest_region(both >= (51 * step + 1) // 2)
        level[left_out] = step - 1
        undecided &= ~left_out
    tenths, values = np.mgrid[0 : _STEPS + 1, 0:256]
    detached = values / 255 - tenths / _STEPS
    detached = np.where(detached >= _THETA, detached, 0).ravel()
    differs = selected & (pred != true)
    row = level[differs].astype(np.intp) * 256
    return float(np.abs(detached[row + pred[differs]] - detached[row + true[differs]]).sum())


def _largest_region(mask: Mask) -> Mask:
    """The largest 4-connected region; of equal ones the leftmost, then the topmost."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S
    )
    if count == 1:
        return np.zeros(mask.shape, np.bool_)
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = np.flatnonzero(areas == areas.max()) + 1
    left = stats[largest, cv2.CC_STAT_LEFT]
    column = labels[:, left.min()]
    first = min(largest[left == left.min()], key=lambda label: int(np.argmax(column == label)))
    return np.asarray(labels == first)
