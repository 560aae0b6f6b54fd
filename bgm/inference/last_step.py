"""The decoder's last step, a third of the coarse pass, as far as it is needed.

Alpha, residual and error are needed everywhere, the 32 hidden features only near refined blocks.
Besides, to enlarge twice and then convolve is one convolution of what is not yet enlarged: a block
of 2x2 pixels comes of 3x3 pixels there, and of 3x3 blocks of the photographs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bgm.inference.fuse import PackedConvolution
from bgm.inference.windows import AT_ONCE, cut_windows, scale_range
from bgm.networks import RuntimeOutput, split_output
from bgm.networks.decoder import join
from bgm.networks.encoders import INPUT_CHANNELS
from bgm.networks.matting import clamp
from bgm.networks.refiner import HIDDEN_CHANNELS

_DENSE = 5  # channels of alpha, residual and error, which come first
_TYPICAL = (136, 240)  # height and width of what `decode_half` returns
_RIM = 2  # pixels this near to the border see the padding
_MANY = 0.4  # share of the blocks from which on it is quicker to compute all
_ENLARGING = torch.tensor(  # makes four pixels in a row, the middle two of one pixel, from three
    [[0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0.75, 0.25], [0, 0.25, 0.75]], dtype=torch.double
)
_FIRST, _LAST, _ALL = slice(None, _RIM), slice(-_RIM, None), slice(None)
_SIDES = ((_FIRST, _ALL), (_LAST, _ALL), (_ALL, _FIRST), (_ALL, _LAST))  # rows, columns


class _Rim(NamedTuple):
    """What the last step returns along a side of the images.

    Attributes:
        rows: Those that it covers.
        columns: Likewise.
        channels: Those of the whole step, (B, 37, rows, columns).
    """

    rows: slice
    columns: slice
    channels: Tensor


class LastStep:
    """Does what is left after `Decoder.decode_half`, in float32 on the CPU.

    Args:
        convolution: The last one of the decoder.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        assert convolution.bias is not None
        weight, bias = convolution.weight.detach(), convolution.bias.detach()
        height, width = _TYPICAL
        channels = weight.shape[1]
        self._plain = PackedConvolution(convolution, None, (1, channels, 2 * height, 2 * width))
        on_blocks = _block_weights(weight)
        dense = nn.Conv2d(on_blocks.shape[3], 4 * _DENSE, 3, padding=1)
        dense.weight.data = on_blocks[:, :, :_DENSE].flatten(0, 2)
        dense.bias = nn.Parameter(bias[:_DENSE].repeat(4))
        self._dense = PackedConvolution(dense, None, (1, on_blocks.shape[3], height, width))
        hidden = on_blocks[:, :, _DENSE:].flatten(0, 2).permute(2, 3, 1, 0).flatten(0, 2)
        self._hidden, self._hidden_bias = hidden.contiguous(), bias[_DENSE:].repeat(4)

    def __call__(self, half: Tensor, photos: Tensor) -> RuntimeOutput:
        """What the coarse network returns.

        Args:
            half: What `decode_half` returned, (B, 48, h, w), channels last.
            photos: What the network was given, (B, 6, H, W), channels last.
        """
        batch, _, height, width = half.shape
        if photos.shape[2:] != (2 * height, 2 * width) or min(height, width) < _RIM:
            return split_output(self._convolve(half, photos))
        blocks = _join_blocks(half, photos)
        made = self._dense(blocks.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        pixels = torch.empty(batch, 2 * height, 2 * width, _DENSE)
        _in_blocks(pixels).copy_(made.view(batch, height, width, 2, 2, _DENSE))
        output = pixels.permute(0, 3, 1, 2)
        rims = [self._rim(half, photos, rows, columns) for rows, columns in _SIDES]
        for rim in rims:
            output[:, :, rim.rows, rim.columns] = rim.channels[:, :_DENSE]
        pha, residual, err = output[:, :1], output[:, 1:4], output[:, 4:]
        return clamp(pha), residual.contiguous(), clamp(err), _Hidden(self, blocks, rims)

    def hidden_everywhere(self, blocks: Tensor) -> Tensor:
        """All hidden features, (B, 32, H, W), of what `_join_blocks` has joined."""
        channels = blocks.shape[3] - 4 * INPUT_CHANNELS
        batch, height, width, _ = blocks.shape
        own = blocks[..., channels:].view(batch, height, width, 2, 2, INPUT_CHANNELS)
        photos = torch.empty(batch, 2 * height, 2 * width, INPUT_CHANNELS)
        _in_blocks(photos).copy_(own)
        half = blocks[..., :channels].contiguous()
        channels_first = (x.permute(0, 3, 1, 2) for x in (half, photos))
        return self._convolve(*channels_first)[:, _DENSE:].relu()

    def hidden(self, windows: Tensor) -> Tensor:
        """Hidden features of the block amid each 3x3 blocks: (N, 9 x 72) to (N, 2, 2, 32)."""
        features = torch.addmm(self._hidden_bias, windows, self._hidden).relu_()
        return features.view(len(windows), 2, 2, HIDDEN_CHANNELS)

    def _convolve(self, half: Tensor, photos: Tensor) -> Tensor:
        output: Tensor = self._plain(join(half, photos))
        return output

    def _rim(self, half: Tensor, photos: Tensor, rows: slice, columns: slice) -> _Rim:
        """Pixels along a side, from a strip that is as wide as needed.

        One image after the other: how strips so narrow are summed up depends on their number.
        """
        strips = [
            torch.split(image[:, :, scale_range(rows, n), scale_range(columns, n)], 1)
            for image, n in ((half, 1), (photos, 2))
        ]
        convolved = torch.cat([self._convolve(*one) for one in zip(*strips, strict=True)])
        return _Rim(rows, columns, convolved[:, :, rows, columns])


class _Hidden:
    """The hidden features, see `LazyHidden`."""

    def __init__(self, step: LastStep, blocks: Tensor, rims: list[_Rim]) -> None:
        self._step, self._blocks, self._rims = step, blocks, rims
        self.nbytes = blocks.nbytes + sum(rim.channels.nbytes for rim in rims)

    def everywhere(self) -> Tensor:
        """All of them."""
        return self._step.hidden_everywhere(self._blocks)

    def write(self, index: int, needed: Tensor, output: Tensor) -> None:
        """Write at least those of one image that are needed."""
        height, width = self._blocks.shape[1:3]
        inner = needed.view(height, 2, width, 2).any(3).any(1)
        inner[0] = inner[-1] = inner[:, 0] = inner[:, -1] = False  # these are the rims
        places = torch.nonzero(inner)
        if len(places) > _MANY * inner.numel():
            features = self._step.hidden_everywhere(self._blocks[index : index + 1])[0]
            output.copy_(features.permute(1, 2, 0))
            return
        tiles = _in_blocks(output[None])[0]
        for start in range(0, len(places), AT_ONCE):
            rows, columns = places[start : start + AT_ONCE].unbind(1)
            windows = cut_windows(self._blocks[index], 3, rows - 1, columns - 1)
            tiles[rows, columns] = self._step.hidden(windows)
        for rim in self._rims:
            features = rim.channels[index, _DENSE:].relu()
            output[rim.rows, rim.columns] = features.permute(1, 2, 0)


def _in_blocks(pixels: Tensor) -> Tensor:
    """(B, H, W, C) seen as blocks of 2x2 pixels, (B, H/2, W/2, 2, 2, C)."""
    batch, height, width, channels = pixels.shape
    return pixels.view(batch, height // 2, 2, width // 2, 2, channels).transpose(2, 3)


def _join_blocks(half: Tensor, photos: Tensor) -> Tensor:
    """What the step takes, by blocks of 2x2 pixels: (B, h, w, 48 + 2 x 2 x 6)."""
    batch, channels, height, width = half.shape
    blocks = torch.empty(batch, height, width, channels + 4 * INPUT_CHANNELS)
    blocks[..., :channels] = half.permute(0, 2, 3, 1)
    own = blocks[..., channels:].view(batch, height, width, 2, 2, INPUT_CHANNELS)
    own.copy_(_in_blocks(photos.permute(0, 2, 3, 1)))
    return blocks


def _block_weights(kernel: Tensor) -> Tensor:
    """The convolution's weights for blocks: (2, 2, outputs, 48 + 2 x 2 x 6, 3, 3)."""
    outputs, channels = len(kernel), kernel.shape[1] - INPUT_CHANNELS
    on_half, on_photos = kernel[:, :channels].double(), kernel[:, channels:]
    weights = torch.zeros(2, 2, outputs, channels + 4 * INPUT_CHANNELS, 3, 3)
    photos = weights[:, :, :, channels:].view(2, 2, outputs, 2, 2, INPUT_CHANNELS, 3, 3)
    for a in range(2):
        for b in range(2):
            weights[a, b, :, :channels] = torch.einsum(
                "ocyx,yi,xj->ocij", on_half, _ENLARGING[a : a + 3], _ENLARGING[b : b + 3]
            )
            for y in range(3):
                for x in range(3):
                    (down, p), (across, q) = divmod(a + y + 1, 2), divmod(b + x + 1, 2)
                    photos[a, b, :, p, q, :, down, across] = on_photos[:, :, y, x]
    return weights
