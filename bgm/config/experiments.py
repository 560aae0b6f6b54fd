"""Settings of how runs are compared: top-level keys of `bgm` and `bgm-compare` alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bgm.errors import require


@dataclass
class ComparisonSettings:
    """What runs are compared with, and on which images.

    Attributes:
        baseline: The run to set the others beside: its name, or settings that only it has; None
            for the best one by each figure.
        groups: `folder` for groups of images by sub-folder, a CSV of tags, or None.
        page_mb: About how many megabytes the page may have.
    """

    baseline: str | None = None
    groups: str | None = None
    page_mb: float = 30.0

    def __post_init__(self) -> None:
        require(0 < self.page_mb < math.inf, "page_mb", self.page_mb, "above 0 and finite")
