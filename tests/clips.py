"""Small clips for the tests, made by FFmpeg's encoders."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

GREEN = (30, 200, 60)
SIZE = (128, 96)


def colour_frame(rgb=GREEN, size=SIZE):
    return np.full((size[1], size[0], 3), rgb, np.uint8)


def moving_frames(count=12, size=SIZE, bright=False):
    """A flat scene with a square that moves, told apart by its place."""
    frames = []
    for number in range(count):
        frame = colour_frame((90, 110, 130), size)
        frame[20:60, 4 * number : 4 * number + 30] = (220, 60, 40)
        frames.append(frame)
    return frames


def write_clip(
    path: Path,
    frames,
    codec="libx264",
    pixels="yuv420p",
    rate=Fraction(25),
    times=None,
    time_base=None,
    matrix=1,
    full=False,
    tag=True,
    primaries=1,
    transfer=1,
    options=None,
    sound=None,
    timecode=None,
    rotation=None,
    aspect=None,
    title=None,
    flags=0,
    container_options=None,
):
    """Encode uint8 or uint16 RGB frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    reformatter = VideoReformatter()
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        if timecode:
            container.metadata["timecode"] = timecode
        if title:
            container.metadata["title"] = title
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        context = stream.codec_context
        if codec == "libx264":
            stream.options = {"crf": "1", "preset": "ultrafast", **(options or {})}
        elif options:
            stream.options = options
        context.thread_count = 1
        context.flags |= flags
        if time_base:
            context.time_base = time_base
        if aspect:
            context.sample_aspect_ratio = aspect
        if tag:
            context.colorspace, context.color_range = matrix, 2 if full else 1
            context.color_primaries, context.color_trc = primaries, transfer
        if rotation:
            stream.set_display_rotation(rotation)
        audio = None
        if sound:
            audio = container.add_stream(sound, rate=48000, layout="mono")
        for index, pixels_ in enumerate(frames):
            kind = {2: "gray", 3: "rgb24" if pixels_.dtype == np.uint8 else "rgb48le"}[pixels_.ndim]
            frame = av.VideoFrame.from_ndarray(pixels_, format=kind)
            sws = {5: 5, 6: 5, 9: 9, 0: None}.get(matrix, 1)
            frame = reformatter.reformat(
                frame,
                format=pixels,
                dst_colorspace=sws,
                dst_color_range=2 if full else 1,
                interpolation="BICUBIC",
            )
            frame.pts = index if times is None else times[index]
            frame.time_base = time_base or 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            seconds = float(len(frames) / rate)
            if times is not None:
                seconds = float((times[-1] + times[-1] - times[-2]) * time_base)
            write_sound(container, audio, seconds)
    return path


def write_sound(container, audio, seconds):
    samples = round(48000 * seconds)
    wave = np.sin(np.arange(samples) * 2 * np.pi * 440 / 48000) * 8000
    done = 0
    while done < samples:
        part = wave[done : done + 1024].astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, done, Fraction(1, 48000)
        container.mux(audio.encode(frame))
        done += part.shape[1]
    container.mux(audio.encode(None))
