"""What a matte's own check found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """How far a matte contradicts its photograph, without truth; shares are of the picture.

    Attributes:
        suspicion: How likely it needs eyes, in [0, 1]; fitted on composites, docs/check.md.
        residual_edge: Mean of |aF + (1-a)B - I| at the edge, in [0, 1].
        residual_foreground: The same where alpha is at least 0.95.
        residual_background: The same where alpha is at most 0.05: shadows, exposure, misses.
        uncertain: Share with alpha between 0.05 and 0.95.
        uncertain_of_subject: The same as a share of all that alpha shows.
        islands: Small pieces outside the subject.
        holes: Small holes in it.
        at_frame: Share of the frame with alpha where the photograph agrees with the plate.
        missed: Share that is background to the matte, but differs from the plate by 0.1 or more.
        needs_eyes: Whether the suspicion is above the run's threshold.
        plate_kept: Share that is subject to the matte, but agrees with the plate.
        plate_through: How much of the plate's texture shows where the matte is opaque, times the
            share of that.
    """

    suspicion: float
    residual_edge: float = 0.0
    residual_foreground: float = 0.0
    residual_background: float = 0.0
    uncertain: float = 0.0
    uncertain_of_subject: float = 0.0
    islands: float = 0
    holes: float = 0
    at_frame: float = 0.0
    missed: float = 0.0
    plate_kept: float = 0.0
    plate_through: float = 0.0
    needs_eyes: bool = False
