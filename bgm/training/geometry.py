"""Where things are in a composite: parameters are drawn first, and applied apart from that."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[Any]
"""float32, (H, W, channels), values in [0, 1]."""

Size = tuple[int, int]
"""Height and width."""

_LEAST, _MOST = 0.4, 0.95
"""Of the picture's width or height, what a whole subject takes up at least, and at most."""

_UPRIGHT = 8.0  # degrees: one that is turned more does not stand


@dataclass(frozen=True)
class Placement:
    """Where a subject stands in a picture.

    Attributes:
        side: Its longer side, as a part of the picture's shorter one.
        x: Its centre, 0 at the left and 1 at the right of the picture.
        y: Its centre, 0 at the top and 1 at the bottom.
        angle: How far it is turned, in degrees.
        flip: Whether it is mirrored.
        stretch: Its width in relation to its height, 1 as it is.
    """

    side: float
    x: float
    y: float
    angle: float
    flip: bool
    stretch: float

    @classmethod
    def draw(cls, rng: Generator, upright: float = 0.8) -> Placement:
        """Draw a placement; a share of `upright` is turned but little."""
        side = math.exp(rng.normal(0, 0.5)) * 0.85
        spread = 0.16 + 0.25 * max(0.0, side - 0.7)
        little = rng.random() < upright
        return cls(
            side=float(np.clip(side, 0.2, 3.2)),
            x=0.5 + spread * rng.normal(),
            y=0.5 + spread * rng.normal(),
            angle=rng.normal(0, 6) if little else rng.uniform(-180, 180),
            flip=rng.random() < 0.5,
            stretch=math.exp(rng.normal(0, 0.08)),
        )

    def grounded(self, subject: Size, picture: Size, cut: bool) -> Placement:
        """The same, but a subject that is cut off below mostly stands at the picture's edge.

        Args:
            subject: Its size.
            picture: Size of the picture.
            cut: Whether it is cut off below, as people seen from the waist up are.
        """
        if not cut or abs(self.angle) > _UPRIGHT:
            return self
        half = self.scale(subject, picture) * subject[0] / 2 / picture[0]
        return replace(self, y=max(self.y, 1.02 - half))

    def whole(self, subject: Size, picture: Size) -> Placement:
        """The same, but made smaller or larger and moved so that all of the subject can be seen.

        Args:
            subject: Its size.
            picture: Size of the picture.
        """
        turned = np.abs(self.matrix(subject, picture)[:, :2]) @ np.array(subject[::-1])
        width, height = turned / np.array(picture[::-1])  # as parts of the picture's
        side = self.side * float(
            np.clip(1, _LEAST / max(width, height), _MOST / max(width, height))
        )
        half = side / self.side / 2 * np.array([width, height])
        x, y = np.clip([self.x, self.y], half, 1 - half)
        return replace(self, side=side, x=float(x), y=float(y))

    def scale(self, subject: Size, picture: Size) -> float:
        """The scale that this placement asks of a subject in a picture."""
        return self.side * min(picture) / max(subject)

    def matrix(self, subject: Size, picture: Size) -> NDArray[np.float64]:
        """The affine map, (2, 3), from the subject's pixels to the picture's."""
        scale, turn = self.scale(subject, picture), math.radians(self.angle)
        across = -scale * self.stretch if self.flip else scale * self.stretch
        cosine, sine = math.cos(turn), math.sin(turn)
        linear = np.array([[cosine * across, -sine * scale], [sine * across, cosine * scale]])
        centre = np.array([(subject[1] - 1) / 2, (subject[0] - 1) / 2])
        target = np.array([self.x * picture[1] - 0.5, self.y * picture[0] - 0.5])
        return np.column_stack([linear, target - linear @ centre])


@dataclass(frozen=True)
class Window:
    """Which part of a photograph is the background.

    Attributes:
        zoom: 0 for as much of it as fits, 1 for one pixel of it to a pixel, between them evenly.
        x: Where the window lies between left (0) and right (1).
        y: Where it lies between top and bottom.
        angle: How far it is turned, in degrees.
        flip: Whether it is mirrored.
    """

    zoom: float
    x: float
    y: float
    angle: float
    flip: bool

    @classmethod
    def draw(cls, rng: Generator) -> Window:
        """Draw a window."""
        return cls(
            zoom=rng.random() ** 1.5,
            x=rng.random(),
            y=rng.random(),
            angle=rng.normal(0, 3) if rng.random() < 0.5 else 0.0,
            flip=rng.random() < 0.5,
        )

    def scale(self, photograph: Size, picture: Size) -> float:
        """How much the photograph is reduced for a picture."""
        whole = max(want / have for want, have in zip(picture, photograph, strict=True))
        return float(whole ** (1 - self.zoom)) if whole < 1 else whole

    def matrix(self, photograph: Size, picture: Size, scale: float) -> NDArray[np.float64]:
        """The affine map, (2, 3), from the photograph's pixels to the picture's.

        Args:
            photograph: Size of the photograph, or of a level of its pyramid.
            picture: Size of the picture.
            scale: Of that level.
        """
        rotation = cv2.getRotationMatrix2D((0, 0), self.angle, scale)[:, :2]
        if self.flip:
            rotation[:, 0] *= -1
        half = [side / scale / 2 for side in picture]
        centre = np.array(
            [
                _between(half[1], photograph[1] - half[1], self.x),
                _between(half[0], photograph[0] - half[0], self.y),
            ]
        )
        target = np.array([picture[1] / 2 - 0.5, picture[0] / 2 - 0.5])
        return np.column_stack([rotation, target - rotation @ (centre - 0.5)])


@dataclass(frozen=True)
class Shake:
    """How the camera moved between two shots.

    Attributes:
        x: To the right, in pixels.
        y: Down, in pixels.
        angle: In degrees.
        zoom: Change of scale, 1 for none.
    """

    x: float
    y: float
    angle: float
    zoom: float

    @classmethod
    def draw(cls, rng: Generator, pixels: float) -> Shake:
        """Draw a shake that moves the picture by about that many pixels."""
        turn = rng.normal(0, 0.12) * min(pixels, 6.0)
        return cls(
            x=rng.normal(0, pixels / 1.4),
            y=rng.normal(0, pixels / 1.4),
            angle=turn,
            zoom=math.exp(rng.normal(0, 0.0012) * min(pixels, 6.0)),
        )

    def matrix(self, size: Size) -> NDArray[np.float64]:
        """The affine map, (2, 3), about the middle of a picture of this size."""
        middle = ((size[1] - 1) / 2, (size[0] - 1) / 2)
        matrix = cv2.getRotationMatrix2D(middle, self.angle, self.zoom)
        matrix[:, 2] += np.array([self.x, self.y])
        return np.asarray(matrix)


def warp(
    pixels: NDArray[Any], matrix: NDArray[np.float64], size: Size, *, mirror: bool
) -> NDArray[Any]:
    """Move pixels, by bilinear interpolation.

    Args:
        pixels: (H, W, channels); colours with alpha must be premultiplied.
        matrix: The affine map, (2, 3), from them to the result.
        size: Height and width of the result.
        mirror: Whether what lies outside is a mirror image; if not, it is empty.
    """
    border = cv2.BORDER_REFLECT_101 if mirror else cv2.BORDER_CONSTANT
    warped = cv2.warpAffine(
        pixels, matrix, (size[1], size[0]), flags=cv2.INTER_LINEAR, borderMode=border
    )
    return np.asarray(warped)


def _between(low: float, high: float, position: float) -> float:
    return low + (high - low) * position if high > low else (low + high) / 2
