"""The schema of `bgm-export`'s configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from bgm.config.schema import (
    BackboneConfig,
    DataConfig,
    ModelConfig,
    ModelName,
    RefineConfig,
    RefineMode,
    require,
)
from bgm.config.video import DataKind
from bgm.errors import ConfigError

ExportFormat = Enum("ExportFormat", ["torch", "onnx", "openvino", "torchscript"])
ExportPrecision = Enum("ExportPrecision", ["float32", "float16", "int8"])

_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
_BLOCK = 4
_LEAST = 16


@dataclass
class ToleranceConfig:
    """How far a file may be from torch; null: what is usual for the precision."""

    coarse: float | None = None
    blocks: float | None = None
    alpha: float | None = None
    mean: float | None = None
    score: float | None = None

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            if value is not None:
                require(0 <= value <= 1, f"tolerance.{key}", value, "from 0 to 1, or null")


@dataclass
class ExportConfig:
    """One run of `bgm-export`."""

    model: ModelConfig = field(default_factory=ModelConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    data: DataConfig = field(default_factory=DataConfig)
    format: ExportFormat = ExportFormat.onnx
    precision: ExportPrecision = ExportPrecision.float32
    sizes: list[str] = field(default_factory=list)
    images: int = 4
    tolerance: ToleranceConfig = field(default_factory=ToleranceConfig)
    checkpoint: str = "auto"
    checkpoints_dir: str | None = None
    threads: int | None = None
    output_dir: str = MISSING

    def __post_init__(self) -> None:
        require(self.images >= 1, "images", self.images, "1 or more")
        if self.threads is not None:
            require(self.threads >= 1, "threads", self.threads, "1 or more, or null")
        for text in self.sizes:
            width, height = parse_size(text)
            multiple = 1 if self.model.name is ModelName.base else _BLOCK
            require(
                min(width, height) >= _LEAST and width % multiple == height % multiple == 0,
                "sizes",
                text,
                f"WIDTHxHEIGHT, {_LEAST} or more, divisible by {multiple}",
            )
        require(len(set(self.sizes)) == len(self.sizes), "sizes", self.sizes, "different sizes")
        self._check_format()

    def _check_format(self) -> None:
        legacy = self.format is ExportFormat.torchscript
        if legacy and not self.sizes:
            raise ConfigError(
                "format=torchscript is for fixed sizes, as its tracer bakes them in; pass "
                "sizes=[1920x1080], or use format=torch"
            )
        if self.precision is ExportPrecision.int8 and self.format.name not in ("onnx", "openvino"):
            raise ConfigError(
                f"precision=int8 is for format=onnx and openvino, not {self.format.name}"
            )
        pixels = self.refine.sample_pixels
        if self.refine.mode is RefineMode.sampling and isinstance(pixels, int) and pixels < 16:
            raise ConfigError(
                f"refine.sample_pixels={pixels}: refines nothing, which cannot be exported; 16 is "
                "the least, or export model=base"
            )
        if self.data.kind is DataKind.video:
            raise ConfigError("data=video: files are checked with photographs; choose data=folders")


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of `1920x1080`.

    Raises:
        ConfigError: It is no such size.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(f"sizes={text}: must be WIDTHxHEIGHT, such as 1920x1080")
    return int(match[1]), int(match[2])
