"""The refiner: redoes at full resolution the 4x4 blocks that the coarse network got wrong.

Paper, section 3.2. A block is seen twice: through an 8x8 window of everything known at half
resolution, then through an 8x8 window of the two photographs at full resolution.

Blocks are cut out and put back by counting pixels, which every exporter and runtime understands.
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
"""Image, row and column of each block."""

HIDDEN_CHANNELS = 32
"""Hidden features that the coarse network hands to the refiner."""

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

        self.conv1 = nn.Conv2d(HIDDEN_CHANNELS + _COARSE + _PHOTOS, 24, kernel_size, bias=False)
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
        size = (photos.shape[2], photos.shape[3])
        err = _resize(err, (size[0] // BLOCK, size[1] // BLOCK))
        if self.mode == "full":
            return self._convolve(*self._padded(photos, coarse, hid)), torch.ones_like(err)
        chosen, blocks = self._choose(err)
        refined = self.refine_blocks(photos, coarse, hid, blocks)
        whole = _paste(_resize(coarse, size), refined, blocks, chosen)
        return whole, chosen.to(err.dtype)

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
        return self._choose(err)[0]

    def _choose(self, err: Tensor) -> tuple[Tensor, Blocks]:
        """Choose by the error of each block, (B, 1, rows, columns).

        Returns:
            The chosen blocks as a boolean map, and the blocks to work on: all of these, and perhaps
            some that are not chosen, whose result is discarded. There is always one, as runtimes
            cannot convolve nothing; and in mode `sampling` there are always as many as are wanted,
            so that nothing waits for what the error turns out to be.
        """
        if self.mode == "thresholding":
            chosen = err > self.threshold
            worked_on = chosen.clone()
            worked_on[0, 0, 0, 0] = True
            found = torch.nonzero(worked_on[:, 0], as_tuple=True)
            # The exporter cannot know it.
            torch._check(found[0].shape[0] > 0)  # type: ignore[no-untyped-call]
            return chosen, found
        flat = err.flatten(1)
        count = torch.sym_min(self.sample_pixels // BLOCK**2, flat.shape[1])  # type: ignore[no-untyped-call]
        largest, places = flat.topk(count, dim=1, sorted=False)
        chosen = torch.zeros_like(flat).scatter(1, places, (largest > 0).to(flat.dtype))
        images = torch.arange(err.shape[0], device=err.device)[:, None].expand_as(places)
        rows = places // err.shape[3]
        columns = places - rows * err.shape[3]
        blocks = (images.flatten(), rows.flatten(), columns.flatten())
        return chosen.view_as(err) > 0, blocks

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
    pixels = _pixels(blocks, side, window, padded.shape)
    windows = _by_pixel(padded).index_select(0, pixels.flatten())
    return windows.view(-1, window, window, padded.shape[1]).permute(0, 3, 1, 2)


def _paste(whole: Tensor, refined: Tensor, blocks: Blocks, chosen: Tensor) -> Tensor:
    """Replace those blocks of `whole` (B, C, H, W) that are chosen by `refined` (N, C, 4, 4)."""
    images, rows, columns = blocks
    pixels = _pixels(blocks, BLOCK, BLOCK, whole.shape).flatten()
    before = _by_pixel(whole)
    new = refined.permute(0, 2, 3, 1).flatten(1, 2)
    old = before.index_select(0, pixels).view_as(new)
    new = torch.where(chosen[images, 0, rows, columns][:, None, None], new.to(whole.dtype), old)
    before.index_copy_(0, pixels, new.flatten(0, 1))
    return before.view(whole.shape[0], *whole.shape[2:], -1).permute(0, 3, 1, 2)


def _by_pixel(images: Tensor) -> Tensor:
    """The channels of each pixel of a batch, (B x H x W, C); a view where channels come last."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def _pixels(blocks: Blocks, step: int, window: int, shape: torch.Size) -> Tensor:
    """Numbers of the pixels in the window of each block, (N, window, window).

    Args:
        blocks: The blocks; windows lie `step` pixels from one to the next.
        step: Side of a block.
        window: Side of a window.
        shape: Shape of the images, (B, C, H, W), whose pixels are counted through the batch.
    """
    height, width = shape[2:]
    images, rows, columns = (places[:, None] for places in blocks)
    along = torch.arange(window, device=rows.device)
    down = (images * height + rows * step + along) * width
    across = columns * step + along
    return down[:, :, None] + across[:, None, :]
