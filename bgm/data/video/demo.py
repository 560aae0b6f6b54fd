"""Makes the demo clip of the demo's subjects: moving, with a plate, the truth, and sound."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bgm.data.decode import read_alpha, read_image
from bgm.data.pixels import to_uint8
from bgm.data.video.library import load_av
from bgm.locations import cache_folder, demo_path

FRAMES, RATE = 75, Fraction(25)
SIZE = (960, 540)
EMPTY = 12
"""Frames at the start without anybody in them: a plate can be made of them (first:0.4s)."""

_VERSION = 1
_SUBJECT, _SCENE = "tripod/lemur-mountain", "tripod/lemur-mountain"
_TONE = 440.0
_NOISE = 1.5
_SEED = 20


def demo_folder() -> Path:
    """Where the demo clip is kept once it is made."""
    return cache_folder() / f"demo-video-{_VERSION}"


def demo_file(part: str) -> Path:
    """The path of `src`, `bgr` or `pha` of the demo clip, whether it is there or not."""
    return demo_folder() / {"src": "lemur.mp4", "bgr": "plate.png", "pha": "truth.mkv"}[part]


def ensure_demo(path: Path) -> None:
    """Make the demo clip, if a path is a part of it and not there.

    Raises:
        ConfigError: PyAV is missing.
        OSError: It cannot be stored.
    """
    folder = demo_folder()
    if path.parent == folder and not path.exists():
        make_demo(folder)


def make_demo(folder: Path) -> None:
    """Make the demo clip: `lemur.mp4` with sound, `plate.png`, and `truth.mkv`, its alpha.

    Args:
        folder: Where to; it appears with everything in it.
    """
    load_av()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{uuid.uuid4().hex[:12]}")
    partial.mkdir()
    try:
        plate = demo_plate()
        cv2.imwrite(str(partial / "plate.png"), plate[:, :, ::-1])
        _encode(partial, plate)
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another process was quicker
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def demo_plate() -> NDArray[np.uint8]:
    """The empty scene of the demo clip, RGB, (H, W, 3)."""
    scene = to_uint8(read_image(Path(demo_path("bgr")) / f"{_SCENE}.jpg"))
    return np.asarray(cv2.resize(scene, SIZE, interpolation=cv2.INTER_AREA), np.uint8)


def _subject() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The subject's colours multiplied by its alpha, and its alpha, both in [0, 1]."""
    photo = to_uint8(read_image(Path(demo_path("src")) / f"{_SUBJECT}.jpg")).astype(np.float32)
    plate = to_uint8(read_image(Path(demo_path("bgr")) / f"{_SUBJECT}.jpg")).astype(np.float32)
    alpha = read_alpha(Path(demo_path("pha")) / f"{_SUBJECT}.png").astype(np.float32) / 255
    # a F + (1 - a) B = I: what is left of the photograph without its plate is the subject.
    lit = (photo - (1 - alpha[..., None]) * plate).clip(0, 255) / 255
    lit = np.minimum(lit, alpha[..., None])
    return lit.astype(np.float32), np.asarray(alpha, np.float32)


def composites(plate: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """The frames of the demo clip with their true alpha.

    Args:
        plate: The empty scene, (H, W, 3).

    Yields:
        RGB, (H, W, 3), and alpha, (H, W).
    """
    lit, alpha = _subject()
    random = np.random.default_rng(_SEED)
    width, height = SIZE
    background = plate.astype(np.float32) / 255
    for number in range(FRAMES):
        moved = (number - EMPTY) / (FRAMES - EMPTY)
        scale = 0.62 + 0.08 * np.sin(moved * 2 * np.pi)
        left = width * (0.77 - 0.8 * moved)
        top = height - alpha.shape[0] * scale + 6 * np.sin(moved * 8 * np.pi)
        placed = np.array([[scale, 0, left], [0, scale, top]], np.float32)
        colours, matte = (
            cv2.warpAffine(layer, placed, SIZE, flags=cv2.INTER_AREA) for layer in (lit, alpha)
        )
        if number < EMPTY:
            colours, matte = colours * 0, matte * 0
        frame = colours + (1 - matte[..., None]) * background
        frame = frame * 255 + random.normal(0, _NOISE, frame.shape)
        yield (
            np.asarray(frame.round().clip(0, 255), np.uint8),
            np.asarray((matte * 255).round().clip(0, 255), np.uint8),
        )


def _encode(folder: Path, plate: NDArray[np.uint8]) -> None:
    av = load_av()
    reformatter = av.video.reformatter.VideoReformatter()
    with (
        av.open(str(folder / "lemur.mp4"), "w") as film,
        av.open(str(folder / "truth.mkv"), "w") as truth,
    ):
        film.metadata.update({"title": "A lemur in front of a mountain", "timecode": "10:00:00:00"})
        stream = film.add_stream("libx264", rate=RATE)
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "14", "preset": "medium"}
        context = stream.codec_context
        context.colorspace = context.color_range = 1
        context.color_primaries = context.color_trc = 1
        sound = film.add_stream("aac", rate=48000, layout="mono")
        grey = truth.add_stream("ffv1", rate=RATE)
        grey.width, grey.height = SIZE
        grey.pix_fmt, grey.codec_context.color_range = "gray", 2
        with closing(composites(plate)) as frames:  # type: ignore[type-var]
            for number, (pixels, alpha) in enumerate(frames):
                frame = reformatter.reformat(
                    av.VideoFrame.from_ndarray(pixels, format="rgb24"),
                    format="yuv420p",
                    dst_colorspace=1,
                    dst_color_range=1,
                )
                frame.pts = number
                film.mux(stream.encode(frame))
                _add_sound(av, film, sound, number)
                frame = av.VideoFrame.from_ndarray(alpha, format="gray")
                frame.pts = number
                truth.mux(grey.encode(frame))
        for container, last in ((film, stream), (film, sound), (truth, grey)):
            container.mux(last.encode(None))


def _add_sound(av: Any, film: Any, sound: Any, number: int) -> None:
    """A tone that comes and goes with the subject, as long as one frame."""
    count = round(48000 / RATE)
    at = np.arange(count) + number * count
    loud = 0.3 * max(0.0, np.sin(np.pi * (number - EMPTY) / (FRAMES - EMPTY)))
    wave = loud * np.sin(2 * np.pi * _TONE * at / 48000)
    samples = (wave * 32767).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, number * count, Fraction(1, 48000)
    film.mux(sound.encode(frame))
