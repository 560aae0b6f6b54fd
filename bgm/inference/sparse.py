"""The refiner again, touching only what it refines: for the CPU, with the same results.

The plain refiner resizes 42 channels of the whole image to half resolution and cuts windows out of
them. Here the image is seen as a grid of cells, one for each 4x4 block, and only the chosen blocks
and their neighbours are worked on:

- Resizing is linear, and so is the first convolution. For a cell, "resize the coarse map, then
  convolve" is one matrix product on the few coarse pixels around it. Where the half resolution is
  a whole multiple of the coarse one, there is a matrix for each place that a cell can have within
  a coarse pixel. Neighbouring blocks share their cells.
- One 8x8 window of each photograph serves the first convolution (whose matrix averages it to half
  resolution) and the third.
- "Repeat each pixel twice, then convolve" is a smaller convolution on pixels taken four at a time.

Blocks near the border of the image, whose windows reach into the zero padding, are left to the
plain refiner, on strips along the border.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bgm.data.pixels import scale_to_unit
from bgm.inference.fuse import PackedConvolution, channels_last, fold
from bgm.inference.windows import AT_ONCE, cut_windows, scale_range
from bgm.networks.refiner import BLOCK, HIDDEN_CHANNELS, Refiner

_NEAR = 2  # blocks this near to the border see the padding
_KNOWN = HIDDEN_CHANNELS + 4  # and alpha and residual
_PHOTOS = 6
_WINDOW = 8  # side of a block's window, in pixels
_COLOUR_FIRST = [1, 2, 3, 0]  # the refiner's order is alpha first, that of pixels alpha last


def resize_ratio(half: tuple[int, int], coarse: tuple[int, int]) -> int | None:
    """How many half-resolution pixels a coarse one is wide and high; None if not 1 or even."""
    ratio = half[0] // coarse[0]
    exact = half == (coarse[0] * ratio, coarse[1] * ratio)
    return ratio if exact and (ratio == 1 or ratio % 2 == 0) else None


class _Cells:
    """The cells that are worked on, those of one phase side by side.

    A phase is the place that a cell has within a coarse pixel, in half-resolution pixels.

    Args:
        chosen: Boolean, by row and column of the grid.
        ratio: Half-resolution pixels per coarse pixel and direction, 1 or even.

    Attributes:
        rows: Row of each cell.
        columns: Its column.
        phases: Which of the cells have which phase.
        numbers: Of each place in the grid, which cell it is, if any.
    """

    def __init__(self, chosen: Tensor, ratio: int) -> None:
        per_pixel = max(1, ratio // 2)
        rows, columns, self.phases, first = [], [], {}, 0
        for down in range(per_pixel):
            for across in range(per_pixel):
                found = torch.nonzero(chosen[down::per_pixel, across::per_pixel], as_tuple=True)
                rows.append(found[0] * per_pixel + down)
                columns.append(found[1] * per_pixel + across)
                last = first + len(found[0])
                self.phases[2 * down, 2 * across] = slice(first, last)
                first = last
        self.rows, self.columns = torch.cat(rows), torch.cat(columns)
        self.numbers = torch.empty(chosen.shape, dtype=torch.long)
        self.numbers[self.rows, self.columns] = torch.arange(first)


class SparseRefiner:
    """Refines chosen blocks of one image.

    Args:
        refiner: The refiner, of kernel size 3, with its weights.
        ratio: Half-resolution pixels per coarse pixel and direction, 1 or even.
        pack: Whether to use `PackedConvolution`.
    """

    def __init__(self, refiner: Refiner, ratio: int, *, pack: bool) -> None:
        self._plain = refiner
        self._ratio = ratio
        first, second, third = (
            fold(convolution, norm)
            for convolution, norm in (
                (refiner.conv1, refiner.bn1),
                (refiner.conv2, refiner.bn2),
                (refiner.conv3, refiner.bn3),
            )
        )
        self._on_known = _known_weights(first, ratio)
        self._on_photos = _photo_weights(first)
        self._first_bias = _bias(first).repeat(4)
        self._second = _convolve_relu(second.weight, _bias(second), (4096, 24, 6, 6), pack)
        self._third = _convolve_relu(
            _quadrupled_weights(third.weight), _bias(third).repeat(4), (4096, 40, 4, 4), pack
        )
        self._fourth = _last_weights(refiner.conv4.weight[_COLOUR_FIRST])
        self._fourth_bias = _bias(refiner.conv4)[_COLOUR_FIRST].repeat(16)

    @staticmethod
    def fits(refiner: Refiner, height: int, width: int, coarse: tuple[int, int]) -> int | None:
        """The resize ratio, if an image of this size can be refined this way; else None."""
        ratio = resize_ratio((height // 2, width // 2), coarse)
        if ratio is None or refiner.kernel_size != 3 or refiner.mode == "full":
            return None
        return ratio if min(height, width) // BLOCK > 2 * _strip_blocks(ratio) else None

    def reach(self, chosen: Tensor) -> Tensor:
        """Where refining looks at what the coarse pass knows.

        Args:
            chosen: Blocks to refine, boolean, (H/4, W/4).

        Returns:
            Pixels of the coarse pass, boolean, (h, w).
        """
        pixels, far = chosen.byte(), 2
        if self._ratio == 1:
            pixels, far = pixels.repeat_interleave(2, 0).repeat_interleave(2, 1), 3
        elif self._ratio > 2:
            blocks = self._ratio // 2  # to a pixel
            height, width = (side // blocks for side in chosen.shape)
            pixels = pixels.view(height, blocks, width, blocks).amax((1, 3))
        kernel = np.ones((2 * far + 1, 2 * far + 1), np.uint8)
        return torch.from_numpy(cv2.dilate(pixels.numpy(), kernel)).bool()

    def __call__(
        self, src: Tensor, bgr: Tensor, known: Tensor, chosen: Tensor, whole: Tensor
    ) -> Tensor:
        """Refine the chosen blocks of one image in place.

        Args:
            src: Source, (H, W, 3), contiguous, uint8 or float in [0, 1].
            bgr: Background, likewise.
            known: Hidden features, alpha and residual of the coarse pass, their border repeated
                once, which is what resizing sees there: (h + 2, w + 2, 36), contiguous. Where
                `reach` does not say so, features are not used, but have to be finite.
            chosen: Blocks to refine, boolean, (H/4, W/4).
            whole: Coarse foreground residual and alpha, in this order, at full resolution,
                (H, W, 4); the chosen blocks are replaced.

        Returns:
            The sum of all that was refined, which is finite only if everything in it is.
        """
        tiles = whole.view(chosen.shape[0], BLOCK, chosen.shape[1], BLOCK, 4).transpose(1, 2)
        inner = chosen.clone()
        inner[:_NEAR] = inner[-_NEAR:] = False
        inner[:, :_NEAR] = inner[:, -_NEAR:] = False
        rows, columns = torch.nonzero(inner, as_tuple=True)
        total = torch.zeros(())
        for start in range(0, len(rows), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            places = rows[part], columns[part]
            refined = self._refine_inner(src, bgr, known, inner.shape, *places)
            tiles[places] = refined
            total += refined.sum()
        near = chosen & ~inner
        for strip in _strips(chosen.shape, self._ratio):
            total += self._refine_strip(src, bgr, known[1:-1, 1:-1], near, strip, tiles)
        return total

    def _refine_inner(
        self,
        src: Tensor,
        bgr: Tensor,
        padded: Tensor,
        grid: torch.Size,
        rows: Tensor,
        columns: Tensor,
    ) -> Tensor:
        """Refine blocks that do not see the padding, at `rows` and `columns`: (N, 4, 4, 4)."""
        inner = torch.zeros(grid, dtype=torch.bool)
        inner[rows, columns] = True
        cells = _Cells(F.max_pool2d(inner[None].float(), 3, 1, 1)[0] > 0, self._ratio)
        corners = cells.rows * BLOCK - 2, cells.columns * BLOCK - 2
        photos = [
            scale_to_unit(cut_windows(image, _WINDOW, *corners).float(), image)
            for image in (src, bgr)
        ]
        first = self._convolve_first(padded, photos, cells)

        count = len(rows)
        around = cut_windows(cells.numbers[..., None], 3, rows - 1, columns - 1).view(-1, 3, 1, 3)
        halves = torch.cat([2 * around, 2 * around + 1], 2).view(-1)  # upper and lower pixels
        x = first.view(-1, 48).index_select(0, halves).view(count, 6, 6, 24)
        x = self._second(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

        joined = torch.empty(count, 4, 4, 40)
        joined[..., :16] = x
        mine = cells.numbers[rows, columns]
        for part, image in zip((joined[..., 16:28], joined[..., 28:]), photos, strict=True):
            own = image.index_select(0, mine).view(count, 4, 2, 4, 2, 3)
            part.view(count, 4, 4, 2, 2, 3).copy_(own.transpose(2, 3))
        x = self._third(joined.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        refined = torch.addmm(self._fourth_bias, x.reshape(count, 9 * 48), self._fourth)
        return refined.view(count, BLOCK, BLOCK, 4)

    def _convolve_first(self, padded: Tensor, photos: list[Tensor], cells: _Cells) -> Tensor:
        """The first convolution, with its activation, at the 2x2 pixels of each cell: (M, 96)."""
        output = torch.addmm(self._first_bias, photos[0], self._on_photos[0])
        output.addmm_(photos[1], self._on_photos[1])
        for phase, part in cells.phases.items():
            corners = [2 * index[part] // self._ratio for index in (cells.rows, cells.columns)]
            near = cut_windows(padded, 4 if self._ratio == 1 else 3, *corners)
            output[part].addmm_(near, self._on_known[phase])
        return output.relu_()

    def _refine_strip(
        self,
        src: Tensor,
        bgr: Tensor,
        known: Tensor,
        near: Tensor,
        strip: tuple[slice, slice],
        tiles: Tensor,
    ) -> Tensor:
        """Refine the blocks near the border that lie in a strip, and take them off `near`."""
        own = near[strip]
        chosen = torch.zeros_like(own)
        rim = _rim(own.shape, near.shape, strip)
        chosen[rim] = own[rim]
        rows, columns = torch.nonzero(chosen, as_tuple=True)
        if not len(rows):
            return torch.zeros(())
        own[rim] = False
        down, across = strip
        pixels = scale_range(down, BLOCK), scale_range(across, BLOCK)
        coarse = scale_range(down, 2, self._ratio), scale_range(across, 2, self._ratio)
        photos = torch.cat([image[pixels].float() for image in (src, bgr)], 2)
        photos = scale_to_unit(photos, src, bgr)
        part = known[coarse].permute(2, 0, 1)[None]
        blocks = (torch.zeros_like(rows), rows, columns)
        refined = self._plain.refine_blocks(
            photos.permute(2, 0, 1)[None], part[:, -4:], part[:, :-4], blocks
        )
        tiles[strip][rows, columns] = refined.permute(0, 2, 3, 1)[..., _COLOUR_FIRST]
        return refined.sum()


def _strip_blocks(ratio: int) -> int:
    """Blocks across a strip: two near the border, and what the windows of those reach into."""
    return 2 * max(3, ratio)


def _strips(grid: torch.Size, ratio: int) -> list[tuple[slice, slice]]:
    """Top, bottom, left and right."""
    wide, everywhere = _strip_blocks(ratio), slice(None)
    return [
        (slice(0, wide), everywhere),
        (slice(grid[0] - _even(grid[0], wide, ratio), None), everywhere),
        (everywhere, slice(0, wide)),
        (everywhere, slice(grid[1] - _even(grid[1], wide, ratio), None)),
    ]


def _even(length: int, wide: int, ratio: int) -> int:
    """At least `wide` blocks at the end of a side, beginning with a whole coarse pixel."""
    per_pixel = max(1, ratio // 2)
    return wide + (length - wide) % per_pixel


def _rim(own: torch.Size, grid: torch.Size, strip: tuple[slice, slice]) -> tuple[slice, slice]:
    """The blocks of a strip that are nearest to the border it runs along."""
    place = []
    for side, length, cut in zip(own, grid, strip, strict=True):
        if side == length:
            place.append(slice(None))
        elif cut.start == 0:
            place.append(slice(0, _NEAR))
        else:
            place.append(slice(side - _NEAR, None))
    return place[0], place[1]


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias.detach()


def _convolve_relu(weight: Tensor, bias: Tensor, size: tuple[int, ...], pack: bool) -> nn.Module:
    """An unpadded convolution of windows, with its activation."""
    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2])
    convolution.weight.data, convolution.bias = weight.detach(), nn.Parameter(bias)
    if pack:
        return PackedConvolution(convolution, nn.ReLU(), size)
    plain = nn.Sequential(convolution, nn.ReLU(inplace=True))
    return channels_last(plain).requires_grad_(False)


def _known_weights(first: nn.Conv2d, ratio: int) -> dict[tuple[int, int], Tensor]:
    """For each place of a cell within a coarse pixel the matrix of the first convolution.

    Its rows are the coarse pixels around the cell; its columns the 2x2 outputs of the cell with 24
    channels.
    """
    kernel = first.weight.detach().double()
    offsets = range(0, max(ratio, 1), 2)
    resizing = {offset: _resizing(offset, ratio) for offset in offsets}
    weights = {}
    for down in offsets:
        for across in offsets:
            on_known = torch.stack(
                [
                    torch.einsum(
                        "ocyx,yi,xj->ijco",
                        kernel[:, :_KNOWN],
                        resizing[down][a : a + 3],
                        resizing[across][b : b + 3],
                    )
                    for a in range(2)
                    for b in range(2)
                ],
                dim=3,
            )
            rows = on_known.flatten(0, 2).flatten(1)
            weights[down, across] = rows.float().contiguous()
    return weights


def _photo_weights(first: nn.Conv2d) -> list[Tensor]:
    """The matrix of the first convolution on a window of each photograph, (192, 96).

    The window has full resolution: that four of its pixels are averaged to one of half the
    resolution is in the matrix, which is quicker than to do it.
    """
    kernel = first.weight.detach().double()
    on_half = _unrolled(kernel[:, _KNOWN:], _WINDOW // 2, 2).view(4, 4, 2, 3, -1)
    on_full = on_half.repeat_interleave(2, 0).repeat_interleave(2, 1) / 4
    return [on_full[:, :, i].reshape(_WINDOW**2 * 3, -1).float().contiguous() for i in range(2)]


def _resizing(offset: int, ratio: int) -> Tensor:
    """How the 4 half-resolution pixels around a cell come of coarse ones, by rows (bilinear)."""
    if ratio == 1:
        return torch.eye(4, dtype=torch.double)
    matrix = torch.zeros(4, 3, dtype=torch.double)
    for row in range(4):
        place = (offset + row - 1 + 0.5) / ratio - 0.5 + 1  # counted from the first coarse pixel
        left = int(place)
        matrix[row, left] += 1 - (place - left)
        if place > left:
            matrix[row, left + 1] += place - left
    return matrix


def _unrolled(kernel: Tensor, side: int, out: int) -> Tensor:
    """The matrix of an unpadded convolution of side x side windows: (side² C, out² O)."""
    outputs, channels, size, _ = kernel.shape
    matrix = torch.zeros(side, side, channels, out, out, outputs, dtype=kernel.dtype)
    for a in range(out):
        for b in range(out):
            matrix[a : a + size, b : b + size, :, a, b] = kernel.permute(2, 3, 1, 0)
    return matrix.reshape(side * side * channels, out * out * outputs)


def _quadrupled_weights(kernel: Tensor) -> Tensor:
    """The third convolution on 2x2 pixels at a time: (4 x 12, 16 + 2 x 4 x 3, 2, 2).

    Of the features, the four pixels are one, repeated; of each photograph, they are four.
    """
    weights = torch.zeros(2, 2, 12, 40, 2, 2, dtype=kernel.dtype)
    photos = weights[:, :, :, 16:].view(2, 2, 12, 2, 2, 2, 3, 2, 2)
    for a in range(2):
        for b in range(2):
            for y in range(3):
                for x in range(3):
                    (down, p), (across, q) = divmod(a + y, 2), divmod(b + x, 2)
                    weights[a, b, :, :16, down, across] += kernel[:, :16, y, x].detach()
                    on_photos = kernel[:, 16:, y, x].detach().view(12, 2, 3)
                    photos[a, b, :, :, p, q, :, down, across] += on_photos
    return weights.view(48, 40, 2, 2)


def _last_weights(kernel: Tensor) -> Tensor:
    """The matrix of the fourth convolution on 3x3 places of 2x2 pixels: (3 x 3 x 48, 4 x 4 x 4)."""
    matrix = _unrolled(kernel.detach(), 6, 4).view(3, 2, 3, 2, 12, 64)
    return matrix.permute(0, 2, 1, 3, 4, 5).reshape(9 * 48, 64).contiguous()
