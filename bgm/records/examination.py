"""What an examination of a photograph and its plate found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bgm.records.record import from_plain


@dataclass(frozen=True)
class Examination:
    """A photograph and its plate, as they are to the network.

    Attributes:
        name: Of the photograph.
        plate: File of the plate, and how it was chosen if not by its name.
        width: Width of the photograph in pixels, once decoded.
        height: Its height.
        shift_px: How far the plate is off on average, in pixels; None if that cannot be told.
        gain: Factors of red, green and blue in linear light that would make the plate's light the
            photograph's; None if they cannot be told.
        blur_px: Deviation of the Gaussian that makes the sharper of the two as soft as the other;
            above 0 the plate is the softer one, below 0 the photograph.
        noise: Deviation of the noise of one of the two, in levels of 255.
        agrees: Share of the photograph that agrees with the plate, aligned and exposed like it.
        verdicts: What that means, in words; empty if the plate fits.
        is_hopeless: Whether no usable matte can come of it.
    """

    name: str
    plate: str | None = None
    width: int | None = None
    height: int | None = None
    shift_px: float | None = None
    gain: tuple[float, float, float] | None = None
    blur_px: float | None = None
    noise: float | None = None
    agrees: float | None = None
    verdicts: list[str] = field(default_factory=list)
    is_hopeless: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The examination as plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Examination:
        """The examination that `as_dict` was called on, perhaps by another version of bgm.

        Raises:
            TypeError: It is none.
        """
        return from_plain(cls, content)
