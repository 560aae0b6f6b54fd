"""The schema of `bgm-train`'s configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from bgm.config.schema import (
    BackboneConfig,
    DeviceConfig,
    ModelName,
    OnExisting,
    TrackingConfig,
    require,
)
from bgm.errors import ConfigError

TrainPrecision = Enum("TrainPrecision", ["auto", "float32", "bfloat16", "float16"])


@dataclass
class PicturesConfig:
    """The pictures that composites are made of."""

    foregrounds: list[str] = MISSING
    backgrounds: list[str] = MISSING
    alphas: str | None = None
    foreground_side: int = 1024
    background_side: int = 1600
    cache: str = MISSING

    def __post_init__(self) -> None:
        for key in ("foreground_side", "background_side"):
            require(getattr(self, key) >= 64, f"data.{key}", getattr(self, key), "64 or more")


@dataclass
class TrainDataConfig(PicturesConfig):
    """The pictures to train with."""

    held_out: float = 0.1
    validation: list[str] = field(default_factory=list)
    workers: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.held_out < 1, "data.held_out", self.held_out, "from 0 to below 1")
        if self.workers is not None:
            require(self.workers >= 0, "data.workers", self.workers, "0 or more, or null")


@dataclass
class CompositeConfig:
    """How often things happen in a composite, as shares of 1; and what is drawn how often."""

    empty: float = 0.04
    several: float = 0.2
    drawn: float = 0.35
    hard: float = 0.2
    shadow: float = 0.5
    strangers: float = 0.08
    uneven_light: float = 0.3
    exposure: float = 0.8
    shaken: float = 0.6
    blurred: float = 0.25
    aliased: float = 0.4
    flat: float = 0.12
    upright: float = 0.8
    whole: float = 0.0
    balance: float = 0.25

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            require(0 <= value <= 1, f"composites.{key}", value, "from 0 to 1")


@dataclass
class LossConfig:
    """Weight of each loss."""

    alpha: float = 1.0
    edges: float = 1.0
    laplacian: float = 1.0
    foreground: float = 1.0
    error: float = 1.0
    solid: float = 0.3

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            require(value >= 0, f"stage.losses.{key}", value, "0 or more")


@dataclass
class StageConfig:
    """One stage of training: which part of the network learns, how long, at what pace."""

    name: str = "base"
    model: ModelName = ModelName.base
    frozen: bool = False
    keep_norms: bool = False
    steps: int = 80_000
    rate: float = 1e-3
    warmup: int = 500
    decay: int = 16_000
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.999
    sizes: list[list[int]] = field(default_factory=lambda: [[192, 192]])
    pixels: int = 300_000
    scales: list[float] = field(default_factory=lambda: [0.25])
    refined: float = 0.25
    losses: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        for key in ("steps", "pixels"):
            require(getattr(self, key) >= 1, f"stage.{key}", getattr(self, key), "1 or more")
        for key in ("rate", "clip"):
            require(getattr(self, key) > 0, f"stage.{key}", getattr(self, key), "above 0")
        for key in ("warmup", "decay", "weight_decay"):
            require(getattr(self, key) >= 0, f"stage.{key}", getattr(self, key), "0 or more")
        require(0 <= self.average < 1, "stage.average", self.average, "from 0 to below 1")
        require(0 < self.refined <= 1, "stage.refined", self.refined, "above 0 and at most 1")
        whole = 16 if self.model is ModelName.base else 4
        fits = all(len(s) == 2 and all(x >= 32 and x % whole == 0 for x in s) for s in self.sizes)
        require(bool(self.sizes) and fits, "stage.sizes", self.sizes, _SIZES.format(whole))
        fits = all(0 < scale <= 0.5 for scale in self.scales)
        require(bool(self.scales) and fits, "stage.scales", self.scales, "in (0, 0.5], one or more")
        if self.frozen and self.model is ModelName.base:
            raise ConfigError("stage.frozen=true leaves nothing to learn with stage.model=base")

    @property
    def coarse_side(self) -> int:
        """The longest side of what the coarse network sees, in pixels."""
        scale = 1.0 if self.model is ModelName.base else max(self.scales)
        return round(max(max(size) for size in self.sizes) * scale)


_SIZES = "pairs [height, width], each 32 or more and divisible by {}"


@dataclass
class ValidationConfig:
    """The fixed set that the network is tried on along the way."""

    every: int = 2000
    count: int = 8
    sizes: list[list[int]] = field(default_factory=lambda: [[272, 480]])
    seed: int = 12345

    def __post_init__(self) -> None:
        for key in ("every", "count"):
            require(getattr(self, key) >= 1, f"validation.{key}", getattr(self, key), "1 or more")
        fits = all(len(s) == 2 and all(x >= 32 and x % 4 == 0 for x in s) for s in self.sizes)
        require(bool(self.sizes) and fits, "validation.sizes", self.sizes, _SIZES.format(4))


@dataclass
class TrainConfig:
    """One run of `bgm-train`."""

    stage: StageConfig = field(default_factory=StageConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    data: TrainDataConfig = field(default_factory=TrainDataConfig)
    composites: CompositeConfig = field(default_factory=CompositeConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    checkpoint: str | None = None
    precision: TrainPrecision = TrainPrecision.auto
    threads: int | None = None
    seed: int = 0
    preview: int = 0
    validate_only: bool = False
    log_seconds: float = 20
    save_minutes: float = 5
    on_existing: OnExisting = OnExisting.error
    output_dir: str = MISSING

    def __post_init__(self) -> None:
        if self.threads is not None:
            require(self.threads >= 1, "threads", self.threads, "1 or more, or null")
        require(0 <= self.seed < 2**31, "seed", self.seed, f"from 0 to {2**31 - 1}")
        require(self.preview >= 0, "preview", self.preview, "0 or more")
        if self.on_existing is OnExisting.skip:
            raise ConfigError("on_existing=skip: a training goes on with resume, or starts anew")
