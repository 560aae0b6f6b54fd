"""The schema of what runs the work: this process, or the workers of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bgm.errors import ConfigError

EngineName = Enum("EngineName", ["local", "ray"])


@dataclass
class EngineConfig:
    """Who does the work, and with how much of each machine."""

    name: EngineName = EngineName.local
    workers: int | None = None
    cpus: int | None = None
    gpus: float | None = None
    address: str = "auto"

    def __post_init__(self) -> None:
        for key in ("workers", "cpus"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"engine.{key}={value}: must be 1 or more, or null")
        if self.gpus is not None and self.gpus < 0:
            raise ConfigError(f"engine.gpus={self.gpus}: must be 0 or more, or null")
        if not self.address:
            raise ConfigError("engine.address=: must be auto, local, or where the cluster is")
