"""The refiner: redoes at full resolution the 4x4 blocks that the coarse network got wrong.

Paper, section 3.2. A block is seen twice: through an 8x8 window of everything known at half
resolution, then through an 8x8 window of the two photographs at full resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

REFINE_MODES = ("sampling", "thresholding", "full")
"""How the blocks to refine are chosen."""

BLOCK = 4
"""Side of a refined block, in pixels of the full resolution."""

Blocks = tuple[Tensor, ...]
"""Image, row and column of each chosen block."""

_HIDDEN = 32
_PHOTOS = 6
_COARSE = 4  # alpha and foreground residual


class Refiner(nn.Module):
    """Chooses blocks by the predicted error and refines them.

    Args:
        mode: `sampling` (a fixed number of blocks per image), `thresholding` (every block whose
            error is above a threshold) or `full` (every block).
        sample_pixels: Pixels refined per image in mode `sampling`; a block has 16.
        threshold: Error above which mode `thresholding` refines, in [0, 1].
        kernel_size: Side of the convolutions, 3 or 1.

    Raises:
        ValueError: A setting is none of these.
    """

    def __init__(
        self,
        mode: str = "sampling",
        sample_pixels: int = 80_000,
        threshold: float = 0.1,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        if mode not in REFINE_MODES:
            raise ValueError(f"unknown refine mode {mode!r}; there are {', '.join(REFINE_MODES)}")
        if kernel_size not in (1, 3):
            raise ValueError(f"the refiner's kernel size is 1 or 3, not {kernel_size}")
        if sample_pixels < 0:
            raise ValueError(f"sample pixels cannot be negative: {sample_pixels}")
        self.mode = mode
        self.sample_pixels = sample_pixels
        self.threshold = threshold
        self.kernel_size = kernel_size
        # What two unpadded convolutions eat on each side, counted in full-resolution pixels.
        self.full_margin = kernel_size - 1
        self.half_margin = 3 if kernel_size == 3 else 0

        self.conv1 = nn.Conv2d(_HIDDEN + _COARSE + _PHOTOS, 24, kernel_size, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.conv2 = nn.Conv2d(24, 16, kernel_size, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16 + _PHOTOS, 12, kernel_size, bias=False)
        self.bn3 = nn.BatchNorm2d(12)
        self.conv4 = nn.Conv2d(12, _COARSE, kernel_size)
        self.relu = nn.ReLU(inplace=True)

    def forward(
        self, photos: Tensor, coarse: Tensor, err: Tensor, hid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Refine the coarse result.

        Args:
            photos: Source and background, (B, 6, H, W) in [0, 1]; H and W divisible by 4.
            coarse: Alpha and foreground residual of the coarse network, (B, 4, h, w).
            err: Predicted error, (B, 1, h, w) in [0, 1].
            hid: Hidden features, (B, 32, h, w).

        Returns:
            Alpha and foreground residual at full resolution, (B, 4, H, W), and the map of the
            refined blocks, (B, 1, H/4, W/4), 1 where refined.
        """
        height, width = photos.shape[2:]
        chosen = self.choose_blocks(err, (height // BLOCK, width // BLOCK))
        if not chosen.any():
            return _resize(coarse, (height, width)), chosen.to(err.dtype)

        if self.mode == "full":
            return self._convolve(*self._padded(photos, coarse, hid)), chosen.to(err.dtype)
        blocks = torch.nonzero(chosen[:, 0], as_tuple=True)
        refined = self.refine_blocks(photos, coarse, hid, blocks)
        return _paste(_resize(coarse, (height, width)), refined, blocks), chosen.to(err.dtype)

    def refine_blocks(self, photos: Tensor, coarse: Tensor, hid: Tensor, blocks: Blocks) -> Tensor:
        """Refine the named blocks; alpha and foreground residual of each, (N, 4, 4, 4)."""
        half, full = self._padded(photos, coarse, hid)
        return self._convolve(
            _cut(half, blocks, BLOCK // 2, self.half_margin),
            _cut(full, blocks, BLOCK, self.full_margin),
        )

    def _padded(self, photos: Tensor, coarse: Tensor, hid: Tensor) -> tuple[Tensor, Tensor]:
        """All that is known at half resolution, and the photographs, with their margins."""
        half_size = (photos.shape[2] // 2, photos.shape[3] // 2)
        half = torch.cat(
            [_resize(torch.cat([hid, coarse], dim=1), half_size), _resize(photos, half_size)], dim=1
        )
        return _pad(half, self.half_margin), _pad(photos, self.full_margin)

    def choose_blocks(self, err: Tensor, grid: tuple[int, int]) -> Tensor:
        """Choose the blocks to refine.

        Args:
            err: Predicted error, (B, 1, h, w).
            grid: Rows and columns of blocks.

        Returns:
            Boolean map (B, 1, rows, columns).
        """
        err = _resize(err, grid)
        if self.mode == "full":
            return torch.ones_like(err, dtype=torch.bool)
        if self.mode == "thresholding":
            return err > self.threshold
        flat = err.flatten(1)
        count = min(self.sample_pixels // BLOCK**2, flat.shape[1])
        largest = flat.topk(count, dim=1, sorted=False).indices
        chosen = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, largest, True)
        return chosen.view_as(err) & (err > 0)

    def _convolve(self, half: Tensor, full: Tensor) -> Tensor:
        """Run the four convolutions on windows with their margins, or on whole padded images."""
        x = self.relu(self.bn1(self.conv1(half)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = F.interpolate(x, full.shape[2:], mode="nearest")
        x = self.relu(self.bn3(self.conv3(torch.cat([x, full], dim=1))))
        output: Tensor = self.conv4(x)
        return output


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def _pad(x: Tensor, margin: int) -> Tensor:
    return F.pad(x, (margin, margin, margin, margin))


def _cut(padded: Tensor, blocks: Blocks, side: int, margin: int) -> Tensor:
    """Cut (N, C, side + 2 margin, side + 2 margin) windows out of a padded batch."""
    window = side + 2 * margin
    images, rows, columns = blocks
    windows = padded.unfold(2, window, side).unfold(3, window, side)
    return windows.permute(0, 2, 3, 1, 4, 5)[images, rows, columns]


def _paste(whole: Tensor, refined: Tensor, blocks: Blocks) -> Tensor:
    """Replace the chosen blocks of `whole` (B, C, H, W) by `refined` (N, C, 4, 4)."""
    batch, channels, height, width = whole.shape
    images, rows, columns = blocks
    tiles = whole.view(batch, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    tiles.permute(0, 2, 4, 1, 3, 5)[images, rows, columns] = refined.to(whole.dtype)
    return whole
