"""The schema of `edges`: what is done to a matte between the network and the layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from bgm.errors import ConfigError, require

ForegroundFrom = Enum("ForegroundFrom", ["network", "ml", "unmix", "blur"])

MAX_PIXELS = 100
"""Of choke and feather: more takes seconds, and is no edge."""


@dataclass
class EdgesConfig:
    """What is done to the edges, in this order; the defaults do nothing."""

    garbage: str | None = None
    despeckle: float = 0.0
    fill: float = 0.0
    seed: float = 0.5
    black: float = 0.0
    white: float = 1.0
    gamma: float = 1.0
    choke: float = 0.0
    feather: float = 0.0
    foreground: ForegroundFrom = ForegroundFrom.network
    pull: float = 0.05
    despill: float = 0.0
    extend: bool = False

    def __post_init__(self) -> None:
        for key in ("despeckle", "fill", "despill"):
            self._require(0 <= getattr(self, key) <= 1, key, "from 0 to 1")
        self._require(0 < self.seed <= 1, "seed", "above 0 and at most 1")
        for key in ("black", "white"):
            self._require(0 <= getattr(self, key) <= 1, key, "from 0 to 1")
        if not self.black < self.white:
            raise ConfigError(
                f"edges.black={self.black} does not fit edges.white={self.white}; black must be "
                "below white"
            )
        self._require(0.1 <= self.gamma <= 10, "gamma", "from 0.1 to 10")
        self._require(abs(self.choke) <= MAX_PIXELS, "choke", f"from {-MAX_PIXELS} to {MAX_PIXELS}")
        self._require(0 <= self.feather <= MAX_PIXELS, "feather", f"from 0 to {MAX_PIXELS}")
        self._require(0 < self.pull < math.inf, "pull", "above 0 and finite")

    def _require(self, holds: bool, key: str, legal: str) -> None:
        require(holds, f"edges.{key}", getattr(self, key), legal)

    @property
    def changes_alpha(self) -> bool:
        """Whether any step changes alpha."""
        return self.garbage is not None or any(
            getattr(self, key) != getattr(EdgesConfig, key)
            for key in ("despeckle", "fill", "black", "white", "gamma", "choke", "feather")
        )

    @property
    def changes_colours(self) -> bool:
        """Whether any step changes the foreground."""
        return (
            self.foreground is not ForegroundFrom.network or self.despill > 0 or self.extend is True
        )
