"""The coarse part of a network by itself, as tracers and exporters take it."""

from __future__ import annotations

import io
import warnings
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bgm.networks import CoarseNetwork, CoarseOutput, run_coarse, split_output

EXAMPLE = (1, 6, 272, 480)
"""Shape of a typical input."""


class _Parts(nn.Module):
    """The parts of the coarse network."""

    def __init__(self, network: CoarseNetwork) -> None:
        super().__init__()
        self.backbone = network.backbone
        self.aspp = network.aspp
        self.decoder = network.decoder

    def join(self, photos: Tensor) -> Tensor:
        """All channels that leave the decoder, (B, 37, h, w)."""
        return run_coarse(self.backbone, self.aspp, self.decoder, photos)


class CoarseModule(_Parts):
    """The coarse part of a network as a module of its own."""

    def forward(self, photos: Tensor) -> CoarseOutput:
        """Run the network on (B, 6, h, w)."""
        return split_output(self.join(photos))


class JoinedModule(_Parts):
    """The same with one output, (B, h, w, 37): what leaves the decoder, pixel by pixel.

    So do other runtimes compute, and so is it taken up. To split it and put its channels first
    there would copy the largest maps there are, twice.
    """

    def forward(self, photos: Tensor) -> Tensor:
        """Run the network on (B, 6, h, w)."""
        return self.join(photos).permute(0, 2, 3, 1)


class HalfModule(_Parts):
    """All but the last step of the decoder."""

    def forward(self, photos: Tensor) -> Tensor:
        """Run the network on (B, 6, h, w)."""
        features = self.backbone(photos)
        return self.decoder.decode_half(self.aspp(features.sixteenth), features)


def split_joined(joined: NDArray[Any]) -> CoarseOutput:
    """What a `JoinedModule` returned, in tensors of their own."""
    pha, residual, err, hid = split_output(torch.from_numpy(joined).permute(0, 3, 1, 2))
    return pha, residual.clone(), err, hid


def to_onnx(network: CoarseNetwork) -> bytes:
    """An ONNX file of a `JoinedModule`: input `photos`, batches of any number and size."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of this exporter's age; the new one needs onnxscript
        torch.onnx.export(
            JoinedModule(network).eval().requires_grad_(False),
            (torch.rand(EXAMPLE),),
            file,  # type: ignore[arg-type]
            dynamo=False,
            input_names=["photos"],
            output_names=["joined"],
            opset_version=17,
            dynamic_axes={"photos": {0: "b", 2: "h", 3: "w"}, "joined": {0: "b", 1: "h", 2: "w"}},
        )
    return file.getvalue()
