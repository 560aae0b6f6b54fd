"""A shot on its way to the network: every frame with its plate and what is true of it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, cast

from bgm.data.align import align_background
from bgm.data.datasets import Sample, match_size
from bgm.data.metadata import Metadata
from bgm.data.pairs import Pair
from bgm.data.pixels import Pixels, as_pixels, as_tensor
from bgm.data.video.clip import Frame, Range
from bgm.data.video.find import Shot, first_file
from bgm.errors import DataError
from bgm.records.fingerprints import InputFile, fingerprint
from bgm.records.record import Alignment
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
    """

    align: str = "off"
    resize_background: bool = False
    metadata: bool = True


def frame_name(shot: Shot, frame: Frame) -> str:
    """The name of a frame in the records and among pictures."""
    return f"{shot.name}/{frame.name}"


def samples(
    shot: Shot, wanted: Range, preparing: Preparing
) -> Generator[tuple[Frame, Pair, Sample | Exception], None, None]:
    """The frames of a shot, one by one, without their pixels, with what is made of them.

    Raises:
        BgmError: Clip, plate or truth cannot be opened.
    """
    inputs = {kind: fingerprint(path) for kind, path in shot.inputs().items()}
    pair_files = shot.inputs()
    src, bgr = pair_files["src"], pair_files.get("bgr", pair_files["src"])
    plates = _Plates(shot, wanted, preparing)
    with ExitStack() as stack:
        frames = stack.enter_context(_closing(shot.clip.read(wanted)))
        truths = {
            kind: stack.enter_context(_closing(clip.read(wanted)))
            for kind, clip in shot.truths.items()
        }
        stack.callback(plates.close)
        while True:
            started = time.perf_counter()
            with Timer() as loading:
                frame = next(frames, None)
            if frame is None:
                return
            pair = Pair(frame_name(shot, frame), src, bgr)
            true = {kind: next(found, None) for kind, found in truths.items()}
            sample: Sample | Exception
            try:
                sample = _sample(frame, pair, plates, inputs, true, preparing, started, loading.ms)
            except DataError as error:
                sample = error
            bare = Frame(frame.name, frame.index, frame.time, frame.duration, _TAKEN)
            yield bare, pair, sample


_TAKEN = DataError("its pixels are in the sample")


def _sample(
    frame: Frame,
    pair: Pair,
    plates: _Plates,
    inputs: dict[str, InputFile],
    true: dict[str, Frame | None],
    preparing: Preparing,
    started: float,
    load_ms: float,
) -> Sample:
    plate = plates.next()  # also beside a damaged frame, or the two would fall out of step
    if isinstance(frame.pixels, Exception):
        raise frame.pixels
    if isinstance(plate, Exception):
        raise DataError(f"its plate: {plate}")
    src = as_tensor(frame.pixels)
    with Timer() as aligning:
        bgr, alignment = plates.fit(src, plate)
    return Sample(
        pair=pair,
        src=src,
        bgr=bgr,
        alignment=alignment,
        load_ms=load_ms,
        align_ms=aligning.ms if alignment is not None else None,
        started=started,
        inputs=inputs,
        remarks=() if frame.remark is None else (frame.remark,),
        metadata=Metadata() if preparing.metadata else None,
        truth={kind: _true(kind, found) for kind, found in true.items()} if true else None,
    )


def _true(kind: str, frame: Frame | None) -> Pixels | Exception:
    if frame is None:
        return DataError(f"the true {kind} has fewer frames than the clip")
    return frame.pixels


class _Plates:
    """The plate of each frame, of its size and aligned."""

    def __init__(self, shot: Shot, wanted: Range, preparing: Preparing) -> None:
        self._shot = shot
        self._preparing = preparing
        self._frames = shot.plate.frames(wanted)
        self._per_frame = preparing.align == "frames" or shot.plate.moves
        self._kept: tuple[Any, Alignment | None] | None = None

    def next(self) -> Pixels | Exception:
        """The plate of the next frame, as it is."""
        plate = next(self._frames, None)
        if plate is None:
            return DataError(f"{self._shot.plate.describe()} has fewer frames than the clip")
        return plate

    def fit(self, src: Any, plate: Pixels) -> tuple[Any, Alignment | None]:
        """The plate as it goes with a frame: once for the clip, or for each frame."""
        if self._kept is not None and self._kept[0].shape == src.shape:
            return self._kept
        bgr = match_size(src, as_tensor(plate), resize=self._preparing.resize_background)
        alignment = None
        if self._preparing.align != "off":
            aligned, alignment = align_background(as_pixels(src), as_pixels(bgr))
            bgr = as_tensor(aligned)
        if not self._per_frame:
            self._kept = bgr, alignment
        elif self._preparing.align == "off" and not self._shot.plate.moves:
            self._kept = bgr, None
        return bgr, alignment

    def close(self) -> None:
        """Let go of the plate's file."""
        cast(Generator[Any, None, None], self._frames).close()


def _closing(frames: Iterator[Frame]) -> closing[Generator[Frame, None, None]]:
    return closing(cast(Generator[Frame, None, None], frames))


def describe_shot(shot: Shot) -> dict[str, Any]:
    """What is read for a shot, for the records."""
    return {"src": str(first_file(shot.clip)), "plate": shot.plate.describe()}
