"""Subjects that are drawn rather than photographed: shapes, fur, hair, lace, glass, holes.

All are premultiplied layers, (H, W, 4) in [0, 1], of the size of the colours they are given.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bgm.training.geometry import Image, Size

_FINER = 2
"""Strands are drawn that much larger and then reduced, to become thinner than a pixel."""

_SHIFT = 4  # OpenCV's fractional bits of coordinates
Points = NDArray[np.float64]


def outline(rng: Generator, size: Size, reach: float | None = None) -> Points:
    """The outline of a random blob or polygon, (points, 2), x and y in pixels."""
    height, width = size
    if rng.random() < 0.3:
        count, waves = int(rng.integers(3, 9)), 0
    else:
        count, waves = 96, int(rng.integers(2, 7))
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(0, 2 * np.pi)
    radius = np.ones(count)
    for wave in range(1, waves + 1):
        radius += rng.normal(0, 0.3 / wave) * np.sin(wave * angles + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.25, 2) * (reach or rng.uniform(0.15, 0.55)) * min(size)
    tall = math.exp(rng.normal(0, 0.3))
    x = width * rng.uniform(0.25, 0.75) + radius * np.cos(angles) / tall
    y = height * rng.uniform(0.25, 0.75) + radius * np.sin(angles) * tall
    return np.column_stack([x, y])


def fill(points: Points, size: Size) -> Image:
    """The alpha, (H, W), of what an outline encloses, its edge smooth."""
    mask = np.zeros(size, np.uint8)
    fixed = np.round(points * 2**_SHIFT).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SHIFT)
    return mask.astype(np.float32) / 255


def layer(colours: Image, alpha: Image) -> Image:
    """A premultiplied layer of straight colours, (H, W, 3), and alpha, (H, W)."""
    return np.dstack([colours * alpha[:, :, None], alpha])


def over(top: Image, bottom: Image) -> Image:
    """One premultiplied layer over another."""
    return np.asarray(top + bottom * (1 - top[:, :, 3:]))


def shape(rng: Generator, colours: Image) -> Image:
    """A blob or polygon, sometimes with holes."""
    size = colours.shape[:2]
    alpha = fill(outline(rng, size), size)
    if rng.random() < 0.4:
        alpha = alpha * (1 - holes(rng, size))
    return layer(colours, alpha)


def holes(rng: Generator, size: Size) -> Image:
    """The alpha, (H, W), of a few blobs to be cut out."""
    cut = np.zeros(size, np.float32)
    for _ in range(int(rng.integers(1, 6))):
        cut = np.maximum(cut, fill(outline(rng, size, rng.uniform(0.02, 0.12)), size))
    return cut


def strands(
    rng: Generator,
    size: Size,
    roots: Points,
    directions: Points,
    lengths: NDArray[np.float64],
    colours: NDArray[np.float64],
) -> Image:
    """Draw strands that bend as they grow.

    Args:
        rng: Bends and weights them.
        size: Height and width of the layer.
        roots: Where each begins, (N, 2), x and y in pixels.
        directions: Where each goes first, (N, 2), of length 1.
        lengths: In pixels, (N,).
        colours: (N, 3) in [0, 1].
    """
    canvas = np.zeros((size[0] * _FINER, size[1] * _FINER, 4), np.uint8)
    steps = 7
    bend = rng.normal(0, 0.7, (len(roots), 1)) + rng.normal(0, 0.9)
    turn = bend * np.linspace(0, 1, steps) ** 1.3
    heading = np.arctan2(directions[:, 1], directions[:, 0])[:, None] + turn
    stride = (lengths / (steps - 1))[:, None]
    x = roots[:, :1] + np.cumsum(np.cos(heading) * stride, axis=1)
    y = roots[:, 1:] + np.cumsum(np.sin(heading) * stride, axis=1)
    paths = np.stack([x, y], axis=2) * _FINER * 2**_SHIFT
    thick = rng.random() < 0.25
    for path, colour in zip(np.round(paths).astype(np.int32), colours * 255, strict=True):
        ink = (float(colour[0]), float(colour[1]), float(colour[2]), 255.0)
        cv2.polylines(canvas, [path], False, ink, 1 + thick, cv2.LINE_AA, _SHIFT)
    reduced = cv2.resize(canvas, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, np.float32) / 255


def fur(rng: Generator, colours: Image) -> Image:
    """A blob with strands growing out of its edge."""
    size = colours.shape[:2]
    points = outline(rng, size, rng.uniform(0.12, 0.4))
    count = int(rng.integers(150, 600))
    where = rng.integers(0, len(points), count)
    along = rng.random((count, 1))
    roots = points[where] * along + points[(where + 1) % len(points)] * (1 - along)
    outward = roots - points.mean(axis=0)
    inward = rng.uniform(0.02, 0.12)
    roots = roots - outward * inward * rng.random((count, 1))
    outward = _unit(_unit(outward) + rng.normal(0, 0.35, (count, 2)))
    lengths = rng.uniform(0.03, 0.2) * min(size) * rng.uniform(0.4, 1.3, count)
    inks = _inks(rng, colours, roots)
    hairs = strands(rng, size, roots, outward, lengths, inks)
    return over(hairs, layer(colours, fill(points, size)))


def hair(rng: Generator, colours: Image) -> Image:
    """A lock of long strands, dense at its root and thin at its end."""
    size = colours.shape[:2]
    count = int(rng.integers(40, 400))
    root = rng.uniform(0.2, 0.8, 2) * (size[1], size[0])
    roots = root + rng.normal(0, rng.uniform(0.01, 0.12) * min(size), (count, 2))
    angle = rng.uniform(0, 2 * np.pi) + rng.normal(0, rng.uniform(0.1, 0.7), count)
    directions = np.column_stack([np.cos(angle), np.sin(angle)])
    lengths = rng.uniform(0.2, 0.7) * min(size) * rng.uniform(0.5, 1.2, count)
    return strands(rng, size, roots, directions, lengths, _inks(rng, colours, roots))


def lace(rng: Generator, colours: Image) -> Image:
    """A blob of cloth with a regular pattern of holes, or a net."""
    size = colours.shape[:2]
    alpha = fill(outline(rng, size, rng.uniform(0.2, 0.55)), size)
    return layer(colours, alpha * _weave(rng, size))


def _weave(rng: Generator, size: Size) -> Image:
    """The alpha, (H, W), of a cloth."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), math.exp(rng.uniform(math.log(3.5), math.log(24)))
    u = (x * math.cos(angle) + y * math.sin(angle)) * np.float32(2 * np.pi / period)
    v = (y * math.cos(angle) - x * math.sin(angle)) * np.float32(2 * np.pi / period)
    u, v = u + np.float32(rng.uniform(0, 0.8)) * np.sin(v / 3), v
    if rng.random() < 0.5:
        wave = np.sin(u) * np.sin(v) + np.float32(rng.uniform(-0.3, 0.5))
    else:
        wave = np.maximum(np.abs(np.sin(u / 2)), np.abs(np.sin(v / 2)))
        wave = wave - np.float32(rng.uniform(0.7, 0.95))
    sharp = period / rng.uniform(1.5, 5)
    woven = (0.5 + sharp * wave).clip(0, 1)
    thin = np.float32(rng.uniform(0, 0.5) if rng.random() < 0.4 else 0)
    return np.asarray(thin + (rng.uniform(0.7, 1) - thin) * woven, np.float32)


def glass(rng: Generator, colours: Image) -> Image:
    """A blob that is clear inside, denser towards its rim, with highlights."""
    size = colours.shape[:2]
    alpha = fill(outline(rng, size, rng.uniform(0.15, 0.5)), size)
    depth = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    rim = np.exp(-depth / np.float32(rng.uniform(0.01, 0.08) * min(size)))
    body, edge = rng.uniform(0.02, 0.6), rng.uniform(0.2, 1)
    alpha = alpha * (body + (edge - body) * rim).clip(0, 1).astype(np.float32)
    tint = np.float32(rng.uniform(0, 1)) * colours + np.float32(1 - rng.uniform(0, 1)) * rng.random(
        3, np.float32
    )
    clear = layer(tint.clip(0, 1).astype(np.float32), alpha)
    spots = fill(outline(rng, size, rng.uniform(0.02, 0.08)), size) * (depth > 1)
    shine = np.float32(rng.uniform(0.2, 1)) * cv2.GaussianBlur(
        spots.astype(np.float32), (0, 0), rng.uniform(0.5, 3)
    )
    return over(layer(np.ones_like(colours), shine), clear)


DRAWN: dict[str, Callable[[Generator, Image], Image]] = {
    "shape": shape,
    "fur": fur,
    "hair": hair,
    "lace": lace,
    "glass": glass,
}
"""The kinds of drawn subjects."""


def flat_colours(rng: Generator, size: Size) -> Image:
    """A wall or a cloth: a colour that changes slowly, sometimes with stripes, (H, W, 3)."""
    corners = rng.random(3) + rng.normal(0, rng.uniform(0, 0.25), (2, 2, 3))
    colours = cv2.resize(
        corners.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR
    )
    if rng.random() < 0.35:
        y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
        angle, period = rng.uniform(0, np.pi), rng.uniform(4, 60)
        phase = (x * math.cos(angle) + y * math.sin(angle)) * np.float32(2 * np.pi / period)
        stripes = np.tanh(np.float32(rng.uniform(0.5, 5)) * np.sin(phase))
        tint = rng.normal(0, 0.15, 3).astype(np.float32)
        colours = colours + stripes[:, :, None] * tint
    return np.asarray(colours.clip(0, 1), np.float32)


def _inks(rng: Generator, colours: Image, roots: Points) -> NDArray[np.float64]:
    """The colour of each strand: that of its root, or one for all, lighter and darker."""
    height, width = colours.shape[:2]
    columns = np.clip(roots[:, 0], 0, width - 1).astype(int)
    rows = np.clip(roots[:, 1], 0, height - 1).astype(int)
    inks = colours[rows, columns].astype(np.float64)
    if rng.random() < 0.4:
        inks = np.broadcast_to(inks.mean(axis=0), inks.shape)
    shades = np.exp(rng.normal(0, rng.uniform(0.05, 0.4), (len(roots), 1)))
    return np.asarray((inks * shades).clip(0, 1))


def _unit(vectors: Points) -> Points:
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return np.asarray(vectors / lengths)
