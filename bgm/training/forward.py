"""The networks as they are trained: the same computation, but what is clamped still learns.

A clamp has no slope outside [0, 1]: an alpha of -0.1 inside a subject would never be told that it
is wrong, and stay a hole. Here gradients pass a clamp, if they lead back to where it has a slope.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from bgm.networks import MattingBase, MattingRefine
from bgm.networks.encoders import Features
from bgm.networks.refiner import BLOCK, Refiner

_HEADS = [1, 3, 1]  # alpha, foreground residual, error; hidden features follow
_SEEN = sum(_HEADS)
_LEAST_ERROR = 1e-4


class Result(NamedTuple):
    """What is compared with the truth, float32.

    Attributes:
        pha: Alpha, (B, 1, H, W) in [0, 1].
        fgr: Foreground, (B, 3, H, W) in [0, 1].
        err: Expected error of alpha, (B, 1, H, W); None after the refiner.
        raw: Alpha before it is clamped to [0, 1], (B, 1, H, W).
    """

    pha: Tensor
    fgr: Tensor
    err: Tensor | None
    raw: Tensor


class Trainee(nn.Module):
    """A network in training.

    Args:
        network: The network.
        frozen: Whether the coarse part of a `MattingRefine` stays as it is.
        keep_norms: Whether batch normalisation goes on with the statistics it has, instead of
            those of each batch.
    """

    def __init__(
        self,
        network: MattingBase | MattingRefine,
        frozen: bool = False,
        keep_norms: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.frozen = frozen
        self.keep_norms = keep_norms
        for part in self._coarse_parts() if frozen else ():
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> Trainee:
        """Switch between training and use; a frozen part is always in use."""
        super().train(mode)
        for part in self._coarse_parts() if self.frozen else ():
            part.eval()
        for part in self.modules() if self.keep_norms else ():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self

    def forward(self, src: Tensor, bgr: Tensor) -> list[Result]:
        """Matte (B, 3, H, W) pictures.

        Returns:
            The results to learn from: of the coarse network at its size unless it is frozen, and
            of the refiner at full size if there is one, which comes last.
        """
        photos = torch.cat([src, bgr], dim=1)
        if not isinstance(self.network, MattingRefine):
            return [self._coarse(photos)[0]]
        size = self.network.coarse_size(*src.shape[2:])
        photos_sm = F.interpolate(photos, size, mode="bilinear", align_corners=False)
        with torch.set_grad_enabled(not self.frozen and torch.is_grad_enabled()):
            coarse, residual, hid = self._coarse(photos_sm)
        assert coarse.err is not None
        joined = torch.cat([coarse.pha, residual], dim=1)
        # Where no error is expected nothing would be refined, and nothing learnt.
        err = coarse.err + _LEAST_ERROR
        refined = refine_chosen(self.network.refiner, photos, joined, err, hid).float()
        pha, fgr = refined[:, :1], refined[:, 1:] + src
        result = Result(pass_clamp(pha), pass_clamp(fgr), None, pha)
        return [result] if self.frozen else [coarse, result]

    def _coarse(self, photos: Tensor) -> tuple[Result, Tensor, Tensor]:
        network = self.network
        features = network.backbone(photos)
        deepest = network.aspp(features.sixteenth)
        output = self._decode(deepest, features).float()
        pha, residual, err = torch.split(output[:, :_SEEN], _HEADS, dim=1)
        fgr = pass_clamp(residual + photos[:, :3])
        hid = output[:, _SEEN:].relu()
        return Result(pass_clamp(pha), fgr, pass_clamp(err), pha), residual, hid

    def _decode(self, deepest: Tensor, features: Features) -> Tensor:
        """Decode; without a refiner, leave out the features that only a refiner would look at."""
        decoder = self.network.decoder
        if isinstance(self.network, MattingRefine):
            return cast(Tensor, decoder(deepest, features))
        last = decoder.conv4
        assert last.bias is not None
        seen = {"conv4.weight": last.weight[:_SEEN], "conv4.bias": last.bias[:_SEEN]}
        return cast(Tensor, functional_call(decoder, seen, (deepest, features)))

    def _coarse_parts(self) -> tuple[nn.Module, ...]:
        return self.network.backbone, self.network.aspp, self.network.decoder


def refine_chosen(
    refiner: Refiner, photos: Tensor, coarse: Tensor, err: Tensor, hid: Tensor
) -> Tensor:
    """What the refiner returns in mode `sampling`, computed on whole pictures.

    Gradients of thousands of small windows take ten times as long as those of a few whole pictures.

    Args:
        refiner: The refiner, in mode `sampling`.
        photos: Source and background, (B, 6, H, W).
        coarse: Alpha and foreground residual of the coarse network, (B, 4, h, w).
        err: Expected error, (B, 1, h, w).
        hid: Hidden features, (B, 32, h, w).

    Returns:
        Alpha and foreground residual, (B, 4, H, W).
    """
    size = photos.shape[2:]
    chosen = refiner.choose_blocks(err, (size[0] // BLOCK, size[1] // BLOCK))
    refiner.mode, usual = "full", refiner.mode
    refined: Tensor = refiner(photos, coarse, err, hid)[0]
    refiner.mode = usual
    rest = F.interpolate(coarse, size, mode="bilinear", align_corners=False)
    return torch.where(
        chosen.repeat_interleave(BLOCK, 2).repeat_interleave(BLOCK, 3), refined, rest
    )


class _PassClamp(torch.autograd.Function):
    """Exactly the clamp going forward; going back, only what does not lead further out.

    What leads out changes no result, so nothing would ever stop it: losses that look at neighbours
    would drive an alpha of 0 to -500, and the training would end in noise.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,), (grad,) = ctx.saved_tensors, grads
        # Steps go against the gradient.
        leads_out = ((x < 0) & (grad > 0)) | ((x > 1) & (grad < 0))
        return grad.masked_fill(leads_out, 0)


def pass_clamp(x: Tensor) -> Tensor:
    """Clamp to [0, 1], with the gradient of x itself, unless that leads further out."""
    clamped: Tensor = _PassClamp.apply(x)  # type: ignore[no-untyped-call]
    return clamped


def start_as_difference(network: MattingBase | MattingRefine) -> None:
    """Let half of the first filters begin as differences of source and background."""
    first = next(m for m in network.backbone.modules() if isinstance(m, nn.Conv2d))
    half = first.out_channels // 2
    with torch.no_grad():
        first.weight[:half, 3:] = -first.weight[:half, :3]
