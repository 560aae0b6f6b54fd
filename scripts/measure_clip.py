"""Prints how fast a full-HD clip is matted, from file to files, and how fast its network alone is.

Usage: python scripts/measure_clip.py [ROUNDS [FRAMES [SETTING ...]]]

The clip is the demo's, enlarged and repeated, H.264; its files are the default ones, ProRes 4444
and FFV1. The network alone gets frames that are decoded already, one at a time. Both take turns, in
one process, so the time of importing and of loading weights is in neither.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import cv2
import torch

from bgm import load_matting, matte_video
from bgm.data.processors import POLITE
from bgm.data.video.demo import EMPTY, RATE, composites, demo_plate
from bgm.data.video.library import load_av
from bgm.inference.matting import Matting

HD = (1920, 1080)
ALONE = 30  # frames


def enlarged(pixels: Any) -> Any:
    """Pixels of the demo in full HD."""
    return cv2.resize(pixels, HD, interpolation=cv2.INTER_CUBIC)


def make_clip(path: Path, frames: list[Any], count: int) -> None:
    """Write frames, over and over, until there are enough."""
    av = load_av()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height = HD
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18", "preset": "veryfast"}
        for pixels in islice(chain.from_iterable(repeat(frames)), count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def network_alone(matting: Matting, frames: list[Any], plate: Any) -> float:
    """Frames a second."""
    with torch.inference_mode():
        matting(frames[0], plate)
        begun = time.perf_counter()
        for number in range(ALONE):
            matting(frames[number % len(frames)], plate)
    return ALONE / (time.perf_counter() - begun)


def whole_clip(matting: Matting, folder: Path, settings: list[str]) -> float:
    """Frames a second."""
    begun = time.perf_counter()
    matted = matte_video(
        folder / "clip.mp4",
        folder / "plate.png",
        folder / "out",
        matting=matting,
        on_existing="overwrite",
        overrides=settings,
    )
    return matted.frames / (time.perf_counter() - begun)


def main() -> None:
    """Measure, and print each round and the medians."""
    arguments = sys.argv[1:]
    rounds, count = (int(a) for a in [*arguments[:2], *("3", "250")[len(arguments[:2]) :]])
    plate = demo_plate()
    frames = [enlarged(pixels) for pixels, _ in islice(composites(plate), EMPTY, None)]
    shares = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_clip(folder / "clip.mp4", frames, count)
        cv2.imwrite(str(folder / "plate.png"), enlarged(plate)[:, :, ::-1])
        matting = load_matting()
        for number in range(rounds):
            alone = network_alone(matting, frames, enlarged(plate))
            whole = whole_clip(matting, folder, arguments[2:])
            shares.append(whole / alone)
            print(
                f"round {number + 1}: network alone {alone:.2f} frames/s, "
                f"{count} frames from file to files {whole:.2f}: {whole / alone:.1%}",
                flush=True,
            )
    print(f"median: {statistics.median(shares):.1%}")


if __name__ == "__main__":
    if POLITE.keys() <= os.environ.keys():
        main()
    else:  # what the commands say to OpenMP has to be said before it starts
        environment = {**os.environ, **POLITE}
        sys.exit(subprocess.call([sys.executable, __file__, *sys.argv[1:]], env=environment))
