"""Settings of experiments: how runs are compared, what a sweep is to find."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass

from bgm.errors import ConfigError, require
from bgm.records.figures import WHOLE_RUN, known_figures
from bgm.records.summary import SHOWN


@dataclass
class ComparisonSettings:
    """What runs are compared with, and on which images.

    Attributes:
        baseline: The run to set the others beside: its name, or settings that only it has; None
            for the best one by each figure.
        groups: `folder` for groups of images by sub-folder, a CSV of tags, or None.
        page_mb: About how many megabytes the page may have.
        page_images: How many images have pictures in the page.
    """

    baseline: str | None = None
    groups: str | None = None
    page_mb: float = 30.0
    page_images: int = 1000

    def __post_init__(self) -> None:
        require(0 < self.page_mb < math.inf, "page_mb", self.page_mb, "above 0 and finite")
        require(self.page_images >= 0, "page_images", self.page_images, "0 or more")


@dataclass
class ExperimentSettings(ComparisonSettings):
    """What a sweep is to find; top-level keys of `bgm`.

    Attributes:
        objective: Figures to search or race by: scores, times, whatever else the records hold of
            each image, or of a run as a whole. Several make a Pareto search.
        race: Whether settings that are beaten beyond doubt drop out of a sweep.
        race_images: How many images all of them are tried on first.
    """

    objective: list[str] | None = None
    race: bool = False
    race_images: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.race_images >= 6, "race_images", self.race_images, "6 or more")

    def check_objective(self, truths: dict[str, str | None]) -> None:
        """Refuse figures that there are not, or that need a truth which is not given.

        Args:
            truths: `data.pha` and `data.fgr` by their keys.

        Raises:
            ConfigError: It names the figure.
        """
        if self.objective is None:
            return
        require(bool(self.objective), "objective", "[]", "at least one figure, or null")
        known = [*known_figures(), *WHOLE_RUN]
        for name in self.objective:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                raise ConfigError(
                    f"objective={name}: no such figure{hint}; there are {', '.join(known)}"
                )
            needed = "data.fgr" if name == "fg_mse" else "data.pha"
            if name in SHOWN and truths[needed] is None:
                raise ConfigError(f"objective={name} is a comparison with the truth: give {needed}")
        if self.race and (whole := [name for name in self.objective if name in WHOLE_RUN]):
            raise ConfigError(
                f"objective={whole[0]} is known of a run as a whole, race=true needs figures of "
                "each image; choose forward_ms or total_ms for speed"
            )
