"""What the network returned for one image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Matte:
    """Alpha and foreground of one image, on the device that computed them.

    Attributes:
        alpha: (1, H, W), float32 in [0, 1].
        foreground: (3, H, W), float32 RGB in [0, 1]; the subject's own colour, not multiplied
            by alpha.
        error: The coarse network's predicted error of alpha, brought to full resolution
            (bilinear), (1, H, W), float32 in [0, 1]. None if it was not asked for.
        refined: 1 where the refiner worked, else 0, (1, H, W), float32. None for a base model,
            or if it was not asked for.
        refined_share: Share of the blocks that were refined, in [0, 1]; None for a base model.
        rgba: Foreground and alpha pixel by pixel, (H, W, 4), where they were computed so; they
            are views of it then.
    """

    alpha: Tensor
    foreground: Tensor
    error: Tensor | None = None
    refined: Tensor | None = None
    refined_share: float | None = None
    rgba: Tensor | None = None

    def composite(self, background: Tensor | None = None) -> Tensor:
        """Put the subject on a new background, or on none.

        Args:
            background: RGB in [0, 1], (3, H, W) or any shape that broadcasts to it, such as
                (3, 1, 1) for one colour.

        Returns:
            RGB, (3, H, W), in [0, 1]; without a background RGBA, (4, H, W), with straight alpha
            and the foreground zeroed where alpha is 0.
        """
        if background is None:
            return torch.cat([self.foreground * (self.alpha > 0), self.alpha])
        background = background.to(self.foreground)
        return background + self.alpha * (self.foreground - background)

    def cpu(self) -> Matte:
        """The same matte in the host's memory."""
        return Matte(
            self.alpha.cpu(),
            self.foreground.cpu(),
            None if self.error is None else self.error.cpu(),
            None if self.refined is None else self.refined.cpu(),
            self.refined_share,
            None if self.rgba is None else self.rgba.cpu(),
        )
