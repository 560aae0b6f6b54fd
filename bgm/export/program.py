"""A network as a program that does not need its Python any more (torch.export)."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from bgm.inference.coarse import EXAMPLE, CoarseModule
from bgm.inference.fuse import fuse
from bgm.networks import CoarseNetwork, MattingRefine
from bgm.networks.refiner import BLOCK

REFINE_OUTPUTS = ["pha", "fgr", "err", "ref"]
BASE_OUTPUTS = ["pha", "fgr", "err"]

_LEAST_COARSE = 17  # below, the deepest features are a single row, which is a case of its own
_LARGEST_SIDE = 1 << 15
_TRACED = (2, 3, 256, 320)  # a batch of one would be taken for the only one


@dataclass(frozen=True)
class Size:
    """Width and height of the images that a file takes, in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Exportable(nn.Module):
    """A network with the outputs of a network file; inputs and outputs are always float32.

    Args:
        network: The network, in evaluation mode.
        half: Whether to compute in float16.
        fold: Whether to fold the coarse network's batch norms into its convolutions.
    """

    def __init__(self, network: CoarseNetwork, *, half: bool = False, fold: bool = False) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.outputs = outputs_of(network)
        if fold:
            coarse = CoarseModule(self.network)
            self.network.runtime = fuse(coarse, torch.rand(EXAMPLE), pack=False)
        self._dtype = torch.float16 if half else torch.float32
        self.network.to(self._dtype)
        self.eval()

    def forward(self, src: Tensor, bgr: Tensor) -> tuple[Tensor, ...]:
        """Matte `src` against `bgr`, both (B, 3, H, W), RGB in [0, 1]."""
        output = self.network(src.to(self._dtype), bgr.to(self._dtype))
        if isinstance(self.network, MattingRefine):
            kept = [output.pha, output.fgr, output.err_sm, output.ref_sm]
        else:
            kept = [output.pha, output.fgr, output.err]
        return tuple(tensor.float() for tensor in kept)


def outputs_of(network: CoarseNetwork) -> list[str]:
    """Names of what a network file returns."""
    return REFINE_OUTPUTS if isinstance(network, MattingRefine) else BASE_OUTPUTS


def multiple_of(network: CoarseNetwork) -> int:
    """What the sides of an image must be divisible by."""
    return BLOCK if isinstance(network, MattingRefine) else 1


def least_side(network: CoarseNetwork) -> int:
    """Shortest side of an image that a file for any size takes, in pixels."""
    if isinstance(network, MattingRefine):
        return math.ceil(_LEAST_COARSE / network.backbone_scale / BLOCK) * BLOCK
    return _LEAST_COARSE


def make_program(module: Exportable, size: Size | None) -> ExportedProgram:
    """Follow a network through torch.export.

    Args:
        module: The network.
        size: Size of the images, one at a time; None for batches of any number and size.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own insides
        if size is not None:
            images = torch.rand(1, 3, size.height, size.width), torch.rand(1, 3, *_hw(size))
            program = torch.export.export(module, images)
        else:
            images = torch.rand(_TRACED), torch.rand(_TRACED)
            shapes = _any_size(multiple_of(module.network), least_side(module.network))
            program = torch.export.export(module, images, dynamic_shapes=(shapes, shapes))
    return program


def _hw(size: Size) -> tuple[int, int]:
    return size.height, size.width


def _any_size(multiple: int, least: int) -> dict[int, Dim]:
    """Dimensions of a batch of any number and size."""
    most = _LARGEST_SIDE // multiple
    sides = [Dim(name, min=least // multiple, max=most) for name in ("height", "width")]
    height, width = (multiple * side if multiple > 1 else side for side in sides)
    return {0: Dim("batch", min=1, max=1024), 2: height, 3: width}
