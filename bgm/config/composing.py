"""The schema of `bgm-compose`'s configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from bgm.config.schema import require
from bgm.config.training import CompositeConfig, PicturesConfig

OnExistingSet = Enum("OnExistingSet", ["error", "resume"])


@dataclass
class ComposeConfig:
    """One run of `bgm-compose`."""

    data: PicturesConfig = field(default_factory=PicturesConfig)
    composites: CompositeConfig = field(default_factory=CompositeConfig)
    count: int | None = None
    width: int = 1920
    height: int = 1080
    workers: int | None = None
    seed: int = 0
    preview: int = 0
    on_existing: OnExistingSet = OnExistingSet.error
    output_dir: str = MISSING

    def __post_init__(self) -> None:
        for key in ("count", "workers"):
            value = getattr(self, key)
            require(value is None or value >= 1, key, value, "1 or more, or null")
        for key in ("width", "height"):
            require(32 <= getattr(self, key) <= 16384, key, getattr(self, key), "from 32 to 16384")
        require(0 <= self.seed < 2**31, "seed", self.seed, f"from 0 to {2**31 - 1}")
        require(self.preview >= 0, "preview", self.preview, "0 or more")
