"""The two published networks: the coarse one alone, and with the refiner behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bgm.networks.aspp import ASPP
from bgm.networks.decoder import Decoder
from bgm.networks.encoders import create_encoder
from bgm.networks.refiner import BLOCK, HIDDEN_CHANNELS, Refiner

_ASPP_RATES = [3, 6, 9]
_ASPP_CHANNELS = 256
_OUTPUT_CHANNELS = 1 + 3 + 1 + HIDDEN_CHANNELS  # alpha, foreground residual, error, features
_LARGEST_DENOMINATOR = 1024


class BaseOutput(NamedTuple):
    """What `MattingBase` returns, at the size of its input.

    Attributes:
        pha: Alpha, (B, 1, H, W) in [0, 1].
        fgr: Foreground, (B, 3, H, W) in [0, 1].
        err: Predicted error of alpha, (B, 1, H, W) in [0, 1].
        hid: Hidden features for a refiner, (B, 32, H, W), not negative.
    """

    pha: Tensor
    fgr: Tensor
    err: Tensor
    hid: Tensor


class RefineOutput(NamedTuple):
    """What `MattingRefine` returns.

    Attributes:
        pha: Alpha, (B, 1, H, W) in [0, 1].
        fgr: Foreground, (B, 3, H, W) in [0, 1].
        pha_sm: Alpha of the coarse pass, (B, 1, h, w) in [0, 1].
        fgr_sm: Foreground of the coarse pass, (B, 3, h, w) in [0, 1].
        err_sm: Error predicted by the coarse pass, (B, 1, h, w) in [0, 1].
        ref_sm: Refined blocks, (B, 1, H/4, W/4), 1 where refined, else 0.
    """

    pha: Tensor
    fgr: Tensor
    pha_sm: Tensor
    fgr_sm: Tensor
    err_sm: Tensor
    ref_sm: Tensor


CoarseOutput = tuple[Tensor, Tensor, Tensor, Tensor]
"""Alpha, foreground residual (not clamped), error and hidden features of the coarse network."""


class LazyHidden(Protocol):
    """Hidden features that are computed where they are asked for."""

    @property
    def nbytes(self) -> int:
        """Bytes that they, or what they are computed from, take."""

    def everywhere(self) -> Tensor:
        """All of them, (B, 32, H, W)."""

    def write(self, index: int, needed: Tensor, output: Tensor) -> None:
        """Write those of one image.

        Args:
            index: Of the image in the batch.
            needed: Where they have to be right, boolean, (H, W).
            output: Takes them, (H, W, 32); elsewhere it is left as it is, or right too.
        """


RuntimeOutput = tuple[Tensor, Tensor, Tensor, Tensor | LazyHidden]
"""A `CoarseOutput` whose hidden features may still have to be computed."""

Runtime = Callable[[Tensor], RuntimeOutput]
"""Computes the coarse network on (B, 6, H, W)."""


def clamp(x: Tensor) -> Tensor:
    """Clamp to [0, 1]; infinity becomes NaN rather than hide as 0 or 1."""
    return x.clamp(0, 1) + (x - x)


class CoarseNetwork(nn.Module):
    """Encoder, ASPP and decoder, which both networks share."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.backbone = create_encoder(backbone)
        full, half, quarter, eighth, sixteenth = self.backbone.channels
        self.aspp = ASPP(sixteenth, _ASPP_RATES, _ASPP_CHANNELS)
        self.decoder = Decoder(
            widths=(_ASPP_CHANNELS, 128, 64, 48, _OUTPUT_CHANNELS),
            skips=(eighth, quarter, half, full),
        )

        self.runtime: Runtime | None = None
        """What computes `predict` in place of the modules; None for themselves."""

    def predict(self, photos: Tensor) -> CoarseOutput:
        """Run the coarse network on source and background, (B, 6, H, W)."""
        pha, residual, err, hid = self.predict_lazily(photos)
        return pha, residual, err, hid if isinstance(hid, Tensor) else hid.everywhere()

    def predict_lazily(self, photos: Tensor) -> RuntimeOutput:
        """The same, but hidden features may still have to be asked for."""
        if self.runtime is not None:
            return self.runtime(photos)
        return split_output(run_coarse(self.backbone, self.aspp, self.decoder, photos))


def run_coarse(backbone: nn.Module, aspp: nn.Module, decoder: nn.Module, photos: Tensor) -> Tensor:
    """All channels that leave the decoder, (B, 37, H, W), for both photos, (B, 6, H, W)."""
    features = backbone(photos)
    output: Tensor = decoder(aspp(features.sixteenth), features)
    return output


def split_output(output: Tensor) -> CoarseOutput:
    """What the channels that leave the decoder mean, (B, 37, H, W)."""
    pha, residual, err, hid = torch.split(output, [1, 3, 1, HIDDEN_CHANNELS], dim=1)
    return clamp(pha), residual, clamp(err), hid.relu()


class MattingBase(CoarseNetwork):
    """The coarse network on its own, at the resolution it is given (paper, section 3.1).

    Args:
        backbone: `mobilenetv2`, `resnet50` or `resnet101`.

    Raises:
        ValueError: There is no such backbone.
    """

    def forward(self, src: Tensor, bgr: Tensor) -> BaseOutput:
        """Matte `src` against `bgr`, both (B, 3, H, W), RGB in [0, 1]."""
        pha, residual, err, hid = self.predict(torch.cat([src, bgr], dim=1))
        return BaseOutput(pha, clamp(residual + src), err, hid)


class MattingRefine(CoarseNetwork):
    """The coarse network on downscaled photographs, then the refiner (paper, section 3).

    Args:
        backbone: `mobilenetv2`, `resnet50` or `resnet101`.
        backbone_scale: Scale of the coarse pass, in (0, 0.5].
        refine_mode: `sampling`, `thresholding` or `full`.
        refine_sample_pixels: Pixels refined per image in mode `sampling`.
        refine_threshold: Error above which mode `thresholding` refines, in [0, 1].
        refine_kernel_size: Side of the refiner's convolutions, 3 or 1.

    Raises:
        ValueError: A setting is out of its range.
    """

    def __init__(
        self,
        backbone: str,
        backbone_scale: float = 0.25,
        refine_mode: str = "sampling",
        refine_sample_pixels: int = 80_000,
        refine_threshold: float = 0.1,
        refine_kernel_size: int = 3,
    ) -> None:
        super().__init__(backbone)
        if not 0 < backbone_scale <= 0.5:
            raise ValueError(f"the backbone scale is in (0, 0.5], not {backbone_scale}")
        self.backbone_scale = backbone_scale
        self.refiner = Refiner(
            refine_mode, refine_sample_pixels, refine_threshold, refine_kernel_size
        )

    def coarse_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the coarse pass for an image of this size."""
        return _scale(height, self.backbone_scale), _scale(width, self.backbone_scale)

    def forward(self, src: Tensor, bgr: Tensor) -> RefineOutput:
        """Matte `src` against `bgr`, both (B, 3, H, W), RGB in [0, 1].

        Raises:
            ValueError: The sizes differ, or are not divisible by 4.
        """
        if src.shape != bgr.shape:
            raise ValueError(f"src {tuple(src.shape)} and bgr {tuple(bgr.shape)} differ in shape")
        height, width = src.shape[2:]
        if height % BLOCK or width % BLOCK:
            raise ValueError(f"{width}x{height} is not divisible by {BLOCK}; pad the images first")

        photos = torch.cat([src, bgr], dim=1)
        coarse_size = self.coarse_size(height, width)
        photos_sm = F.interpolate(photos, coarse_size, mode="bilinear", align_corners=False)
        pha_sm, residual_sm, err_sm, hid = self.predict(photos_sm)

        coarse = torch.cat([pha_sm, residual_sm], dim=1)
        refined, ref_sm = self.refiner(photos, coarse, err_sm, hid)
        return RefineOutput(
            pha=clamp(refined[:, :1]),
            fgr=clamp(refined[:, 1:] + src),
            pha_sm=pha_sm,
            fgr_sm=clamp(residual_sm + photos_sm[:, :3]),
            err_sm=err_sm,
            ref_sm=ref_sm,
        )


def has_exact_scale(scale: float) -> bool:
    """Whether a scale is a fraction such as 1/4, so that sizes are scaled in whole numbers."""
    return scale.as_integer_ratio()[1] <= _LARGEST_DENOMINATOR


def _scale(length: int, scale: float) -> int:
    """A side of the coarse pass, rounded down; the same in whole numbers, where it is the same.

    Only whole numbers can be exported for images of any size.
    """
    if not has_exact_scale(scale):
        return max(1, int(length * scale))
    numerator, denominator = scale.as_integer_ratio()
    side: int = torch.sym_max(length * numerator // denominator, 1)  # type: ignore[no-untyped-call]
    return side
