"""What light, lens, sensor and file do to a picture: parameters are drawn first, then applied.

Source and plate get the same parameters, or deliberately different ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bgm.training.geometry import Image

_GREY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Look:
    """Light and colour.

    Attributes:
        exposure: Factor of all channels.
        balance: Factor of each channel, red, green, blue.
        contrast: Factor about middle grey.
        gamma: Exponent.
        saturation: 0 is grey, 1 as it is.
    """

    exposure: float
    balance: tuple[float, float, float]
    contrast: float
    gamma: float
    saturation: float

    @classmethod
    def draw(cls, rng: Generator, strength: float) -> Look:
        """Draw a look; a strength of 0 changes nothing, 1 very much."""
        steps = rng.normal(0, strength, 7)
        return cls(
            exposure=math.exp(0.35 * steps[0]),
            balance=(math.exp(0.2 * steps[1]), math.exp(0.1 * steps[2]), math.exp(0.2 * steps[3])),
            contrast=math.exp(0.25 * steps[4]),
            gamma=math.exp(0.3 * steps[5]),
            saturation=math.exp(0.5 * steps[6]),
        )

    def apply(self, colours: Image) -> Image:
        """Change colours, (H, W, 3), straight."""
        changed = np.power(colours, np.float32(self.gamma)) if self.gamma != 1 else colours
        factors = np.array(self.balance, np.float32) * np.float32(self.exposure * self.contrast)
        changed = changed * factors + np.float32(0.5 * (1 - self.contrast))
        grey = (changed @ _GREY)[:, :, None]
        changed = grey + np.float32(self.saturation) * (changed - grey)
        return np.asarray(changed.clip(0, 1), np.float32)

    def apply_to_layer(self, layer: Image) -> Image:
        """Change the colours of a premultiplied layer, (H, W, 4)."""
        alpha = layer[:, :, 3:]
        straight = (layer[:, :, :3] / np.maximum(alpha, np.float32(1e-3))).clip(0, 1)
        return np.concatenate([self.apply(straight) * alpha, alpha], axis=2)


@dataclass(frozen=True)
class Blur:
    """Defocus, or motion along a line.

    Attributes:
        sigma: Of the defocus, in pixels; 0 for none.
        length: Of the motion, in pixels; below 1 for none.
        angle: Of the motion, in degrees.
    """

    sigma: float
    length: float
    angle: float

    @classmethod
    def draw(cls, rng: Generator, share: float, motion: float) -> Blur:
        """Draw a blur: defocus in a share of all cases, motion in another."""
        return cls(
            sigma=abs(rng.normal(0, 1.2)) if rng.random() < share else 0.0,
            length=1 + 9 * rng.random() ** 2 if rng.random() < motion else 0.0,
            angle=rng.uniform(0, 180),
        )

    def apply(self, pixels: Image) -> Image:
        """Blur colours, or a premultiplied layer with its alpha."""
        if self.sigma > 0.2:
            pixels = cv2.GaussianBlur(pixels, (0, 0), self.sigma)
        if self.length >= 1.5:
            pixels = cv2.filter2D(pixels, -1, _line(self.length, self.angle))
        return pixels


def _line(length: float, angle: float) -> NDArray[np.float32]:
    """A kernel that smears along a line."""
    side = 2 * math.ceil(length / 2) + 1
    kernel = np.zeros((side, side), np.uint8)
    middle = side // 2
    dx, dy = math.cos(math.radians(angle)) * length / 2, math.sin(math.radians(angle)) * length / 2
    ends = [(round((middle + s * dx) * 16), round((middle + s * dy) * 16)) for s in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 255, 1, cv2.LINE_AA, 4)
    weights = kernel.astype(np.float32)
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True)
class Shot:
    """What sensor and file add to one shot.

    Attributes:
        sharpness: Amount of unsharp masking; negative softens.
        noise: Standard deviation of the sensor's noise.
        grain: Size of a grain of noise, in pixels.
        quality: JPEG quality; 0 for no JPEG.
        seed: Of the noise.
    """

    sharpness: float
    noise: float
    grain: float
    quality: int
    seed: int

    @classmethod
    def draw_pair(cls, rng: Generator) -> tuple[Shot, Shot]:
        """Draw the shots of source and plate: one camera, other noise."""
        sharpness = rng.uniform(-0.4, 0.8) if rng.random() < 0.4 else 0.0
        noise = abs(rng.normal(0, 0.018)) if rng.random() < 0.7 else 0.0
        grain = rng.uniform(1, 3) if rng.random() < 0.3 else 1.0
        quality = int(rng.integers(50, 97)) if rng.random() < 0.35 else 0
        seeds = rng.integers(0, 2**31, 2)
        return (
            cls(sharpness, noise, grain, quality, int(seeds[0])),
            cls(sharpness, noise * rng.uniform(0.7, 1.3), grain, quality, int(seeds[1])),
        )

    def apply(self, colours: Image) -> NDArray[np.uint8]:
        """Take the shot: 8 bits, (H, W, 3)."""
        if self.sharpness:
            soft = cv2.GaussianBlur(colours, (0, 0), 1.0)
            colours = colours + np.float32(self.sharpness) * (colours - soft)
        if self.noise > 0.001:
            colours = colours + np.float32(self.noise) * self._grains(colours.shape[:2])
        shot = np.asarray((colours * 255 + 0.5).clip(0, 255), np.uint8)
        if self.quality:
            written = cv2.imencode(".jpg", shot, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
            shot = np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR), np.uint8)
        return shot

    def _grains(self, size: tuple[int, ...]) -> Image:
        """Noise of deviation 1, a part of it the same in all channels."""
        height, width = size
        few = (max(2, round(height / self.grain)), max(2, round(width / self.grain)))
        rng = np.random.default_rng(self.seed)
        grains = rng.standard_normal((*few, 3), np.float32)
        if self.grain > 1:
            grains = cv2.resize(grains, (width, height), interpolation=cv2.INTER_LINEAR) * 1.5
        return grains


@dataclass(frozen=True)
class Shadow:
    """A soft shadow, cast on the scene before the subject is put into it.

    Attributes:
        x: How far to the right of the subject it falls, as a part of the picture's width.
        y: How far below.
        squash: Its height in relation to the subject's.
        lean: How far it leans to the side.
        softness: As a part of the picture's shorter side.
        depth: How much light it takes, in [0, 1].
    """

    x: float
    y: float
    squash: float
    lean: float
    softness: float
    depth: float

    @classmethod
    def draw(cls, rng: Generator) -> Shadow:
        """Draw a shadow, on a wall close behind or on the ground."""
        on_ground = rng.random() < 0.4
        return cls(
            x=rng.normal(0, 0.08),
            y=rng.normal(0.02, 0.06),
            squash=rng.uniform(0.1, 0.6) if on_ground else rng.uniform(0.9, 1.15),
            lean=rng.normal(0, 0.6) if on_ground else rng.normal(0, 0.05),
            softness=0.005 + 0.06 * rng.random() ** 2,
            depth=0.1 + 0.6 * rng.random() ** 1.3,
        )

    def apply(self, scene: Image, alpha: Image) -> Image:
        """Darken a scene, (H, W, 3), by the shadow of a subject, alpha (H, W)."""
        height, width = alpha.shape
        rows = np.flatnonzero(alpha.max(axis=1) > 0.1)
        if not rows.size:
            return scene
        ground = float(rows[-1])
        matrix = np.array(
            [
                [1, -self.lean, self.lean * ground + self.x * width],
                [0, self.squash, (1 - self.squash) * ground + self.y * height],
            ]
        )
        shape = cv2.warpAffine(alpha, matrix, (width, height), flags=cv2.INTER_LINEAR)
        shape = cv2.GaussianBlur(shape, (0, 0), max(0.5, self.softness * min(height, width)))
        return np.asarray(scene * (1 - np.float32(self.depth) * shape[:, :, None]))
