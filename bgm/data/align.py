"""Aligns a background plate to its source where the camera moved between the two shots.

ORB features, matched both ways, and a RANSAC homography, as the paper does for handheld captures
(section 5). ORB places its points to about a pixel and gathers them where the contrast is; corners
spread over the picture and tracked from there bring the plate within a fraction of one. Whatever
cannot be trusted is not used: the plate then stays as it is.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bgm.data.pixels import Pixels, as_type, clip_to_range, to_uint8
from bgm.records.record import ALREADY_ALIGNED, Alignment

_FEATURES = 5000
_MAX_SIDE = 2000  # features are looked for at no more than this many pixels a side
_LEAST_SIDE = 32  # ORB's patches are 31 pixels wide
_MIN_INLIERS = 20
_MIN_INLIER_SHARE = 0.15
_RANSAC_PX = 2.0
_TRACKED_CORNERS = 2000
_TRACKED_RANSAC_PX = 1.0
_CORNER_QUALITY = 0.002
_RETURN_PX = 0.5  # how near to its start a corner must be after tracking there and back
_STILL_PX = 0.5  # below this, resampling costs more sharpness than the alignment gains
_MAX_SHIFT = 0.2  # of the diagonal
_AREA_RANGE = (0.6, 1.6)


def align_background(src: Pixels, bgr: Pixels) -> tuple[Pixels, Alignment]:
    """Warp `bgr` onto `src` by a homography, if one can be trusted.

    Args:
        src: The source, (H, W, 3), uint8 or float32 in [0, 1].
        bgr: Its background, of the same size.

    Returns:
        The aligned background, filled from the source where the warped one does not reach; or
        `bgr` itself, where alignment failed, was not needed or would have made things worse. And
        what happened.
    """
    grey_src, grey_bgr = _grey(src), _grey(bgr)
    from_points, to_points = _match(grey_bgr, grey_src)
    matches = len(from_points)
    if matches < _MIN_INLIERS:
        return bgr, Alignment(False, "kept: too few feature matches", matches)
    homography, mask = cv2.findHomography(
        from_points, to_points, cv2.RANSAC, _RANSAC_PX, maxIters=5000, confidence=0.999
    )
    inliers = 0 if homography is None or mask is None else int(mask.sum())
    if inliers < max(_MIN_INLIERS, _MIN_INLIER_SHARE * matches):
        return bgr, Alignment(False, "kept: too few matches agree", matches, inliers)

    height, width = src.shape[:2]
    homography = _refine(homography, grey_src, grey_bgr)
    shift = _mean_shift(homography, width, height)
    if not _is_plausible(homography, width, height):
        return bgr, Alignment(False, "kept: implausible homography", matches, inliers)
    if shift < _STILL_PX:
        return bgr, Alignment(False, ALREADY_ALIGNED, matches, inliers, shift)

    warped, reached = _warp(bgr, homography)
    if _distance(grey_src, _grey(warped), reached) >= _distance(grey_src, grey_bgr, reached):
        return bgr, Alignment(False, "kept: no closer to the source", matches, inliers, shift)
    warped[~reached] = as_type(src[~reached], warped.dtype)
    return warped, Alignment(True, "aligned", matches, inliers, shift)


def _grey(pixels: Pixels) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(to_uint8(pixels), cv2.COLOR_RGB2GRAY)
    return np.asarray(grey, np.uint8)


def _match(
    from_grey: NDArray[np.uint8], to_grey: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points of two images that look the same, each the best match of the other."""
    nothing = np.empty((0, 2), np.float32)
    if min(to_grey.shape) < _LEAST_SIDE:
        return nothing, nothing
    scale = min(1.0, _MAX_SIDE / max(to_grey.shape))
    found = []
    for grey in (from_grey, to_grey):
        small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found.append(cv2.ORB.create(nfeatures=_FEATURES).detectAndCompute(small, None))
    (from_keys, from_features), (to_keys, to_features) = found
    if not from_keys or not to_keys:
        return nothing, nothing
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(from_features, to_features)
    from_points = np.array([from_keys[m.queryIdx].pt for m in matches], np.float32)
    to_points = np.array([to_keys[m.trainIdx].pt for m in matches], np.float32)
    return _unscale(from_points, scale), _unscale(to_points, scale)


def _refine(
    homography: NDArray[Any], grey_src: NDArray[np.uint8], grey_bgr: NDArray[np.uint8]
) -> NDArray[Any]:
    """Correct what the homography leaves, by tracking corners of the warped plate in the source."""
    warped, reached = _warp(grey_bgr, homography)
    spacing = float(np.hypot(*grey_src.shape)) / 100
    corners: NDArray[Any] | None = cv2.goodFeaturesToTrack(
        warped, _TRACKED_CORNERS, _CORNER_QUALITY, spacing, mask=reached.astype(np.uint8)
    )
    if corners is None:  # OpenCV's way of saying that there are none
        return homography
    tracked, found = _track(warped, grey_src, corners)
    back, found_back = _track(grey_src, warped, tracked)
    good = found & found_back & (np.linalg.norm(back - corners, axis=2) < _RETURN_PX).ravel()
    if good.sum() < _MIN_INLIERS:
        return homography
    correction, mask = cv2.findHomography(
        corners[good], tracked[good], cv2.RANSAC, _TRACKED_RANSAC_PX, maxIters=5000
    )
    if correction is None or mask is None or mask.sum() < _MIN_INLIERS:
        return homography
    return np.asarray(correction @ homography)


def _track(
    from_grey: NDArray[np.uint8], to_grey: NDArray[np.uint8], points: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Follow points (N, 1, 2) from one image to another; say which were found there."""
    moved = np.empty_like(points)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(from_grey, to_grey, points, moved)
    return moved, found.ravel() == 1


def _unscale(points: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Undo a resize that keeps pixel areas, not pixel centres, in place."""
    return ((points.reshape(-1, 2) + 0.5) / scale - 0.5).astype(np.float32)


def _move(homography: NDArray[Any], points: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(cv2.perspectiveTransform(points.reshape(1, -1, 2), homography)[0])


def _mean_shift(homography: NDArray[Any], width: int, height: int) -> float:
    grid = np.stack(
        np.meshgrid(np.linspace(0, width - 1, 16), np.linspace(0, height - 1, 16)), axis=-1
    ).reshape(-1, 2)
    distances = np.linalg.norm(_move(homography, grid) - grid, axis=1)
    return round(float(distances.mean()), 3)


def _is_plausible(homography: NDArray[Any], width: int, height: int) -> bool:
    """Whether a hand could have moved a camera like that between two shots."""
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    moved = _move(homography, corners)
    if not np.isfinite(moved).all() or not cv2.isContourConvex(moved.astype(np.float32)):
        return False
    area = cv2.contourArea(moved.astype(np.float32), oriented=True) / (width * height)
    farthest = np.linalg.norm(moved - corners, axis=1).max()
    return bool(
        _AREA_RANGE[0] < area < _AREA_RANGE[1] and farthest < _MAX_SHIFT * np.hypot(width, height)
    )


def _warp(bgr: Pixels, homography: NDArray[Any]) -> tuple[Pixels, NDArray[np.bool_]]:
    """Warp the background; say which pixels it reaches with all that interpolation looks at."""
    height, width = bgr.shape[:2]
    warped = cv2.warpPerspective(
        bgr, homography, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    everywhere = np.full((height, width), 255, np.uint8)
    reached = cv2.warpPerspective(everywhere, homography, (width, height), flags=cv2.INTER_LINEAR)
    return clip_to_range(warped), reached == 255


def _distance(first: NDArray[np.uint8], second: NDArray[np.uint8], where: NDArray[Any]) -> float:
    """How much two images differ; the subject, which only one shows, cannot dominate."""
    difference = cv2.absdiff(first, second)[where]
    return float(np.minimum(difference, 32).mean()) if difference.size else float("inf")
