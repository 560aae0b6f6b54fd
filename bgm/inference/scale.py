"""Which scale the coarse pass has, and how much is refined, for a picture of a given size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from bgm.networks import MattingRefine
from bgm.networks.refiner import BLOCK

COARSE_SIDE = 512
"""Long side of the coarse pass that the published checkpoints were trained for, in pixels."""

AUTO = "auto"

_SHARE = 80_000 / (1920 * 1080)  # of a picture's pixels: what the authors recommend, at both sizes


@dataclass(frozen=True)
class CoarsePass:
    """How pictures of one size are matted.

    Attributes:
        scale: Of the coarse pass, in (0, 0.5].
        sample_pixels: Pixels that are refined in mode `sampling`.
        multiple: What the sides of the picture are padded to a multiple of, in pixels.
    """

    scale: float
    sample_pixels: int
    multiple: int = BLOCK


@dataclass(frozen=True)
class ScaleRule:
    """Chooses scale and pixels for each picture, or keeps to what was given.

    Attributes:
        scale: A scale for all, or None: the one that brings the coarse pass closest to `side`.
        sample_pixels: A number for all, or None: in proportion to the picture's area, 80,000 for
            full HD and 320,000 for 4K, as the paper's authors recommend.
        side: Long side of the coarse pass that the checkpoint was trained for, in pixels.
    """

    scale: float | None
    sample_pixels: int | None
    side: int = COARSE_SIDE

    def __call__(self, height: int, width: int) -> CoarsePass:
        """The coarse pass for pictures of this size, in pixels."""
        pixels = self.sample_pixels
        if pixels is None:
            pixels = round(_SHARE * height * width / BLOCK**2) * BLOCK**2
        if self.scale is not None:
            return CoarsePass(self.scale, pixels)
        step = _step(max(height, width) / self.side)
        # One bit above 1 / step: sides that are multiples of the step must not be rounded down.
        return CoarsePass(min(math.nextafter(1 / step, 1), 0.5), pixels, max(step, BLOCK))

    def apply(self, network: MattingRefine, height: int, width: int) -> CoarsePass:
        """Set a network to pictures of this size."""
        chosen = self(height, width)
        network.backbone_scale = chosen.scale
        network.refiner.sample_pixels = chosen.sample_pixels
        return chosen


def split_settings(settings: dict[str, Any], side: int | None) -> tuple[dict[str, Any], ScaleRule]:
    """Take what is chosen for each picture out of the settings of a `MattingRefine`.

    Args:
        settings: The settings; `backbone_scale` and `refine_sample_pixels` may be `auto`, and are
            if they are left out.
        side: What the checkpoint was trained for, if it says so.

    Returns:
        The settings without `auto`, and the rule.
    """
    names = ("backbone_scale", "refine_sample_pixels")
    scale, pixels = (settings.get(name, AUTO) for name in names)
    plain = {name: value for name, value in settings.items() if value != AUTO}
    rule = ScaleRule(
        None if scale == AUTO else scale, None if pixels == AUTO else pixels, side or COARSE_SIDE
    )
    return plain, rule


def _step(wanted: float) -> int:
    """Pixels of the picture for one of the coarse pass: 2 or a multiple of 4, next to `wanted`.

    Only with these do the blocks that the refiner works on lie on whole coarse pixels.
    """
    low = max(2, int(wanted // 4) * 4)
    high = 4 if low == 2 else low + 4
    return low if wanted / low <= high / wanted else high
