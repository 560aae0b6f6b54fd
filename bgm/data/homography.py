"""Finds how the camera moved between a photograph and its plate, if that can be told.

Corners of the plate, spread over the picture, are looked for in the photograph: by tracking, from
where they are or, where the camera moved farther, from where ORB features and RANSAC put them, as
the paper does for handheld captures (section 5). That happens in small versions of the pictures.
What it leaves is corrected in the pictures themselves, of which a small square around each corner
is enough.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bgm.data.exposure import apply_gain, find_exposure
from bgm.data.pixels import Pixels, to_uint8
from bgm.data.shrink import reduce_by, reduction
from bgm.records.record import ALREADY_ALIGNED, Alignment

Grey = NDArray[np.uint8]
Homography = NDArray[np.float64]
Gain = tuple[float, float, float]

METHOD = 2
"""Of the search: a number that changes when other homographies come out of it."""

_FEW = 100  # pixels of the longer side, about, that the exposure is read from
_SMALL = 960  # pixels of the longer side, at most, of the version that is looked at first
_FEATURES = 1500
_LARGE = 2000  # where features are looked for if the small version has too few
_MANY_FEATURES = 5000
_LEAST_SIDE = 32  # ORB's patches are 31 pixels wide
_MIN_INLIERS = 20
_MIN_INLIER_SHARE = 0.15
_RANSAC_PX = 2.0
_CORNERS = 400
_CORNER_QUALITY = 0.002
_CORNERS_APART = 0.01  # of the diagonal
_SURE_INLIERS = 60  # corners, and their share, that must agree if nothing else does
_SURE_SHARE = 0.5
_RETURN_PX = 0.5  # how near to its start a corner must be after tracking there and back
_TRACKED_RANSAC_PX = 1.0
_SQUARES = 200  # corners that are tracked in the pictures themselves
_SQUARE = 48  # pixels a side: the tracking's window, and room to move
_STILL_PX = 0.5  # below this, resampling costs more sharpness than the alignment gains
_MAX_SHIFT = 0.2  # of the diagonal
_AREA_RANGE = (0.6, 1.6)


@dataclass(frozen=True)
class _Found:
    """A homography, or why there is none, and what it rests on."""

    homography: Homography | None
    reason: str = ""
    matches: int = 0
    inliers: int = 0
    corners: NDArray[Any] = field(default_factory=lambda: np.empty((0, 2)))  # in the source


@dataclass(frozen=True)
class _Small:
    """Both pictures in grey, each pixel the mean of `factor` by `factor`."""

    src: Grey
    bgr: Grey
    factor: int


def find_alignment(src: Pixels, bgr: Pixels) -> Alignment:
    """Find the homography that brings a plate onto its source, if one can be trusted.

    Args:
        src: The source, (H, W, 3), uint8 or float32 in [0, 1].
        bgr: Its plate, of the same size.

    Returns:
        What was found; with a homography if the plate should be warped by it.
    """
    height, width = src.shape[:2]
    gain = _gain(src, bgr)
    small = _shrink(src, bgr, _SMALL, gain)
    found = _from_where_it_is(small)
    if found is None:
        found = _from_features(small, _FEATURES)
    if found.homography is None and small.factor > 1:
        found = _from_features(_shrink(src, bgr, _LARGE, gain), _MANY_FEATURES)
    points = found.matches, found.inliers
    if found.homography is None:
        return Alignment(False, found.reason, *points)
    homography = _track_squares(found.homography, found.corners, (src, bgr), gain)
    if not _is_plausible(homography, width, height):
        return Alignment(False, "kept: implausible homography", *points)
    shift = mean_shift(homography, width, height)
    if shift < _STILL_PX:
        return Alignment(False, ALREADY_ALIGNED, *points, shift)
    if not _brings_closer(homography, small):
        return Alignment(False, "kept: no closer to the source", *points, shift)
    numbers = tuple((homography / homography[2, 2]).ravel().tolist())
    return Alignment(True, "aligned", *points, shift, numbers)


def _gain(src: Pixels, bgr: Pixels) -> Gain:
    """Of the plate, whose corners would not be known again in another light; from a few pixels."""
    step = max(1, max(src.shape[:2]) // _FEW)
    few = (to_uint8(pixels[::step, ::step]) for pixels in (src, bgr))
    exposure = find_exposure(*few)
    return exposure.gain if exposure.applied and exposure.gain is not None else (1.0, 1.0, 1.0)


def _shrink(src: Pixels, bgr: Pixels, side: int, gain: Gain) -> _Small:
    """Both pictures in grey, at most `side` pixels long; what is left of the last pixel is cut."""
    factor = reduction(src, side)
    small = [reduce_by(pixels, factor) for pixels in (src, bgr)]
    return _Small(_grey(small[0]), _grey(apply_gain(small[1], gain)), factor)


def _from_where_it_is(small: _Small) -> _Found | None:
    """What tracking finds if the camera hardly moved; None if too few corners agree on it."""
    corners = _corners(small.bgr, None)
    if corners is None:
        return None
    tracked, good = _track(small.bgr, small.src, corners)
    matches = int(good.sum())
    homography, inliers = _fit(corners[good], tracked[good], _TRACKED_RANSAC_PX)
    if homography is None or inliers < max(_SURE_INLIERS, _SURE_SHARE * matches):
        return None
    corners = _centres(tracked[good], small.factor)
    return _Found(_enlarge(homography, small.factor), "", matches, inliers, corners)


def _from_features(small: _Small, features: int) -> _Found:
    """What features find, corrected by tracking."""
    from_points, to_points = _match(small.bgr, small.src, features)
    matches = len(from_points)
    if matches < _MIN_INLIERS:
        return _Found(None, "kept: too few feature matches", matches)
    homography, inliers = _fit(from_points, to_points, _RANSAC_PX)
    if homography is None or inliers < max(_MIN_INLIERS, _MIN_INLIER_SHARE * matches):
        return _Found(None, "kept: too few matches agree", matches, inliers)
    warped, reached = _warp_grey(small.bgr, homography)
    corners = _corners(warped, reached)
    if corners is None:
        return _Found(_enlarge(homography, small.factor), "", matches, inliers)
    tracked, good = _track(warped, small.src, corners)
    homography = _enlarge(_correct(homography, corners[good], tracked[good]), small.factor)
    return _Found(homography, "", matches, inliers, _centres(tracked[good], small.factor))


def _grey(pixels: Pixels) -> Grey:
    return np.asarray(cv2.cvtColor(to_uint8(pixels), cv2.COLOR_RGB2GRAY), np.uint8)


def _match(
    from_grey: Grey, to_grey: Grey, features: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points of two images that look the same, each the best match of the other."""
    nothing = np.empty((0, 2), np.float32)
    if min(to_grey.shape) < _LEAST_SIDE:
        return nothing, nothing
    orb = cv2.ORB.create(nfeatures=features)
    from_keys, from_features = orb.detectAndCompute(from_grey, None)
    to_keys, to_features = orb.detectAndCompute(to_grey, None)
    if not from_keys or not to_keys:
        return nothing, nothing
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(from_features, to_features)
    from_points = np.array([from_keys[m.queryIdx].pt for m in matches], np.float32)
    to_points = np.array([to_keys[m.trainIdx].pt for m in matches], np.float32)
    return from_points.reshape(-1, 2), to_points.reshape(-1, 2)


def _track_squares(
    homography: Homography, corners: NDArray[Any], pair: tuple[Pixels, Pixels], gain: Gain
) -> Homography:
    """Correct what is left at full size, by tracking corners in small squares of the pictures."""
    src, bgr = pair
    size = np.array(src.shape[1::-1])
    starts = np.rint(corners[:_SQUARES]).astype(int) - _SQUARE // 2
    starts = starts[((starts >= 0) & (starts + _SQUARE <= size)).all(axis=1)]
    if len(starts) < _MIN_INLIERS:
        return homography
    # Side by side in one picture, the squares are tracked in one go.
    columns = int(np.ceil(np.sqrt(len(starts))))
    places = np.stack(np.divmod(np.arange(len(starts)), columns)[::-1], axis=1) * _SQUARE
    from_sheet, to_sheet = np.zeros((2, columns * _SQUARE, columns * _SQUARE), np.uint8)
    for (left, top), (x, y) in zip(starts.tolist(), places.tolist(), strict=True):
        square = src[top : top + _SQUARE, left : left + _SQUARE]
        to_sheet[y : y + _SQUARE, x : x + _SQUARE] = _grey(square)
        square = _warped_square(bgr, gain, homography, left, top)
        from_sheet[y : y + _SQUARE, x : x + _SQUARE] = square
    points = (places + _SQUARE / 2).astype(np.float32).reshape(-1, 1, 2)
    tracked, good = _track(from_sheet, to_sheet, points, levels=1)
    shifts = (starts - places).astype(np.float32).reshape(-1, 1, 2)
    return _correct(homography, (points + shifts)[good], (tracked + shifts)[good])


def _warped_square(bgr: Pixels, gain: Gain, homography: Homography, left: int, top: int) -> Grey:
    """What of the warped plate lies in one square of the source."""
    height, width = bgr.shape[:2]
    corners = np.array([[0, 0], [_SQUARE, 0], [0, _SQUARE], [_SQUARE, _SQUARE]], np.float64)
    origin = _move(np.linalg.inv(homography), corners + np.array([left, top]))
    x0, y0 = np.maximum(np.floor(origin.min(axis=0)).astype(int) - 3, 0)
    x1, y1 = np.minimum(np.ceil(origin.max(axis=0)).astype(int) + 4, (width, height))
    there = _translation(-left, -top) @ homography @ _translation(x0, y0)
    return np.asarray(
        cv2.warpPerspective(
            _grey(apply_gain(bgr[y0:y1, x0:x1], gain)),
            there,
            (_SQUARE, _SQUARE),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )


def _corners(grey: Grey, where: NDArray[np.uint8] | None) -> NDArray[Any] | None:
    """Corners (N, 1, 2) spread over an image; None if there are none."""
    spacing = float(np.hypot(*grey.shape)) * _CORNERS_APART
    corners: NDArray[Any] | None = cv2.goodFeaturesToTrack(
        grey, _CORNERS, _CORNER_QUALITY, spacing, mask=where
    )
    return corners


def _track(
    from_grey: Grey, to_grey: Grey, points: NDArray[Any], levels: int = 3
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Follow points (N, 1, 2) from one image to another; say which lead back to where they were."""
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        from_grey, to_grey, points, np.empty_like(points), maxLevel=levels
    )
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(
        to_grey, from_grey, there, np.empty_like(points), maxLevel=levels
    )
    returned = np.linalg.norm(back - points, axis=2) < _RETURN_PX
    return there, ((found == 1) & (found_back == 1) & returned).ravel()


def _fit(
    from_points: NDArray[Any], to_points: NDArray[Any], tolerance: float
) -> tuple[Homography | None, int]:
    """The homography that most points agree on within `tolerance` pixels, and how many do."""
    if len(from_points) < _MIN_INLIERS:
        return None, 0
    homography, mask = cv2.findHomography(
        from_points, to_points, cv2.RANSAC, tolerance, maxIters=5000, confidence=0.999
    )
    # OpenCV says so if there is none, its annotations do not.
    found: Any = homography
    return (None, 0) if found is None else (np.asarray(found), int(mask.sum()))


def _correct(
    homography: Homography, from_points: NDArray[Any], to_points: NDArray[Any]
) -> Homography:
    """A homography followed by the one between points, if enough of them agree on it."""
    correction, inliers = _fit(from_points, to_points, _TRACKED_RANSAC_PX)
    if correction is None or inliers < _MIN_INLIERS:
        return homography
    return np.asarray(correction @ homography)


def _translation(x: float, y: float) -> Homography:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def _scaling(scale: float) -> Homography:
    """A resize by `scale`, which keeps pixel areas, not pixel centres, in place."""
    half = (scale - 1) / 2
    return np.array([[scale, 0, half], [0, scale, half], [0, 0, 1]], np.float64)


def _enlarge(small: Homography, factor: int) -> Homography:
    """The homography of pictures of which `small` is that of versions shrunk by `factor`."""
    return _scaling(factor) @ small @ _scaling(1 / factor)


def _reduce(homography: Homography, factor: int) -> Homography:
    return _scaling(1 / factor) @ homography @ _scaling(factor)


def _centres(points: NDArray[Any], factor: int) -> NDArray[Any]:
    """Where points (N, 1, 2) of the small version are in the picture, (N, 2)."""
    return np.asarray((points.reshape(-1, 2) + 0.5) * factor - 0.5)


def _move(homography: NDArray[Any], points: NDArray[Any]) -> NDArray[np.float64]:
    points = np.asarray(points, np.float64).reshape(1, -1, 2)
    return np.asarray(cv2.perspectiveTransform(points, homography)[0])


def mean_shift(homography: Homography, width: int, height: int) -> float:
    """The mean distance in pixels by which a homography moves what is in a picture."""
    grid = np.stack(
        np.meshgrid(np.linspace(0, width - 1, 16), np.linspace(0, height - 1, 16)), axis=-1
    ).reshape(-1, 2)
    distances = np.linalg.norm(_move(homography, grid) - grid, axis=1)
    return round(float(distances.mean()), 3)


def _is_plausible(homography: Homography, width: int, height: int) -> bool:
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


def reach(homography: Homography, width: int, height: int) -> NDArray[np.uint8]:
    """Which pixels a warped plate reaches with all that interpolation looks at.

    Returns:
        (H, W), uint8: 255 where it does, otherwise 0.
    """
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    reached = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(reached, np.rint(_move(homography, corners)).astype(np.int32), 255)
    # The outline is drawn to the nearest pixel, so the outermost ones may lie outside.
    return np.asarray(cv2.erode(reached, np.ones((3, 3), np.uint8)), np.uint8)


def _warp_grey(grey: Grey, homography: Homography) -> tuple[Grey, NDArray[np.uint8]]:
    """Warp a plate; say what it reaches."""
    height, width = grey.shape
    warped = cv2.warpPerspective(
        grey, homography, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(warped, np.uint8), reach(homography, width, height)


def _brings_closer(homography: Homography, small: _Small) -> bool:
    """Whether a plate is closer to its source once it is warped."""
    warped, reached = _warp_grey(small.bgr, _reduce(homography, small.factor))
    return _distance(small.src, warped, reached) < _distance(small.src, small.bgr, reached)


def _distance(first: Grey, second: Grey, where: NDArray[np.uint8]) -> float:
    """How much two images differ; the subject, which only one shows, cannot dominate."""
    difference = np.minimum(cv2.absdiff(first, second), 32)
    return float(cv2.mean(difference, where)[0]) if where.any() else float("inf")
