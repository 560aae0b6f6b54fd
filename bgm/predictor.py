"""Runs a network on one pair at a time: device, precision, padding, cropping."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bgm.errors import ConfigError, DataError
from bgm.matte import Matte
from bgm.networks import MattingRefine

MIN_SIDE = 16
"""Shortest side of an image that is matted, in pixels."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def select_device(name: str) -> torch.device:
    """Choose the device to compute on.

    Args:
        name: `auto` (CUDA, then MPS, then the CPU), or a torch device such as `cpu` or `cuda:1`.

    Raises:
        ConfigError: This machine does not have that device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device={name}: no such device; use auto, cpu, cuda or mps") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            found = f"only {count} CUDA device(s)" if count else "no CUDA device"
            raise ConfigError(f"device={name}: torch finds {found} here; use device=auto")
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device=mps: torch finds no Apple GPU here; use device=auto")
    return device


class Predictor:
    """Mattes photographs with a network.

    Args:
        network: A `MattingBase` or `MattingRefine` with its weights. It is moved to `device` and
            put into evaluation mode.
        device: Where to compute.
        precision: `float32`, `bfloat16` or `float16`; the lower ones through torch's autocast.
        maps: Whether mattes carry the error and refinement maps.

    Raises:
        ConfigError: The device cannot compute in that precision.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        precision: str = "float32",
        *,
        maps: bool = True,
    ) -> None:
        if precision not in DTYPES:
            raise ConfigError(f"precision={precision}: must be one of {', '.join(DTYPES)}")
        if precision == "float16" and device.type == "cpu":
            raise ConfigError(
                "precision=float16 is not for the CPU, where torch computes it slower than float32 "
                "and some operations not at all; use float32 or bfloat16"
            )
        self.device = device
        self.maps = maps
        self._dtype = DTYPES[precision]
        self._network = network.eval().to(device)
        self._refines = isinstance(network, MattingRefine)

    @torch.inference_mode()
    def __call__(self, src: Tensor, bgr: Tensor) -> Matte:
        """Matte one photograph.

        Args:
            src: Source, (3, H, W), uint8 or float in [0, 1], of any size from 16x16.
            bgr: Background, of the same size.

        Raises:
            DataError: The image is too small, or the two differ in size.
        """
        height, width = src.shape[1:]
        if bgr.shape[1:] != src.shape[1:]:
            size = f"{bgr.shape[2]}x{bgr.shape[1]}"
            raise DataError(f"the source is {width}x{height} but its background {size}")
        if min(height, width) < MIN_SIDE:
            raise DataError(f"{width}x{height} is too small; {MIN_SIDE}x{MIN_SIDE} is the least")
        photos = [self._prepare(image) for image in (src, bgr)]
        lower = self._dtype is not torch.float32
        with torch.autocast(self.device.type, self._dtype, enabled=lower):
            output = self._network(*photos)
        if self._refines:
            return self._refine_matte(output, height, width)
        error = output.err[0, :, :height, :width].float() if self.maps else None
        return Matte(*_crop(output, height, width), error=error)

    def _prepare(self, image: Tensor) -> Tensor:
        """Move an image to the device as a padded float32 batch of one in [0, 1]."""
        if self.device.type == "cuda":
            image = image.pin_memory()
        batch = image.to(self.device, non_blocking=True)[None].float()
        if image.dtype == torch.uint8:
            batch = batch / 255
        if not self._refines:
            return batch
        height, width = image.shape[1:]
        return F.pad(batch, (0, -width % 4, 0, -height % 4), mode="replicate")

    def _refine_matte(self, output: tuple[Tensor, ...], height: int, width: int) -> Matte:
        pha, _, _, _, err_sm, ref_sm = output
        error = refined = None
        if self.maps:
            padded = pha.shape[2:]
            error = F.interpolate(err_sm.float(), padded, mode="bilinear", align_corners=False)
            refined = F.interpolate(ref_sm.float(), padded, mode="nearest")
            error, refined = (x[0, :, :height, :width] for x in (error, refined))
        share = ref_sm.float().mean().item()
        return Matte(*_crop(output, height, width), error, refined, round(share, 6))


def _crop(output: tuple[Tensor, ...], height: int, width: int) -> tuple[Tensor, Tensor]:
    """Alpha and foreground of the first image, without the padding."""
    pha, fgr = (tensor[0, :, :height, :width].float() for tensor in output[:2])
    return pha, fgr
