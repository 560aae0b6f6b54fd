"""Runs a network on pairs of photographs: device, precision, padding, batches, cropping."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import torch
from torch import Tensor

from bgm.data.pixels import as_pixels, as_tensor, stack_unit
from bgm.errors import ConfigError, DataError, PredictionError
from bgm.inference.fast_path import FastPath
from bgm.inference.fuse import can_pack, channels_last
from bgm.inference.matte import Matte
from bgm.inference.quantize import Calibration, quantize_coarse
from bgm.inference.remember import Remembering
from bgm.inference.runtimes import PRECISIONS, choose_runtime, create_runtime, when_needed
from bgm.inference.scale import CoarsePass, ScaleRule
from bgm.networks import CoarseNetwork, MattingRefine
from bgm.networks.refiner import BLOCK

log = logging.getLogger(__name__)

MIN_SIDE = 16
"""Shortest side of an image that is matted, in pixels."""


@dataclass(frozen=True)
class Staged:
    """Pairs of one size on the device, ready for the network.

    Attributes:
        photos: Per image source and background: (H, W, 3) pixels for the fast path, else (3, H, W);
            uint8 or float, padded to what the network takes.
        height: Height of the images without the padding.
        width: Width of the images without the padding.
        copied: Set once the copies to the device are done; None where there are none.
    """

    photos: list[tuple[Tensor, Tensor]]
    height: int
    width: int
    copied: torch.cuda.Event | None = None


def check_pair(src: Tensor, bgr: Tensor) -> None:
    """Refuse what no network can matte.

    Raises:
        DataError: The image is too small, or source and background differ in size.
    """
    height, width = src.shape[1:]
    if bgr.shape[1:] != src.shape[1:]:
        size = f"{bgr.shape[2]}x{bgr.shape[1]}"
        raise DataError(f"the source is {width}x{height} but its background {size}")
    if min(height, width) < MIN_SIDE:
        raise DataError(f"{width}x{height} is too small; {MIN_SIDE}x{MIN_SIDE} is the least")


class Predictor:
    """Mattes photographs with a network.

    Args:
        network: A `MattingBase` or `MattingRefine` with its weights. It is moved to `device` and
            put into evaluation mode.
        device: Where to compute.
        precision: `float32`, `bfloat16`, `float16`, or `int8` of the coarse network.
        runtime: What computes the coarse network, one of `bgm.runtimes.RUNTIMES`; None runs the
            network as it is, without any of what makes it faster.
        rule: Chooses the scale of the coarse pass, and how much is refined, for each picture; None
            leaves the network's own. Not for a `MattingBase`.
        calibration: Pictures for `int8`; None for the demo.
        spare: Whether torch's weights are laid out for the coarse network only if it is needed,
            which it may not be where results are at hand.

    Attributes:
        network: The network.
        rule: The rule.

    Raises:
        ConfigError: The device cannot compute in that precision, or the runtime is not there.
    """

    def __init__(
        self,
        network: CoarseNetwork,
        device: torch.device,
        precision: str = "float32",
        runtime: str | None = "auto",
        rule: ScaleRule | None = None,
        calibration: Calibration | None = None,
        *,
        spare: bool = False,
    ) -> None:
        self._dtype = _dtype(precision, device)
        self.device = device
        self.network = network.eval().to(device)
        self._refines = isinstance(network, MattingRefine)
        self.rule = rule if self._refines else None
        self._fast: FastPath | None = None
        self._copies: Any = None
        if device.type == "cuda":
            self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        if runtime is not None:
            chosen = choose_runtime(runtime, device, precision)
            quantized = None
            if precision == "int8":
                quantized = quantize_coarse(network, self.rule, calibration or Calibration())
            make = partial(create_runtime, chosen, network, device, precision, quantized)
            # Other runtimes may refuse, which is to be known before any work.
            network.runtime = when_needed(make) if spare and chosen == "eager" else make()
            channels_last(network)
            if isinstance(network, MattingRefine) and device.type == "cpu":
                self._fast = FastPath(network, pack=can_pack())

    def __call__(self, src: Tensor, bgr: Tensor) -> Matte:
        """Matte one photograph.

        Args:
            src: Source, (3, H, W), uint8 or float in [0, 1], of any size from 16x16.
            bgr: Background, of the same size.

        Raises:
            DataError: The image is too small, or the two differ in size.
            PredictionError: The network returned values that are not finite.
        """
        (matte,) = self.run(self.stage([(src, bgr)]))
        if isinstance(matte, PredictionError):
            raise matte
        return matte

    def stage(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Staged:
        """Bring pairs to the device, padded; on CUDA without waiting for the copies.

        Args:
            pairs: Sources and backgrounds as for a call, all of one size.

        Raises:
            DataError: An image is too small, or sizes differ.
        """
        height, width = pairs[0][0].shape[1:]
        for src, bgr in pairs:
            check_pair(src, bgr)
        multiple = BLOCK if self.rule is None else self.rule(height, width).multiple
        if self._copies is None:
            photos = [(self._pad(src, multiple), self._pad(bgr, multiple)) for src, bgr in pairs]
            return Staged(photos, height, width)
        with torch.cuda.stream(self._copies):
            uploaded = [(self._upload(src), self._upload(bgr)) for src, bgr in pairs]
            photos = [(self._pad(s, multiple), self._pad(b, multiple)) for s, b in uploaded]
            return Staged(photos, height, width, self._copies.record_event())

    @torch.no_grad()  # not inference mode, whose results may not be changed in place
    def run(self, staged: Staged) -> list[Matte | PredictionError]:
        """Matte staged pairs together.

        Returns:
            For each its matte; or an error where the network returned values that are not finite.
        """
        if staged.copied is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(staged.copied)
            for image in (image for pair in staged.photos for image in pair):
                image.record_stream(current)  # its memory is not given away while it is used
        coarse = self._set_scale(staged)
        padded = staged.photos[0][0].shape[1:]
        if self._fast is not None and self._fast.fits(*padded):
            return self._run_fast(staged, coarse)
        if self.device.type == "cpu" and len(staged.photos) > 1:
            # Nothing is gained together here, and alone each image gets the same bits as ever.
            return [self.run(replace(staged, photos=[pair]))[0] for pair in staged.photos]
        src, bgr = (stack_unit(images) for images in zip(*staged.photos, strict=True))
        output = self._compute(src, bgr)
        sums = torch.stack([tensor.float().sum((1, 2, 3)) for tensor in output])
        finite = sums.sum(0).isfinite().tolist()
        return [
            self._matte(output, index, staged, coarse) if is_finite else PredictionError()
            for index, is_finite in enumerate(finite)
        ]

    def _compute(self, src: Tensor, bgr: Tensor) -> tuple[Tensor, ...]:
        """The network's output; alpha and foreground come first, error and blocks last."""
        lower = self._dtype is not torch.float32
        with torch.autocast(self.device.type, self._dtype, enabled=lower):
            output: tuple[Tensor, ...] = self.network(src, bgr)
        return output

    def take_spared_ms(self) -> float:
        """Milliseconds that coarse results at hand spared since the last call."""
        runtime = self.network.runtime
        return runtime.take_spared_ms() if isinstance(runtime, Remembering) else 0.0

    def _set_scale(self, staged: Staged) -> CoarsePass | None:
        """Set the network to the size of what is staged; None if it keeps what it has."""
        if self.rule is None:
            return None
        assert isinstance(self.network, MattingRefine)
        return self.rule.apply(self.network, staged.height, staged.width)

    def _upload(self, image: Tensor) -> Tensor:
        """Copy to the CUDA device: as it was decoded, so that few bytes cross the bus."""
        try:
            pinned = image.pin_memory()
        except (
            RuntimeError
        ) as error:  # the system lets no more be pinned; slowly is better than not
            log.debug("copied without pinning: %s", error)
            return image.to(self.device)
        return pinned.to(self.device, non_blocking=True)

    def _pad(self, image: Tensor, multiple: int) -> Tensor:
        """Repeat the last row and column until a refiner can take the image; move it there."""
        image = image.to(self.device)
        if image.dtype != torch.uint8:
            image = image.float()
        height, width = image.shape[1:]
        down, right = (-height % multiple, -width % multiple) if self._refines else (0, 0)
        if not (down or right):
            return image
        if image.device.type == "cpu":
            border = (0, down, 0, right, cv2.BORDER_REPLICATE)
            return as_tensor(cv2.copyMakeBorder(as_pixels(image), *border))
        rows = torch.arange(height + down, device=image.device).clamp_(max=height - 1)
        columns = torch.arange(width + right, device=image.device).clamp_(max=width - 1)
        pixels = image.permute(1, 2, 0).index_select(0, rows).index_select(1, columns)
        return pixels.permute(2, 0, 1)

    def _run_fast(self, staged: Staged, coarse: CoarsePass | None) -> list[Matte | PredictionError]:
        assert self._fast is not None
        height, width = staged.height, staged.width
        pixels = [tuple(x.permute(1, 2, 0).contiguous() for x in pair) for pair in staged.photos]
        mattes: list[Matte | PredictionError] = []
        for output in self._fast([(src, bgr) for src, bgr in pixels]):
            if not output.finite:
                mattes.append(PredictionError())
                continue
            rgba = output.rgba[:height, :width]
            planes = rgba.permute(2, 0, 1)
            foreground, alpha = planes[:3], planes[3:]
            blocks = output.ref_sm[None]
            share = round(blocks.float().mean().item(), 6)
            mattes.append(Matte(alpha, foreground, output.err_sm, blocks, share, rgba, coarse))
        return mattes

    def _matte(
        self,
        output: tuple[Tensor, ...],
        index: int,
        staged: Staged,
        coarse: CoarsePass | None,
    ) -> Matte:
        """The matte of one image of a batch, without the padding."""
        height, width = staged.height, staged.width
        one = [tensor[index] for tensor in output]
        pha, fgr = (tensor[:, :height, :width].float() for tensor in one[:2])
        if not self._refines:
            return Matte(pha, fgr, one[2])
        err_sm, ref_sm = one[-2:]
        share = round(ref_sm.float().mean().item(), 6)
        return Matte(pha, fgr, err_sm, ref_sm, share, coarse_pass=coarse)


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision not in PRECISIONS:
        raise ConfigError(f"precision={precision}: must be one of {', '.join(PRECISIONS)}")
    if precision == "float16" and device.type == "cpu":
        raise ConfigError(
            "precision=float16 is not for the CPU, where torch computes it slower than float32 "
            "and some operations not at all; use float32, bfloat16 or int8"
        )
    return PRECISIONS[precision]
