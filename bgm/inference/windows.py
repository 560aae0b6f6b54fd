"""Parts of pixels, for what is computed in a few places only."""

from __future__ import annotations

import torch
from torch import Tensor

AT_ONCE = 16_384
"""How many windows of photographs or features are worked on together; each takes about 3 kB."""


def cut_windows(image: Tensor, side: int, tops: Tensor, lefts: Tensor) -> Tensor:
    """Windows of `side` pixels of a contiguous (H, W, C), as vectors: (N, side x side x C).

    Row by row of a window, which is copied as a whole; picking places in a view of all windows
    would copy each number by itself.
    """
    height, width, channels = image.shape
    rows = image.as_strided((height * width - side + 1, side * channels), (channels, 1))
    starts = (tops * width + lefts)[:, None] + torch.arange(side) * width
    return rows.index_select(0, starts.view(-1)).view(len(tops), side * side * channels)


def scale_range(cut: slice, times: int, per: int = 1) -> slice:
    """A range of pixels as one of another resolution, `times` / `per` as high; either end open."""
    ends = (None if end is None else end * times // per for end in (cut.start, cut.stop))
    return slice(*ends)
