"""What the network returned for one image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from bgm.inference.scale import CoarsePass
from bgm.networks.refiner import BLOCK


@dataclass(frozen=True)
class Matte:
    """Alpha and foreground of one image, on the device that computed them.

    Attributes:
        alpha: (1, H, W), float32 in [0, 1].
        foreground: (3, H, W), float32 RGB in [0, 1]; the subject's own colour, not multiplied
            by alpha.
        coarse_error: The coarse network's predicted error of alpha, (1, h, w), in [0, 1].
        coarse_refined: True for each 4x4 block that the refiner redid, of the padded image,
            (1, h, w); None for a base model.
        refined_share: Share of the blocks that were refined, in [0, 1]; None for a base model.
        rgba: Foreground and alpha pixel by pixel, (H, W, 4), where they were computed so; they
            are views of it then.
        coarse_pass: Scale of the coarse pass and pixels to refine, where they were chosen for the
            picture.
    """

    alpha: Tensor
    foreground: Tensor
    coarse_error: Tensor | None = None
    coarse_refined: Tensor | None = None
    refined_share: float | None = None
    rgba: Tensor | None = None
    coarse_pass: CoarsePass | None = None

    @cached_property
    def error(self) -> Tensor | None:
        """The predicted error at full resolution (bilinear), (1, H, W), float32 in [0, 1]."""
        if self.coarse_error is None:
            return None
        return self._enlarge(self.coarse_error, "bilinear")

    @cached_property
    def refined(self) -> Tensor | None:
        """1 where the refiner worked, else 0, (1, H, W), float32; None for a base model."""
        if self.coarse_refined is None:
            return None
        return self._enlarge(self.coarse_refined, "nearest")

    @property
    def mapped_size(self) -> tuple[int, int]:
        """Height and width of what the maps cover: of a refiner's, the padded image."""
        if self.coarse_refined is None:
            return self.alpha.shape[1], self.alpha.shape[2]
        rows, columns = self.coarse_refined.shape[1:]
        return BLOCK * rows, BLOCK * columns

    def _enlarge(self, coarse: Tensor, mode: str) -> Tensor:
        """Bring a map to the size of alpha, without the padding."""
        height, width = self.alpha.shape[1:]
        size = list(self.mapped_size)
        corners = False if mode == "bilinear" else None
        enlarged = F.interpolate(coarse[None].float(), size, mode=mode, align_corners=corners)
        return enlarged[0, :, :height, :width]

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
        error, refined, rgba = self.coarse_error, self.coarse_refined, self.rgba
        return Matte(
            alpha=self.alpha.cpu(),
            foreground=self.foreground.cpu(),
            coarse_error=None if error is None else error.cpu(),
            coarse_refined=None if refined is None else refined.cpu(),
            refined_share=self.refined_share,
            rgba=None if rgba is None else rgba.cpu(),
            coarse_pass=self.coarse_pass,
        )
