"""Settings of videos: how clips are read, and the formats they are written in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bgm.data.video.points import parse_point
from bgm.errors import ConfigError

DataKind = Enum("DataKind", ["pictures", "video"])
Deinterlace = Enum("Deinterlace", ["auto", "on", "off"])

FORMATS_FOLDER = "formats"
"""Where in `conf/` the formats of videos are, a file each."""

_NAME = re.compile(r"[\w.-]+")
_KINDS = ("grey8", "grey16", "rgb8", "rgb16", "rgba8", "rgba16")


@dataclass
class ClipDataConfig:
    """What only clips have among the settings of the data."""

    kind: DataKind = DataKind.pictures
    start: str | None = None
    end: str | None = None
    stride: int = 1
    frame_rate: str = "25"
    deinterlace: Deinterlace = Deinterlace.auto

    def check_clips(self) -> None:
        """Refuse points and rates that are none.

        Raises:
            ConfigError: It names the key.
        """
        for key in ("start", "end"):
            if getattr(self, key) is not None:
                parse_point(f"data.{key}", getattr(self, key))
        if self.stride < 1:
            raise ConfigError(f"data.stride={self.stride}: must be 1 or more")
        parse_rate(self.frame_rate)
        if self.kind is DataKind.pictures:
            for key in ("start", "end"):
                if getattr(self, key) is not None:
                    raise ConfigError(f"data.{key} is for clips; add data=video")


def parse_rate(text: str) -> Fraction:
    """Frames per second: `25`, `29.97`, `24000/1001`.

    Raises:
        ConfigError: It is no rate.
    """
    try:
        rate = Fraction(str(text))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise ConfigError(f"data.frame_rate={text}: must be frames per second, or a fraction")
    ntsc = Fraction(round(rate), 1) * 1000 / 1001  # 29.97 and its kin mean these
    return ntsc if rate.denominator != 1 and abs(rate - ntsc) < Fraction(1, 200) else rate


@dataclass
class VideoFormat:
    """A format of video files.

    Attributes:
        extension: Of the file, without the dot; it names the container.
        codec: FFmpeg's name of the encoder.
        pixels: FFmpeg's name of the pixels for each kind of layer that it takes: `grey8`, `rgb8`,
            `rgba8`, and the same with 16 bits.
        options: Of the encoder.
        container_options: Of the container.
        audio: The codec of sound that the container does not take as it is; null for no sound.
        even: Whether only even widths and heights can be encoded; others are filled up.
        full_range: Whether colours use all values, not 16 to 235.
    """

    extension: str = MISSING
    codec: str = MISSING
    pixels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    audio: str | None = "aac"
    even: bool = False
    full_range: bool = False

    def pixels_for(self, channels: int, bits: int) -> str | None:
        """The pixels that a layer is stored in; None if it has no place here.

        Args:
            channels: 1, 3 or 4.
            bits: 8 or 16.
        """
        kind = {1: "grey", 3: "rgb", 4: "rgba"}[channels]
        found = self.pixels.get(f"{kind}{bits}")
        return self.pixels.get(f"rgb{bits}") if found is None and channels == 1 else found

    def is_lossless_grey(self) -> bool:
        """Whether grey layers have pixels of their own here."""
        return any(kind.startswith("grey") for kind in self.pixels)


def load_format(name: str, folder: Path, given: Any = None) -> VideoFormat:
    """Read a format from its file.

    Args:
        name: Its name, or the path of a YAML file.
        folder: Where the files of formats are.
        given: Settings that win over those of the file, nested.

    Raises:
        ConfigError: There is no such format, or its file is not right.
    """
    own = Path(name).expanduser()
    path = own if own.suffix in (".yaml", ".yml") else folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise ConfigError(
            f"{name}: no such format of videos; there are {known}, and any YAML file of your own"
        )
    try:
        read = OmegaConf.load(path)
        merged = OmegaConf.merge(OmegaConf.structured(VideoFormat), read, given or {})
        assert isinstance(merged, DictConfig)
        missing = sorted(str(key) for key in OmegaConf.missing_keys(merged))
        if missing:
            raise ConfigError(f"{path} lacks {', '.join(missing)}")
        found = OmegaConf.to_object(merged)
    except (OmegaConfBaseException, OSError, ValueError) as error:
        message = str(error).partition("\n")[0]
        raise ConfigError(f"{path} is not a format of videos: {message}") from None
    assert isinstance(found, VideoFormat)
    unknown = sorted(set(found.pixels) - set(_KINDS))
    if unknown or not found.pixels:
        raise ConfigError(f"{path}: pixels has the keys {', '.join(_KINDS)}, any of them")
    if not _NAME.fullmatch(found.extension):
        raise ConfigError(f"{path}: extension={found.extension} is no extension of files")
    return found
