"""How large a step is: warm-up, a steady stretch, and a cosine down to the end.

With `decay` as long as the whole stage it is the usual cosine. With a short one, a run of unknown
length can be ended well at any time: resume it with the `steps` that shall be its last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Learning rate by step.

    Attributes:
        rate: The rate of the steady stretch.
        steps: Steps in all.
        warmup: Steps of the warm-up.
        decay: Steps of the descent at the end.
        floor: The last rate, as a part of `rate`.
    """

    rate: float
    steps: int
    warmup: int
    decay: int
    floor: float = 0.02

    def at(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        rate = self.rate * min(1.0, (step + 1) / max(1, self.warmup))
        into = step + 1 - (self.steps - self.decay)
        if into <= 0 or self.decay == 0:
            return rate
        descent = 0.5 * (1 + math.cos(math.pi * min(1.0, into / self.decay)))
        return rate * (self.floor + (1 - self.floor) * descent)
