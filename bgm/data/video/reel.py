"""A shot on its way to the network: every frame with its plate and what is true of it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bgm.data.align import align_background
from bgm.data.datasets import Sample, match_size
from bgm.data.exposure import match_exposure
from bgm.data.metadata import Metadata
from bgm.data.pairs import Pair
from bgm.data.pixels import Pixels, as_pixels, as_tensor
from bgm.data.residual import CHECK_SIDE
from bgm.data.shrink import shrink
from bgm.data.video.clip import Frame, Range
from bgm.data.video.find import Shot
from bgm.errors import DataError
from bgm.records.fingerprints import fingerprint
from bgm.records.record import Alignment, Exposure
from bgm.records.timing import Timer

ALIGN = ("off", "clip", "frames")
"""When a plate is aligned: never, once for a clip to its first frame, or to each frame."""


@dataclass(frozen=True)
class Preparing:
    """What happens to frames before the network.

    Attributes:
        align: One of `ALIGN`. A plate that moves is always aligned frame by frame.
        resize_background: Whether a plate of another size is resized to its frames'.
        metadata: Whether frames say of themselves what pictures do.
        match_exposure: Whether a plate is brought to its frames' exposure, as often as it would be
            aligned.
        check_every: Every how manyth frame has small versions to check its matte by; 0 for none.
    """

    align: str = "off"
    resize_background: bool = False
    metadata: bool = True
    match_exposure: bool = False
    check_every: int = 0


_TAKEN = DataError("its pixels are in the sample")


class PlateError(DataError):
    """A plate that does not go with its clip at all."""


class Reel:
    """A shot on its way to the network.

    Args:
        shot: The shot.
        wanted: Which of its frames.
        preparing: What happens to them.
        base: Seconds of one unit of their times.
    """

    def __init__(self, shot: Shot, wanted: Range, preparing: Preparing, base: Fraction) -> None:
        self._shot = shot
        self._wanted = wanted
        self._metadata = Metadata() if preparing.metadata else None
        self._plates = _Plates(shot, wanted, preparing)
        self._base = base
        self._first: int | None = None
        self._check_every = preparing.check_every
        self._count = 0

    def run(self) -> Generator[tuple[Frame, Pair, Sample | Exception], None, None]:
        """The frames, one by one: without their pixels, which are in the sample beside them.

        Raises:
            BgmError: Clip, plate or truth cannot be opened.
        """
        files = self._shot.inputs()
        self._inputs = {kind: fingerprint(path) for kind, path in files.items()}
        with ExitStack() as stack:
            frames = stack.enter_context(_closing(self._shot.clip.read(self._wanted)))
            self._truths = {
                kind: stack.enter_context(_closing(clip.read(self._wanted)))
                for kind, clip in self._shot.truths.items()
            }
            stack.callback(self._plates.close)
            while True:
                started = time.perf_counter()
                with Timer() as loading:
                    frame = next(frames, None)
                if frame is None:
                    return
                name = f"{self._shot.name}/{frame.name}"
                pair = Pair(name, files["src"], files.get("bgr", files["src"]))
                sample: Sample | Exception
                try:
                    sample = self._sample(frame, pair, started, loading.ms)
                except PlateError:
                    raise  # of the clip: every frame would say the same
                except DataError as error:
                    sample = error
                yield replace(frame, pixels=_TAKEN), pair, sample

    def _sample(self, frame: Frame, pair: Pair, started: float, load_ms: float) -> Sample:
        # Plates and truths go on beside a damaged frame too, or they would fall out of step.
        plate = self._plates.next()
        true = {kind: _true(kind, next(found, None)) for kind, found in self._truths.items()}
        self._first = frame.time if self._first is None else self._first
        if isinstance(frame.pixels, Exception):
            raise frame.pixels
        if isinstance(plate, Exception):
            raise DataError(f"its plate: {plate}")
        src = as_tensor(frame.pixels)
        with Timer() as aligning:
            bgr, alignment, exposure = self._plates.fit(src, plate)
        return Sample(
            pair=pair,
            src=src,
            bgr=bgr,
            alignment=alignment,
            load_ms=load_ms,
            align_ms=aligning.ms if alignment or exposure else None,
            started=started,
            inputs=self._inputs,
            remarks=() if frame.remark is None else (frame.remark,),
            metadata=self._metadata,
            exposure=exposure,
            small=self._small(src, bgr),
            truth=true or None,
            seconds=(frame.time - self._first) * self._base,
        )

    def _small(self, src: Any, bgr: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        """Small versions of a frame and its plate, of every so manyth."""
        self._count += 1
        if not self._check_every or (self._count - 1) % self._check_every:
            return None
        return shrink(as_pixels(src), CHECK_SIDE), shrink(as_pixels(bgr), CHECK_SIDE)


def _true(kind: str, frame: Frame | None) -> Pixels | Exception:
    if frame is None:
        return DataError(f"the true {kind} has fewer frames than the clip")
    return frame.pixels


Fitted = tuple[Any, Alignment | None, Exposure | None]
"""A plate as it goes with a frame, and what was done to it."""


class _Plates:
    """The plate of each frame, of its size and aligned."""

    def __init__(self, shot: Shot, wanted: Range, preparing: Preparing) -> None:
        self._shot = shot
        self._preparing = preparing
        self._frames = shot.plate.frames(wanted)
        self._per_frame = preparing.align == "frames" or shot.plate.moves
        self._kept: Fitted | None = None

    def next(self) -> Pixels | Exception:
        """The plate of the next frame, as it is."""
        plate = next(self._frames, None)
        if plate is None:
            return DataError(f"{self._shot.plate.describe()} has fewer frames than the clip")
        return plate

    def fit(self, src: Any, plate: Pixels) -> Fitted:
        """The plate as it goes with a frame: once for the clip, or for each frame."""
        if self._kept is not None and self._kept[0].shape == src.shape:
            return self._kept
        try:
            bgr = match_size(src, as_tensor(plate), resize=self._preparing.resize_background)
        except DataError as error:
            if self._kept is None and not self._per_frame:
                raise PlateError(str(error)) from None
            raise
        alignment = None
        if self._preparing.align != "off":
            aligned, alignment = align_background(as_pixels(src), as_pixels(bgr))
            bgr = as_tensor(aligned)
        exposure = None
        if self._preparing.match_exposure:
            matched, exposure = match_exposure(as_pixels(src), as_pixels(bgr))
            bgr = as_tensor(matched)
        fitted = bgr, alignment, exposure
        if not self._per_frame:
            self._kept = fitted
        return fitted

    def close(self) -> None:
        """Let go of the plate's file."""
        cast(Generator[Any, None, None], self._frames).close()


def _closing(frames: Iterator[Frame]) -> closing[Generator[Frame, None, None]]:
    return closing(cast(Generator[Frame, None, None], frames))
