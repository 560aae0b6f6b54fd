"""Prints how fast a full-HD clip is matted, from file to files, and how fast its network alone is.

Usage: python scripts/measure_clip.py [--rounds 3] [--frames 250] [SETTING ...]

The clip is the demo's, enlarged and repeated, H.264; its files are the default ones, ProRes 4444
and FFV1. The network alone gets frames that are decoded already, one at a time. Both take turns, in
one process, so the time of importing and of loading weights is in neither.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import torch

from bgm import load_matting, matte_video
from bgm.data.processors import wait_politely
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
        for pixels in islice(cycle(frames), count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def network_alone(matting: Matting, frames: list[Any], plate: Any) -> float:
    """Frames a second."""
    with torch.inference_mode():
        matting(frames[0], plate)
        begun = time.perf_counter()
        for pixels in islice(cycle(frames), ALONE):
            matting(pixels, plate)
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
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("settings", nargs="*")
    given = parser.parse_args()
    plate = demo_plate()
    frames = [enlarged(pixels) for pixels, _ in islice(composites(plate), EMPTY, None)]
    shares = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_clip(folder / "clip.mp4", frames, given.frames)
        cv2.imwrite(str(folder / "plate.png"), enlarged(plate)[:, :, ::-1])
        matting = load_matting()
        for number in range(given.rounds):
            alone = network_alone(matting, frames, enlarged(plate))
            whole = whole_clip(matting, folder, given.settings)
            shares.append(whole / alone)
            print(
                f"round {number + 1}: network alone {alone:.2f} frames/s, "
                f"{given.frames} frames from file to files {whole:.2f}: {whole / alone:.1%}",
                flush=True,
            )
    print(f"median: {statistics.median(shares):.1%}")


if __name__ == "__main__":
    wait_politely()  # has to be said before torch is imported, so in another process
    process = get_context("spawn").Process(target=main)
    process.start()
    process.join()
    sys.exit(process.exitcode)
