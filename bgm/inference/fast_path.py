"""Mattes on the CPU without full-size maps: the pixels go in as they were decoded.

The same computation as `MattingRefine`, arranged so that only three things are as large as the
photograph: the two photographs, and the matte. See docs/performance.md for what that gains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import torch
from torch import Tensor
from torch.nn import functional as F

from bgm.data.pixels import white
from bgm.inference.sparse import SparseRefiner
from bgm.networks import MattingRefine
from bgm.networks.refiner import HIDDEN_CHANNELS

_ROWS = 32
_COLOUR_FIRST = [HIDDEN_CHANNELS + place for place in (1, 2, 3, 0)]  # alpha is before residual


class FastOutput(NamedTuple):
    """What comes out for one image.

    Attributes:
        rgba: Foreground and alpha, (H, W, 4), float32; clamped to [0, 1] if finite.
        err_sm: Error predicted by the coarse pass, (1, h, w).
        ref_sm: Refined blocks, boolean, (H/4, W/4).
        finite: Whether everything that the network returned is finite, as the plain way has it.
    """

    rgba: Tensor
    err_sm: Tensor
    ref_sm: Tensor
    finite: bool


class FastPath:
    """Runs a `MattingRefine` with refinement by sampling or thresholding, kernel size 3.

    Args:
        network: The network on the CPU, in evaluation mode; its `runtime` is used.
        pack: Whether to use `PackedConvolution`.
    """

    def __init__(self, network: MattingRefine, *, pack: bool) -> None:
        self._network = network
        self._pack = pack
        self._refiners: dict[int, SparseRefiner] = {}

    def fits(self, height: int, width: int) -> bool:
        """Whether images of this size, divisible by 4, can go this way."""
        coarse = self._network.coarse_size(height, width)
        return SparseRefiner.fits(self._network.refiner, height, width, coarse) is not None

    def __call__(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> list[FastOutput]:
        """Matte pairs of source and background, each (H, W, 3), contiguous, of one size.

        They are uint8, or float in [0, 1]; H and W are divisible by 4.
        """
        height, width = pairs[0][0].shape[:2]
        size = self._network.coarse_size(height, width)
        small = torch.stack([torch.cat([_shrink(image, size) for image in pair]) for pair in pairs])
        pha, residual, err, hid = self._network.predict_lazily(small)
        chosen = self._network.refiner.choose_blocks(err, (height // 4, width // 4))[:, 0]
        ratio = SparseRefiner.fits(self._network.refiner, height, width, size)
        assert ratio is not None
        refine = self._refiners.get(ratio) or SparseRefiner(
            self._network.refiner, ratio, pack=self._pack
        )
        self._refiners[ratio] = refine
        outputs = []
        for index, (src, bgr) in enumerate(pairs):
            known = torch.zeros(size[0] + 2, size[1] + 2, HIDDEN_CHANNELS + 4)
            inside = known[1:-1, 1:-1]
            if isinstance(hid, Tensor):
                inside[..., :HIDDEN_CHANNELS] = hid[index].permute(1, 2, 0)
            else:
                hid.write(index, refine.reach(chosen[index]), inside[..., :HIDDEN_CHANNELS])
            inside[..., HIDDEN_CHANNELS] = pha[index, 0]
            inside[..., HIDDEN_CHANNELS + 1 :] = residual[index].permute(1, 2, 0)
            _repeat_border(known)
            coarse = inside[..., _COLOUR_FIRST]
            enlarged = cv2.resize(coarse.numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
            whole = torch.from_numpy(enlarged)
            refined = refine(src, bgr, known, chosen[index], whole)
            total = coarse.sum() + err[index].sum() + refined
            rgba = _add_source(whole, src)
            outputs.append(FastOutput(rgba, err[index], chosen[index], bool(total.isfinite())))
        return outputs


def _shrink(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (H, W, 3) to (3, h, w) in [0, 1], bilinear without smoothing, as the network does."""
    height, width = image.shape[:2]
    step = height // size[0]
    if (size[0] * step, size[1] * step) != (height, width) or step % 2:
        unit = image.permute(2, 0, 1)[None].float()
        scaled = F.interpolate(unit, size, mode="bilinear", align_corners=False)[0]
        return scaled.div_(white(image.dtype))
    # Of each step x step pixels only the middle 2x2 count, equally.
    low = step // 2 - 1
    total = torch.zeros(*size, 3)
    for top in (low, low + 1):
        for left in (low, low + 1):
            total += image[top::step, left::step]
    return total.mul_(1 / (4 * white(image.dtype))).permute(2, 0, 1)


def _repeat_border(framed: Tensor) -> None:
    """Fill the outermost pixels of (H, W, C) with those next to them."""
    framed[0], framed[-1] = framed[1], framed[-2]
    framed[:, 0], framed[:, -1] = framed[:, 1], framed[:, -2]


def _add_source(whole: Tensor, src: Tensor) -> Tensor:
    """Add the source to the residual in (H, W, 4), leave alpha; clamp to [0, 1]; all in place.

    A few rows at a time, which stay in the processor's cache from one step to the next.
    """
    for top in range(0, len(whole), _ROWS):
        rows = whole[top : top + _ROWS]
        opaque = cv2.cvtColor(src[top : top + _ROWS].numpy(), cv2.COLOR_RGB2RGBA)
        opaque[..., 3] = 0
        residual = rows.numpy()
        cv2.addWeighted(
            opaque, 1 / white(src.dtype), residual, 1.0, 0.0, dst=residual, dtype=cv2.CV_32F
        )
        rows.clamp_(0, 1)
    return whole
