"""The losses: those of the published training, a Laplacian pyramid, and a margin of alpha."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bgm.config.training import LossConfig
from bgm.training.forward import Result

_LEVELS = 4
_MARGIN = 0.05


def matting_losses(result: Result, true_pha: Tensor, true_fgr: Tensor) -> dict[str, Tensor]:
    """Compare a result with the truth.

    Args:
        result: The result, float32.
        true_pha: True alpha, of the same size.
        true_fgr: True foreground, straight colour; looked at only where true alpha is above 0.

    Returns:
        `alpha`: mean absolute difference; `edges`: that of the Sobel magnitudes; `laplacian`: that
        of Laplacian pyramids, coarse levels counting more; `foreground`: mean absolute difference
        of colours where there is foreground; `error`: mean squared difference of the expected
        error and the true one; `solid`: how much alpha before the clamp lacks, on average, of lying
        a margin outside [0, 1] where the truth is 0 or 1, so that noise there changes nothing.
    """
    pha, fgr = result.pha, result.fgr
    visible = (true_pha > 0).to(fgr.dtype)
    found = {
        "alpha": F.l1_loss(pha, true_pha),
        "edges": F.l1_loss(sobel(pha), sobel(true_pha)),
        "laplacian": _laplacian_loss(pha, true_pha),
        "foreground": F.l1_loss(fgr * visible, true_fgr * visible),
        "solid": _solid_loss(result.raw, true_pha),
    }
    if result.err is not None:
        found["error"] = F.mse_loss(result.err, (pha.detach() - true_pha).abs())
    return found


def weigh(losses: dict[str, Tensor], weights: LossConfig) -> Tensor:
    """The sum of the losses, each with its weight."""
    return torch.stack([getattr(weights, name) * loss for name, loss in losses.items()]).sum()


def sobel(x: Tensor) -> Tensor:
    """Magnitude of the gradient, (B, 1, H, W), by Sobel's filter; 1 for a slope of 1 a pixel."""
    smooth = x.new_tensor([1.0, 2.0, 1.0]) / 4
    slope = x.new_tensor([-1.0, 0.0, 1.0]) / 2
    kernels = torch.stack([torch.outer(smooth, slope), torch.outer(slope, smooth)])[:, None]
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    gradients = F.conv2d(padded, kernels)
    return (gradients.square().sum(dim=1, keepdim=True) + 1e-6).sqrt()


def _solid_loss(raw: Tensor, true: Tensor) -> Tensor:
    lacking = torch.where(true == 0, raw + _MARGIN, 1 + _MARGIN - raw).relu()
    return (lacking * ((true == 0) | (true == 1))).mean()


def _laplacian_loss(pha: Tensor, true: Tensor) -> Tensor:
    """Difference of Laplacian pyramids: as the pyramid is linear, the pyramid of the difference."""
    rest, loss = pha - true, pha.new_zeros(())
    for level in range(_LEVELS):
        if min(rest.shape[2:]) < 8:
            break
        smaller = F.avg_pool2d(rest, 2, ceil_mode=True, count_include_pad=False)
        back = F.interpolate(smaller, rest.shape[2:], mode="bilinear", align_corners=False)
        loss = loss + 2**level * (rest - back).abs().mean()
        rest = smaller
    return loss / _LEVELS
