"""Prints the table of `docs/video.md`: what each format of videos does to colours and alpha.

Usage: python scripts/measure_formats.py [FORMAT ...]

Colours are flat (an encoder's worst habits do not show), alpha is a ramp; both are read back with
the decoder that shows them. Times are of the processor, for the frames of the demo clip enlarged to
full HD, conversion included; they add up over threads.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bgm.config.video import FORMATS_FOLDER, VideoFormat, load_format
from bgm.data.video.clip import ClipInfo, Range
from bgm.data.video.container import VideoFile
from bgm.data.video.demo import composites, demo_plate
from bgm.layers import VIDEO_FORMATS
from bgm.locations import conf_directory
from bgm.outputs.video.encoder import FilePlan, VideoEncoder

COLOURS = [(30, 200, 60), (255, 255, 255), (0, 0, 0), (200, 30, 30), (20, 20, 220), (128, 128, 128)]
HD, SMALL = (1920, 1080), (256, 144)
FRAMES = 12
BASE = Fraction(1, 12800)


def encode(path: Path, form: VideoFormat, frames: Iterator[Any], size: tuple[int, int]) -> Path:
    """Write frames; the path of the file."""
    encoder = VideoEncoder(FilePlan(path, form, ClipInfo(size, Fraction(25), BASE), None, None))
    for number, pixels in enumerate(frames):
        encoder.write(pixels, 512 * number, 512)
    encoder.finish_writing(whole=True)
    named = encoder.name(whole=True)
    assert named is not None
    return named


def first(path: Path, *, alpha: bool = False) -> Any:
    """The first frame, from 0 to 255."""
    frame = next(iter(VideoFile(path, "x", alpha=alpha).read(Range())))
    assert not isinstance(frame.pixels, Exception)
    return frame.pixels * (1.0 if frame.pixels.dtype == np.uint8 else 255.0)


def errors(form: VideoFormat, channels: int, folder: Path) -> tuple[float, float | None]:
    """The largest errors of flat colours and, if there is one, of alpha."""
    width, height = SMALL
    ramp = np.tile(np.linspace(0, 255, width).round().astype(np.uint8), (height, 1))
    path = folder / f"flat.{form.extension}"
    colour_error, alpha_error = 0.0, 0.0
    for colour in COLOURS:
        flat = np.full((height, width, 3), colour, np.uint8)
        frame = np.dstack([flat, ramp]) if channels == 4 else flat
        encode(path, form, iter([frame] * 4), SMALL)
        middle = first(path)[8:-8, width // 2 : -8]
        colour_error = max(colour_error, float(np.abs(middle - colour).max()))
        if channels == 4:
            back = first(path, alpha=True)
            alpha_error = max(alpha_error, float(np.abs(back - ramp).max()))
    return colour_error, alpha_error if channels == 4 else None


def grey_error(form: VideoFormat, folder: Path) -> float:
    """The largest error of a grey ramp, as alpha on its own is stored."""
    width, height = SMALL
    ramp = np.tile(np.linspace(0, 255, width).round().astype(np.uint8), (height, 1))
    path = encode(folder / f"grey.{form.extension}", form, iter([ramp] * 4), SMALL)
    return float(np.abs(first(path, alpha=True) - ramp).max())


def frames_of(channels: int) -> list[Any]:
    """Frames of the demo clip as a layer would have them, in full HD."""
    made = []
    for pixels, alpha in islice(composites(demo_plate()), 40, 40 + FRAMES):
        matte = cv2.resize(alpha, HD)
        large = cv2.resize(pixels, HD, interpolation=cv2.INTER_CUBIC)
        cutout = np.dstack([cv2.bitwise_and(large, large, mask=matte), matte])
        made.append({1: matte, 3: large, 4: cutout}[channels])
    return made


def main() -> None:
    """Measure the formats that are named, or all."""
    sizes = {1: "pha", 3: "opaque", 4: "com"}
    print("| format | layer | pixels | colour | alpha | ms | MB |")
    print("|---|---|---|---|---|---|---|")
    for name in sys.argv[1:] or sorted(VIDEO_FORMATS - {"nvenc"}):
        form = load_format(name, conf_directory() / FORMATS_FOLDER)
        for channels in (4, 3, 1):
            stored = form.pixels_for(channels, 8)
            if stored is None:
                continue
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                if channels == 1:
                    found: tuple[float | None, float | None] = (None, grey_error(form, folder))
                else:
                    found = errors(form, channels, folder)
                frames = frames_of(channels)
                begun = time.process_time()
                path = encode(folder / f"hd.{form.extension}", form, iter(frames), HD)
                spent = (time.process_time() - begun) * 1000 / FRAMES
                megabytes = path.stat().st_size / FRAMES / 1e6
            said = ["" if value is None else f"{value:.1f}" for value in found]
            print(
                f"| `{name}` | {sizes[channels]} | `{stored}` | {said[0]} | {said[1]} "
                f"| {spent:.0f} | {megabytes:.2f} |"
            )


if __name__ == "__main__":
    main()
