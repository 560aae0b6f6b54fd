"""The schema of each command's configuration: keys, types, defaults, ranges, contradictions.

Enumerations are named as they are written in YAML, so that a wrong value is answered with the
legal ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bgm.config.edges import EdgesConfig
from bgm.config.engine import EngineConfig
from bgm.config.experiments import ComparisonSettings, ExperimentSettings
from bgm.config.sets import SetFolders
from bgm.config.video import FORMATS_FOLDER, ClipDataConfig, DataKind, VideoFormat, load_format
from bgm.data.kinds import is_film
from bgm.data.plates import MEDIAN
from bgm.errors import ConfigError
from bgm.errors import require as require
from bgm.layers import LAYERS, VIDEO_FORMATS
from bgm.locations import conf_directory
from bgm.locations import demo_path as demo_path

OmegaConf.register_new_resolver("bgm.demo", demo_path, replace=True)

ModelName = Enum("ModelName", ["refine", "base"])
BackboneName = Enum("BackboneName", ["mobilenetv2", "resnet50", "resnet101"])
RefineMode = Enum("RefineMode", ["sampling", "thresholding", "full"])
Precision = Enum("Precision", ["float32", "bfloat16", "float16", "int8"])
OnExisting = Enum("OnExisting", ["error", "resume", "skip", "overwrite"])
OnSuspect = Enum("OnSuspect", ["note", "copy", "fail"])
OnError = Enum("OnError", ["continue", "stop"])
OnOutOfMemory = Enum("OnOutOfMemory", ["cpu", "fail"])
Unmatched = Enum("Unmatched", ["error", "skip"])
PlateChoice = Enum("PlateChoice", ["name", "folder", "time", "median"])
Region = Enum("Region", ["auto", "whole", "unknown"])
Provider = Enum("Provider", ["cpu", "cuda", "coreml", "directml"])
WandbMode = Enum("WandbMode", ["offline", "online", "disabled"])
WandbSync = Enum("WandbSync", ["none", "end"])
BenchmarkPart = Enum("BenchmarkPart", ["network", "pipeline", "free", "steps", "codecs"])

AUTO = "auto"

MAX_BAND = 500
"""Pixels: a wider band takes hours to derive, and is the whole of most images."""


def _check_count(key: str, value: int | None) -> None:
    if value is not None:
        require(value >= 1, key, value, "1 or more, or null")


@dataclass
class ModelConfig:
    """Which network, and the scale of its coarse pass."""

    name: ModelName = ModelName.refine
    backbone_scale: int | float | str = AUTO

    def __post_init__(self) -> None:
        scale = self.backbone_scale
        holds = scale == AUTO if isinstance(scale, str) else 0 < scale <= 0.5
        require(holds, "model.backbone_scale", scale, "auto, or above 0 and at most 0.5")


@dataclass
class BackboneConfig:
    """The encoder of the coarse network."""

    name: BackboneName = BackboneName.mobilenetv2


@dataclass
class RefineConfig:
    """How the refiner chooses its blocks."""

    mode: RefineMode = RefineMode.sampling
    sample_pixels: int | str = AUTO
    threshold: float = 0.1
    kernel_size: int = 3

    def __post_init__(self) -> None:
        pixels = self.sample_pixels
        holds = pixels == AUTO if isinstance(pixels, str) else pixels >= 0
        require(holds, "refine.sample_pixels", pixels, "auto, or a whole number from 0")
        require(0 <= self.threshold <= 1, "refine.threshold", self.threshold, "from 0 to 1")
        require(self.kernel_size in (1, 3), "refine.kernel_size", self.kernel_size, "1 or 3")


@dataclass
class DeviceConfig:
    """Where to compute."""

    name: str = "auto"
    oom: OnOutOfMemory = OnOutOfMemory.cpu


@dataclass
class RuntimeConfig:
    """What computes the coarse network, or a network file."""

    name: str = "auto"
    provider: Provider = Provider.cpu


@dataclass
class CalibrationConfig:
    """Pictures that `precision=int8` is calibrated with."""

    src: str = field(default_factory=lambda: demo_path("src"))
    bgr: str = field(default_factory=lambda: demo_path("bgr"))


@dataclass
class DataConfig(ClipDataConfig):
    """Where the photographs are, and how they are prepared."""

    root: str | None = None
    folders: SetFolders = field(default_factory=SetFolders)
    src: str = MISSING
    bgr: str = MISSING
    pha: str | None = None
    fgr: str | None = None
    trimap: str | None = None
    images: int | None = None
    plate: PlateChoice = PlateChoice.name
    align: bool | str = False
    match_exposure: bool = False
    resize_background: bool = False
    unmatched: Unmatched = Unmatched.error
    max_megapixels: float = 400
    batch_size: int | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        require(
            0 < self.max_megapixels < math.inf,
            "data.max_megapixels",
            self.max_megapixels,
            "above 0 and finite",
        )
        _check_count("data.batch_size", self.batch_size)
        _check_count("data.workers", self.workers)
        _check_count("data.images", self.images)
        if self.images is not None and self.kind is DataKind.video:
            raise ConfigError("data.images is for photographs, not for clips; leave it out")
        if isinstance(self.align, str):
            require(self.align == "frames", "data.align", self.align, "true, false or frames")
            if self.kind is not DataKind.video:
                raise ConfigError("data.align=frames is for clips; data.align=true aligns pictures")
        self.check_clips()
        self._check_plate()

    @property
    def max_pixels(self) -> int:
        """Pixels of the largest image that is decoded."""
        return round(self.max_megapixels * 1e6)

    def _check_plate(self) -> None:
        if self.bgr == MEDIAN and self.plate is not PlateChoice.name:
            raise ConfigError(
                f"data.plate={self.plate.name} chooses among backgrounds, but data.bgr=median "
                "makes them of the photographs; leave one out"
            )
        if self.kind is DataKind.video and self.plate is not PlateChoice.name:
            raise ConfigError("data.plate is for pictures, not for clips")


def _takes(name: str, channels: int, bits: int) -> bool:
    """Whether a format of videos has a place for a layer."""
    found = load_format(name, conf_directory() / FORMATS_FOLDER)
    return found.pixels_for(channels, bits) is not None


Class = TypeVar("Class", bound=type)


def _with_layers(schema: Class) -> Class:
    """Add the settings of each type of layer, under its name."""
    for name, layer in LAYERS.items():
        schema.__annotations__[name] = layer.settings_type
        setattr(schema, name, field(default_factory=layer.settings_type))
    return schema


@dataclass
@_with_layers
class OutputsConfig:
    """Which layers are kept, and how."""

    types: list[str] = field(default_factory=lambda: ["com", "pha", "fgr"])
    metadata: bool = True
    png_level: int = 1
    workers: int | None = None
    audio: bool = True
    formats: dict[str, VideoFormat] = field(default_factory=dict)

    def __post_init__(self) -> None:
        legal = ", ".join(LAYERS)
        require(bool(self.types), "outputs.types", "[]", f"at least one of {legal}")
        for name in self.types:
            if name not in LAYERS:
                raise ConfigError(
                    f"outputs.types: Invalid value '{name}', expected one of [{legal}]"
                )
        require(
            len(set(self.types)) == len(self.types), "outputs.types", self.types, "different layers"
        )
        for name, layer in LAYERS.items():
            layer.check(self.layer(name))
        for name in self.types:
            self._check_video(name)
        require(0 <= self.png_level <= 9, "outputs.png_level", self.png_level, "from 0 to 9")
        _check_count("outputs.workers", self.workers)

    def layer(self, name: str) -> Any:
        """The settings of one type of layer."""
        return getattr(self, name)

    def _check_video(self, name: str) -> None:
        """Refuse a format of videos that has no place for a layer."""
        settings = self.layer(name)
        chosen = self.formats.get(settings.format.name)
        if chosen is None:
            return
        channels = LAYERS[name].channels
        if channels == 4 and getattr(settings, "background", None) is not None:
            channels = 3
        bits = getattr(settings, "bits", 8)
        if chosen.pixels_for(channels, bits) is None:
            key = f"outputs.{name}.format={settings.format.name}"
            if chosen.pixels_for(channels, 8) is not None:
                raise ConfigError(f"{key} has 8 bits; leave out outputs.{name}.bits={bits}")
            what = {1: "no grey", 3: "no place for opaque colours", 4: "no alpha"}[channels]
            fitting = sorted(f for f in VIDEO_FORMATS if _takes(f, channels, bits))
            raise ConfigError(f"{key} has {what}; choose {', '.join(fitting)} or png")


@dataclass
class ScoresConfig:
    """Where a matte is compared with the truth; auto: the unknown region if there is a trimap."""

    region: Region = Region.auto
    band: int = 20

    def __post_init__(self) -> None:
        require(1 <= self.band <= MAX_BAND, "scores.band", self.band, f"from 1 to {MAX_BAND}")


@dataclass
class TrackingConfig:
    """Who is told about the run, besides its own files."""

    name: str = "wandb"
    mode: WandbMode = WandbMode.offline
    sync: WandbSync = WandbSync.none
    project: str = "bgm"
    run_name: str | None = None
    group: str | None = None
    job_type: str = "matte"
    tags: list[str] = field(default_factory=list)
    samples: int = 8
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.samples >= 0, "tracking.samples", self.samples, "0 or more")


@dataclass
class Config(ExperimentSettings):
    """One run of `bgm`."""

    model: ModelConfig = field(default_factory=ModelConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    data: DataConfig = field(default_factory=DataConfig)
    edges: EdgesConfig = field(default_factory=EdgesConfig)
    outputs: OutputsConfig = field(default_factory=OutputsConfig)
    scores: ScoresConfig = field(default_factory=ScoresConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    checkpoint: str = "auto"
    checkpoints_dir: str | None = None
    network_file: str | None = None
    precision: Precision = Precision.float32
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    threads: int | None = None
    sweep_cache_mb: int = 2000
    seed: int = 0
    on_existing: OnExisting = OnExisting.error
    on_error: OnError = OnError["continue"]
    on_suspect: OnSuspect = OnSuspect.note
    suspect_above: float = 0.7
    dry_run: bool = False
    repeat: str | None = None
    output_dir: str = MISSING

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_objective({"data.pha": self.data.pha, "data.fgr": self.data.fgr})
        _check_count("threads", self.threads)
        require(0 <= self.suspect_above <= 1, "suspect_above", self.suspect_above, "from 0 to 1")
        require(self.sweep_cache_mb >= 0, "sweep_cache_mb", self.sweep_cache_mb, "0 or more")
        require(0 <= self.seed < 2**31, "seed", self.seed, f"from 0 to {2**31 - 1}")
        for name in self.outputs.types:
            if self.model.name is ModelName.base and LAYERS[name].needs_refiner:
                raise ConfigError(
                    f"outputs.types has {name}, {LAYERS[name].shows}, but model=base has no "
                    f"refiner; choose model=refine or leave {name} out"
                )
        background = self.outputs.com.background  # type: ignore[attr-defined]
        is_video = self.data.kind is DataKind.video
        if background is not None and is_film(Path(background)) and not is_video:
            raise ConfigError(
                f"outputs.com.background={background}: a clip is the background of clips; give a "
                "picture or a colour"
            )
        for name in self.outputs.types:
            chosen = self.outputs.layer(name).format.name
            if chosen in VIDEO_FORMATS and not is_video:
                raise ConfigError(
                    f"outputs.{name}.format={chosen} is for clips; add data=video, or leave out "
                    "outputs=video"
                )
        if self.dry_run and self.objective is not None:
            raise ConfigError(
                "dry_run=true mattes nothing, so objective has no figures; leave one out"
            )
        if is_video and self.on_suspect is not OnSuspect.note:
            raise ConfigError(
                f"on_suspect={self.on_suspect.name} is for pictures: a clip keeps all its frames; "
                "leave it out"
            )
        for key in ("fgr", "trimap"):
            if getattr(self.data, key) is not None and self.data.pha is None:
                raise ConfigError(f"data.{key} is for scoring, which needs data.pha too")
        if self.data.trimap is not None and self.scores.region is Region.whole:
            raise ConfigError("data.trimap is not used with scores.region=whole; leave one out")
        self._check_network_file()

    def _check_network_file(self) -> None:
        provider = self.runtime.provider.name
        if self.network_file is None:
            if self.runtime.provider is not Provider.cpu:
                raise ConfigError(f"runtime.provider={provider} is for network_file=...")
        elif self.device.name not in ("auto", "cpu"):
            raise ConfigError(
                f"device={self.device.name} does not go with network_file, which computes on the "
                "CPU, or of ONNX Runtime where runtime.provider says"
            )
        elif self.precision is not Precision.float32:
            raise ConfigError(
                f"precision={self.precision.name} does not go with network_file, which has the "
                "precision that it was exported with; leave it out"
            )


@dataclass
class BenchmarkConfig:
    """One run of `bgm-benchmark`."""

    model: ModelConfig = field(default_factory=ModelConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    checkpoint: str = "auto"
    checkpoints_dir: str | None = None
    precision: Precision = Precision.float32
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    threads: int | None = None
    batch_size: int | None = None
    width: int = 1920
    height: int = 1080
    images: int = 12
    rounds: int = 5
    parts: list[BenchmarkPart] = field(default_factory=lambda: list(BenchmarkPart))
    reference: bool = True
    output_dir: str = MISSING

    def __post_init__(self) -> None:
        _check_count("threads", self.threads)
        _check_count("batch_size", self.batch_size)
        for key in ("images", "rounds"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "1 or more")
        for key in ("width", "height"):
            value = getattr(self, key)
            # The reference, as the original, takes no other sizes.
            require(value >= 16 and value % 4 == 0, key, value, "16 or more, divisible by 4")
        require(bool(self.parts), "parts", "[]", "at least one part")


@dataclass
class CompareConfig(ComparisonSettings):
    """One run of `bgm-compare`."""

    runs: list[str] = MISSING
    output_dir: str = MISSING

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.runs), "runs", "[]", "at least one directory")


@dataclass
class EvaluateConfig:
    """One run of `bgm-evaluate`."""

    pred: str = MISSING
    true: str = MISSING
    trimap: str | None = None
    scores: ScoresConfig = field(default_factory=ScoresConfig)
    unmatched: Unmatched = Unmatched.error
    workers: int | None = None
    output_dir: str = MISSING

    def __post_init__(self) -> None:
        _check_count("workers", self.workers)
        if self.trimap is not None and self.scores.region is Region.whole:
            raise ConfigError("trimap is not used with scores.region=whole; leave one out")


def to_plain(config: Any) -> dict[str, Any]:
    """A configuration, typed or as Hydra composed it, as nested plain values."""
    node = config if OmegaConf.is_config(config) else OmegaConf.structured(config)
    try:
        plain: Any = OmegaConf.to_container(node, resolve=True, enum_to_str=True)
    except OmegaConfBaseException:  # a refused configuration, as it was written
        plain = OmegaConf.to_container(node, resolve=False, enum_to_str=True)
    return {str(key): value for key, value in plain.items()}
