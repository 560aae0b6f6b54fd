"""Examines a plate before the network sees it: whether it shows the scene of its photograph.

What is measured is told by numbers and in words. `glance` looks at a few thousand pixels only, and
is for runs that have other things to do.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bgm.data.exposure import EXPOSURE_SIDE, apply_gain, find_exposure, match_exposure
from bgm.data.pixels import Pixels, to_uint8
from bgm.data.shrink import shrink
from bgm.records.record import Alignment

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]

_LEVELS = 14  # by which what agrees may differ in its worst channel, once pixels are averaged
_TILE = 64
_MOST_TILES = 48
_LEAST_TILES = 4
_MARGIN = 12  # of a tile, which blurring spoils
_SIGMAS = (0.0, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
_TEXTURE = 3.0  # levels: tiles with less do not show blur

_STRANGE_AT_A_GLANCE = 0.08  # where nothing else is known, such as that the plate is in its place
_STRANGE = 0.15  # less of the photograph agrees with a plate of another scene
_LITTLE = 0.3
_ALL = 0.995
_SHIFT_PX = 0.75
_GAIN = 0.05
_GAIN_AT_A_GLANCE = 0.12
_GLANCE_SIDE = 96  # pixels of the longer side: a few thousand tell
_BLUR_PX = 1.0
_NOISE = 6.0


@dataclass(frozen=True)
class Findings:
    """What was measured; see `bgm.records.examination.Examination`."""

    alignment: Alignment
    gain: tuple[float, float, float] | None
    blur_px: float | None
    noise: float | None
    agrees: float


def examine(src: Pixels, aligned: Pixels, alignment: Alignment) -> Findings:
    """Measure how far a photograph and its plate are two pictures of one scene.

    Args:
        src: The photograph, (H, W, 3), uint8 or float32 in [0, 1].
        aligned: Its plate, of the same size, brought onto it as far as that can be trusted.
        alignment: How that went.
    """
    matched, exposure = match_exposure(src, aligned)
    agreeing = _agreeing(shrink(src, EXPOSURE_SIDE), shrink(matched, EXPOSURE_SIDE))
    tiles = _tiles(src, matched, agreeing)
    return Findings(
        alignment=alignment,
        gain=exposure.gain,
        blur_px=_blur(tiles),
        noise=_noise(tiles),
        agrees=round(float(agreeing.mean()), 4),
    )


def judge(
    found: Findings, *, aligns: bool = False, matches: bool = False
) -> tuple[list[str], bool]:
    """Say in words what was found.

    Args:
        found: What was measured.
        aligns: Whether plates are aligned anyway.
        matches: Whether exposures are matched anyway.

    Returns:
        The verdicts, none if the plate fits; and whether the pair is hopeless.
    """
    is_placed = found.alignment.is_settled
    if found.agrees < _STRANGE and not is_placed:
        return [_ANOTHER_SCENE.format(found.agrees)], True
    verdicts = []
    shift = found.alignment.shift_px
    if found.alignment.applied and shift is not None and shift >= _SHIFT_PX:
        verdicts.append(f"the plate is {shift:.1f} px off: " + _remedy(aligns, "data.align=true"))
    verdicts += _on_gain(found.gain, _GAIN, matches)
    if found.blur_px is not None and abs(found.blur_px) >= _BLUR_PX:
        softer, other = ("plate", "photograph")[:: 1 if found.blur_px > 0 else -1]
        verdicts.append(
            f"the {softer} is softer than the {other} by {abs(found.blur_px):.1f} px: take both "
            "with one focus and aperture"
        )
    if found.noise is not None and found.noise >= _NOISE:
        verdicts.append(f"noise of {found.noise:.0f} levels: fine hair drowns in it")
    if found.agrees > _ALL:
        verdicts.append("both show the same all over: there is no subject, or the plate shows it")
    elif found.agrees < _LITTLE:
        verdicts.append(f"only {found.agrees:.0%} of the photograph agrees with the plate")
    return verdicts, False


def glance(src: Pixels, bgr: Pixels, alignment: Alignment | None, *, matches: bool) -> list[str]:
    """Say what can be told of a plate at once: another scene, another exposure.

    Args:
        src: The photograph, (H, W, 3), uint8 or float32 in [0, 1].
        bgr: Its plate as the network will see it.
        alignment: What aligning it did, if that was asked for.
        matches: Whether its exposure has been matched.
    """
    step = max(1, max(src.shape[:2]) // _GLANCE_SIDE)
    few_src, few_bgr = (to_uint8(pixels[::step, ::step]) for pixels in (src, bgr))
    exposure = find_exposure(few_src, few_bgr)
    if exposure.gain is not None and exposure.applied:
        few_bgr = apply_gain(few_bgr, exposure.gain)
    agrees = float(_agreeing(few_src, few_bgr).mean())
    if agrees < _STRANGE_AT_A_GLANCE and not (alignment is not None and alignment.is_settled):
        return [_ANOTHER_SCENE.format(agrees)]
    return [] if matches else _on_gain(exposure.gain, _GAIN_AT_A_GLANCE, matches)


_ANOTHER_SCENE = "another scene, or a camera moved too far: {:.0%} of the photograph agrees"


def _remedy(is_done: bool, setting: str) -> str:
    return f"{setting} sees to it" if is_done else setting


def _on_gain(gain: tuple[float, float, float] | None, least: float, matches: bool) -> list[str]:
    if gain is None:
        return []
    logs = np.log(gain)
    mean = float(logs.mean())
    remedy = _remedy(matches, "data.match_exposure=true")
    if abs(mean) >= least:
        change = "darker" if mean > 0 else "brighter"
        return [f"the plate is {abs(np.expm1(-mean)):.0%} {change} than the photograph: {remedy}"]
    if float(np.ptp(logs)) >= least:
        return [f"the plate has another white balance than the photograph: {remedy}"]
    return []


def _agreeing(src: NDArray[np.uint8], bgr: NDArray[np.uint8]) -> Mask:
    """Where small versions of two pictures show the same."""
    same: Mask = cv2.absdiff(src, bgr).max(axis=2) <= _LEVELS
    return same


def _tiles(src: Pixels, bgr: Pixels, agreeing: Mask) -> list[tuple[Grey, Grey]]:
    """Squares, in grey, of both pictures that show the same everywhere; spread over the picture."""
    height, width = src.shape[:2]
    rows, columns = height // _TILE, width // _TILE
    if not rows or not columns:
        return []
    agreed = agreeing.astype(np.float32)
    shares = cv2.resize(agreed, (columns, rows), interpolation=cv2.INTER_AREA)
    places = np.argwhere(shares > 0.97)
    places = places[:: max(1, len(places) // _MOST_TILES)]
    tiles = []
    for row, column in places[:_MOST_TILES].tolist():
        cut = np.s_[row * _TILE : (row + 1) * _TILE, column * _TILE : (column + 1) * _TILE]
        tiles.append((_grey(src[cut]), _grey(bgr[cut])))
    return tiles


def _grey(pixels: Pixels) -> Grey:
    return np.asarray(cv2.cvtColor(to_uint8(pixels), cv2.COLOR_RGB2GRAY), np.float32)


def _noise(tiles: list[tuple[Grey, Grey]]) -> float | None:
    """The deviation of the noise: what differs in the tiles in which least does."""
    if len(tiles) < _LEAST_TILES:
        return None
    found = [float((first - second).std()) for first, second in tiles]
    return round(float(np.percentile(found, 30)) / 2**0.5, 2)


def _blur(tiles: list[tuple[Grey, Grey]]) -> float | None:
    """Which Gaussian makes the sharper picture most like the other, without what noise adds."""
    tiles = [(s, b) for s, b in tiles if min(_texture(s), _texture(b)) > _TEXTURE]
    if len(tiles) < _LEAST_TILES:
        return None
    noise = np.mean([(_variance(s), _variance(b)) for s, b in tiles], axis=0)
    best, least = 0.0, np.inf
    for sign, sharp, soft in ((1, 0, 1), (-1, 1, 0)):
        for sigma in _SIGMAS:
            error = np.mean([_misfit(pair[sharp], pair[soft], sigma) for pair in tiles])
            error -= noise[sharp] * _kept_noise(sigma) + noise[soft]
            if error < least - 1e-6:
                best, least = sign * sigma, float(error)
    return best


def _texture(grey: Grey) -> float:
    return float(cv2.GaussianBlur(grey, (0, 0), 1.5).std())


def _misfit(sharp: Grey, soft: Grey, sigma: float) -> float:
    if sigma:
        sharp = np.asarray(cv2.GaussianBlur(sharp, (0, 0), sigma), np.float32)
    difference = (sharp - soft)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return float(np.square(difference - difference.mean()).mean())


def _variance(grey: Grey) -> float:
    """The variance of white noise, by what a mask finds that edges hardly answer to.

    Source: Immerkaer 1996, Fast noise variance estimation.
    """
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    answer = np.abs(cv2.filter2D(grey, -1, mask)[1:-1, 1:-1])
    return float(1.4826 * np.median(answer) / 6) ** 2


def _kept_noise(sigma: float) -> float:
    """How much of the variance of white noise a Gaussian leaves."""
    if not sigma:
        return 1.0
    kernel = cv2.getGaussianKernel(2 * round(4 * sigma) + 1, sigma)
    return float(np.square(kernel).sum() ** 2)
