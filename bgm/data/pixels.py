"""What the numbers of pixels mean: depth, scale and the order of axes. Nothing else knows.

Pixels are arrays (H, W, 3) and images tensors (3, H, W), RGB; both either whole numbers, where the
largest that fits is white, or floats in [0, 1]. Needs no torch, so that comparing runs does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[Any]
"""(H, W, 3), RGB: uint8, or float32 in [0, 1]."""

_WHITE = {"uint8": 255.0, "uint16": 65535.0}


def white(dtype: object) -> float:
    """The value of white in pixels of a numpy or torch type: 255, 65535 or, of floats, 1."""
    return _WHITE.get(str(dtype).removeprefix("torch."), 1.0)


def to_unit(image: Tensor) -> Tensor:
    """Float32 in [0, 1] of an image of any depth, on the device that it is on.

    It is the image itself if nothing is to be done.
    """
    full = white(image.dtype)
    return image.float() if full == 1 else image.float().div_(full)


def scale_to_unit(values: Tensor, *images: Tensor) -> Tensor:
    """Scale raw values taken from images, whose depths may differ, to [0, 1] in place.

    Args:
        values: Float32, (..., 3 N): the channels of N images, one image after the other.
        images: The N images that they were taken from.
    """
    scales = [1 / white(image.dtype) for image in images]
    if len(set(scales)) == 1:  # in one go, which is quicker
        return values if scales[0] == 1 else values.mul_(scales[0])
    channels = values.shape[-1] // len(images)
    return values.mul_(values.new_tensor(np.repeat(scales, channels).tolist()))


def stack_unit(images: tuple[Tensor, ...]) -> Tensor:
    """Stack N images (3, H, W) of any depths as float32 in [0, 1], (N, 3, H, W)."""
    import torch

    if len({image.dtype for image in images}) == 1:
        return to_unit(torch.stack(images))
    return torch.stack([to_unit(image) for image in images])


def to_uint8(pixels: Pixels) -> NDArray[np.uint8]:
    """Round floats in [0, 1] to 8 bits; uint8 is returned as it is."""
    if pixels.dtype == np.uint8:
        return pixels
    return np.asarray((pixels * (255 / white(pixels.dtype))).round(), np.uint8)


def as_type(pixels: Pixels, dtype: np.dtype[Any]) -> Pixels:
    """Convert between the two forms of pixels: uint8, and float32 in [0, 1]."""
    if pixels.dtype == dtype:
        return pixels
    if dtype == np.uint8:
        return to_uint8(pixels)
    return pixels.astype(np.float32) / np.float32(white(pixels.dtype))


def clip_to_range(pixels: Pixels) -> Pixels:
    """Clip what resampling let overshoot; whole numbers cannot."""
    return pixels if pixels.dtype.kind == "u" else pixels.clip(0, 1)


def as_tensor(pixels: Pixels) -> Tensor:
    """View (H, W, 3) pixels as a (3, H, W) image."""
    import torch

    return torch.from_numpy(pixels).permute(2, 0, 1)


def as_pixels(image: Tensor) -> Pixels:
    """View a (3, H, W) image as (H, W, 3) pixels."""
    pixels: Pixels = image.permute(1, 2, 0).numpy()
    return pixels


_TRANSPOSES: dict[int, Callable[[Pixels], Pixels]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn pixels, (H, W) or (H, W, C), as their EXIF orientation, 1 to 8, says; contiguous."""
    turn = _TRANSPOSES.get(orientation)
    return np.ascontiguousarray(pixels if turn is None else turn(pixels))
