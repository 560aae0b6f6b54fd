"""Makes composites: a subject in a scene, the scene without it, and the truth about both."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bgm.config.training import CompositeConfig
from bgm.training.camera import Blur, Look, Shadow, Shot
from bgm.training.geometry import Image, Placement, Shake, Size, Window, warp
from bgm.training.procedural import DRAWN, fill, flat_colours, outline, over
from bgm.training.store import PictureStore, premultiply


class Sample(NamedTuple):
    """One composite.

    Attributes:
        src: The subject in the scene, uint8, (H, W, 3).
        bgr: The plate, uint8, (H, W, 3).
        pha: The true alpha, uint8, (H, W, 1).
        fgr: The true foreground, straight colour, uint8, (H, W, 3); black where alpha is 0.
    """

    src: NDArray[np.uint8]
    bgr: NDArray[np.uint8]
    pha: NDArray[np.uint8]
    fgr: NDArray[np.uint8]


class Frame(NamedTuple):
    """What all parts of one composite share.

    Attributes:
        size: Height and width.
        picture: Number of the photograph that is its scene.
        spare: How much larger than needed what is put into it is taken from the stores.
    """

    size: Size
    picture: int
    spare: float


class Composer:
    """Makes composites from stores of cut-outs and of photographs.

    Args:
        foregrounds: RGBA cut-outs.
        backgrounds: RGB photographs.
        config: How often what happens.
        only: A kind of cut-out, or of drawn subject, that all subjects shall be of, if there is
            such a kind; None for all kinds.
    """

    def __init__(
        self,
        foregrounds: PictureStore,
        backgrounds: PictureStore,
        config: CompositeConfig,
        only: str | None = None,
    ) -> None:
        self._foregrounds = foregrounds
        self._backgrounds = backgrounds
        self._config = config
        self._drawn = [only] if only in DRAWN else list(DRAWN)
        likely = chances(foregrounds, config.balance)
        wanted = np.array([entry.kind == only for entry in foregrounds.entries])
        self._chances = np.cumsum(likely * wanted if wanted.any() else likely)

    def make(self, rng: Generator, size: Size, cutout: int | None = None) -> Sample:
        """Make one composite; all of it follows from the arguments.

        Args:
            rng: Decides everything else.
            size: Height and width.
            cutout: Number of the cut-out that is the first subject, if there is any; None for
                any, or a drawn one.
        """
        config = self._config
        spare = 2.0 if rng.random() < config.aliased else 1.0
        frame = Frame(size, int(rng.integers(len(self._backgrounds))), spare)
        scene = self._scene(rng, frame)
        plate, subject = scene, np.zeros((*size, 4), np.float32)
        for number in range(self._count(rng)):
            added = self._layer(rng, frame, plate, None if number else cutout)
            if rng.random() < config.shadow:
                scene = Shadow.draw(rng).apply(scene, added[:, :, 3])
            subject = over(added, subject)
        if rng.random() < config.strangers:
            scene = Shadow.draw(rng).apply(scene, fill(outline(rng, size), size))
        if rng.random() < config.uneven_light:
            scene = scene * _gradient(rng, size)
        return _shoot(rng, config, scene, plate, subject)

    def _count(self, rng: Generator) -> int:
        """How many subjects there are."""
        if rng.random() < self._config.empty:
            return 0
        if rng.random() < self._config.several:
            return int(rng.integers(2, 4))
        return 1

    def _scene(self, rng: Generator, frame: Frame) -> Image:
        """What is behind the subjects, (H, W, 3)."""
        if rng.random() < self._config.flat:
            scene = flat_colours(rng, frame.size)
        else:
            scene = Look.draw(rng, 0.3).apply(self._photograph(rng, frame.picture, frame))
        if rng.random() < self._config.blurred:
            scene = Blur.draw(rng, 0.9, 0.1).apply(scene)
        return scene

    def _photograph(self, rng: Generator, picture: int, frame: Frame) -> Image:
        """A part of a photograph, (H, W, 3)."""
        window, whole = Window.draw(rng), self._backgrounds.entries[picture].levels[0]
        scale = window.scale((whole.height, whole.width), frame.size)
        pixels, left = self._backgrounds.level(picture, scale, frame.spare)
        matrix = window.matrix(pixels.shape[:2], frame.size, left)
        return warp(pixels, matrix, frame.size, mirror=True).astype(np.float32) / 255

    def _layer(
        self, rng: Generator, frame: Frame, scene: Image, chosen: int | None = None
    ) -> Image:
        """One subject, premultiplied, (H, W, 4)."""
        if chosen is not None:
            added = self._cutout(rng, frame, chosen)
        elif rng.random() < self._config.drawn:
            draw = DRAWN[str(rng.choice(self._drawn))]
            added = draw(rng, self._texture(rng, frame))
        else:
            index = int(np.searchsorted(self._chances, rng.random() * self._chances[-1]))
            added = self._cutout(rng, frame, min(index, len(self._foregrounds) - 1))
        if rng.random() < 0.7:
            added = Look.draw(rng, 0.5).apply_to_layer(added)
        if rng.random() < self._config.hard:
            added = match_colours(added, scene, rng.uniform(0.4, 1), rng.uniform(0.5, 1))
        return Blur.draw(rng, self._config.blurred, 0.06).apply(added)

    def _texture(self, rng: Generator, frame: Frame) -> Image:
        """Colours for a drawn subject: of any photograph, of the scene's own, or flat."""
        choice = rng.random()
        if choice < 0.3:
            return flat_colours(rng, frame.size)
        own = choice >= 0.8
        picture = frame.picture if own else int(rng.integers(len(self._backgrounds)))
        return self._photograph(rng, picture, frame)

    def _cutout(self, rng: Generator, frame: Frame, index: int) -> Image:
        entry = self._foregrounds.entries[index]
        whole = (entry.levels[0].height, entry.levels[0].width)
        placement = Placement.draw(rng, self._config.upright)
        if self._config.whole and rng.random() < self._config.whole:
            placement = placement.whole(whole, frame.size)
        placement = placement.grounded(whole, frame.size, entry.cut)
        scale = placement.scale(whole, frame.size)
        pixels, _ = self._foregrounds.level(index, scale, frame.spare)
        matrix = placement.matrix(pixels.shape[:2], frame.size)
        return np.asarray(warp(premultiply(pixels), matrix, frame.size, mirror=False), np.float32)


def chances(store: PictureStore, balance: float) -> NDArray[np.float64]:
    """How likely each picture of a store is, summing to 1.

    Args:
        store: The pictures, of several kinds.
        balance: 0 makes every kind equally likely, 1 every picture.
    """
    kinds = [entry.kind for entry in store.entries]
    weights = np.array([kinds.count(kind) ** (balance - 1.0) for kind in kinds])
    return np.asarray(weights / weights.sum())


def match_colours(layer: Image, scene: Image, mean: float, spread: float) -> Image:
    """Give a subject the colours of the scene behind it.

    Args:
        layer: The subject, premultiplied, (H, W, 4).
        scene: What is behind it, (H, W, 3).
        mean: How far its mean colour goes to the scene's, in [0, 1].
        spread: How far the spread of its colours goes to the scene's, in [0, 1].
    """
    alpha = layer[:, :, 3:]
    total = float(alpha.sum())
    if total < 16:
        return layer
    here = layer[:, :, :3].sum(axis=(0, 1)) / total
    there = (scene * alpha).sum(axis=(0, 1)) / total
    varied_here = (np.square(layer[:, :, :3] - here * alpha)).sum() / total
    varied_there = (np.square(scene - there) * alpha).sum() / total
    ratio = np.sqrt((varied_there + 1e-4) / (varied_here + 1e-4)).clip(0.3, 2) ** spread
    aim = here + (there - here) * mean
    colours = (layer[:, :, :3] - here * alpha) * ratio + aim * alpha
    return np.concatenate([np.minimum(colours.clip(0, 1), alpha), alpha], axis=2, dtype=np.float32)


def _shoot(
    rng: Generator, config: CompositeConfig, scene: Image, plate: Image, subject: Image
) -> Sample:
    """Take both shots, with another camera position, exposure and noise."""
    size = scene.shape[:2]
    alpha = subject[:, :, 3:].clip(0, 1)
    source = subject[:, :, :3] + (1 - alpha) * scene
    if rng.random() < config.shaken:
        shake = Shake.draw(rng, _shake_pixels(rng, size))
        plate = np.asarray(warp(plate, shake.matrix(size), size, mirror=True), np.float32)
    if rng.random() < config.exposure:
        strength = rng.choice([0.06, 0.15, 0.35], p=[0.6, 0.3, 0.1])
        plate = Look.draw(rng, float(strength)).apply(plate)
    if rng.random() < 0.1:
        plate = cv2.GaussianBlur(plate, (0, 0), rng.uniform(0.3, 0.8))
    first, second = Shot.draw_pair(rng)
    fgr = subject[:, :, :3] / np.maximum(alpha, np.float32(1 / 512))
    return Sample(first.apply(source), second.apply(plate), to_bytes(alpha), to_bytes(fgr))


def _shake_pixels(rng: Generator, size: Size) -> float:
    """How far the camera moved: mostly what is left after alignment, sometimes a percent."""
    choice = rng.random()
    if choice < 0.6:
        return 0.35
    return 1.2 if choice < 0.88 else rng.uniform(0.004, 0.012) * max(size)


def _gradient(rng: Generator, size: Size) -> Image:
    """Light that differs a little over the picture, (H, W, 1)."""
    corners = np.exp(rng.normal(0, 0.08, (2, 2))).astype(np.float32)
    light = cv2.resize(corners, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(light)[:, :, None]


def to_bytes(values: Image) -> NDArray[np.uint8]:
    """Round values in [0, 1] to 8 bits, clamping what is outside."""
    return np.asarray((values * 255 + 0.5).clip(0, 255), np.uint8)
