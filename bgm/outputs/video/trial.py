"""Tries formats of videos, so that what cannot work is refused before any work."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from bgm.config.video import VideoFormat
from bgm.data.video.clip import ClipInfo
from bgm.errors import BgmError, ConfigError
from bgm.outputs.video.encoder import FilePlan, VideoEncoder

_TRIAL = (144, 256)  # height and width that every encoder takes
_TRIAL_FRAMES = 4  # libx265 fails now and then with fewer
_HARDWARE = ("_nvenc", "_qsv", "_amf", "_vaapi", "_videotoolbox", "_vulkan", "_mf", "_v4l2m2m")
"""Ends the names of FFmpeg's encoders that are pieces of hardware."""


def try_format(key: str, form: VideoFormat, channels: int, bits: int) -> None:
    """Encode a few small frames, so that what cannot work is refused before any work.

    Args:
        key: The setting that chose the format, for the message.
        form: The format.
        channels: Of the layer that is to be stored.
        bits: Of its channels.

    Raises:
        ConfigError: This build of FFmpeg, this machine or the format's file cannot do it.
    """
    shape = (*_TRIAL, channels)[: 2 if channels == 1 else 3]
    pixels = np.zeros(shape, np.uint8 if bits == 8 else np.uint16)
    info = ClipInfo(_TRIAL[::-1], Fraction(25), Fraction(1, 25))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"trial.{form.extension}"
        encoder = VideoEncoder(FilePlan(path, form, info, None, None))
        try:
            for time in range(_TRIAL_FRAMES):
                encoder.write(pixels, time, 1)
            encoder.finish_writing(whole=True)
        except (BgmError, KeyError, TypeError) as error:
            encoder.abandon()
            reason = str(error).replace(f"{path} cannot be ", "").replace(str(path), "")
            reason = reason.removeprefix("written: ")
            raise ConfigError(_refusal(key, form.codec, reason)) from None


def _refusal(key: str, codec: str, reason: str) -> str:
    if codec.endswith(_HARDWARE):
        return (
            f"{key}: the hardware encoder {codec} is not available here ({reason}); it needs its "
            "device, the driver and a PyAV that has it; choose mp4 to encode by the processor"
        )
    return f"{key} does not work here: {reason}"
