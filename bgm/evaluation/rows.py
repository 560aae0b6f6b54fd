"""What a scoring of mattes found, one by one."""

from __future__ import annotations

from dataclasses import dataclass, field

from bgm.evaluation.truth import Scores


@dataclass(frozen=True)
class Row:
    """The scores of one matte.

    Attributes:
        name: Its relative name.
        scores: As `alpha_errors` returns them; empty if it could not be scored.
        error: Why it could not.
        unmatched: Whether that is because it has no partner, which is no failure.
    """

    name: str
    scores: Scores = field(default_factory=dict)
    error: str | None = None
    unmatched: bool = False

    @property
    def failed(self) -> bool:
        """Whether it could not be scored though it has a partner."""
        return self.error is not None and not self.unmatched
