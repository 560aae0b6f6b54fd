"""What the Python door takes for a photograph: PIL images, arrays and tensors become tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from bgm.data.pixels import as_tensor, as_type, to_unit, white
from bgm.errors import DataError

ImageLike = Image.Image | NDArray[Any] | Tensor

_DEEP = int(white(np.dtype(np.uint16)))
_KINDS = "an image is uint8, uint16, or float in [0, 1]"


def to_tensor(image: ImageLike) -> Tensor:
    """Make a tensor of a photograph.

    Args:
        image: A PIL image of any mode, whose EXIF orientation is applied and whose transparency is
            dropped; an array (H, W, 3) or a tensor (3, H, W), RGB, uint8, uint16 or float in
            [0, 1].

    Returns:
        (3, H, W), RGB, uint8, or float32 in [0, 1] for what is deeper.

    Raises:
        DataError: It is no such image, or has values out of that range.
    """
    if isinstance(image, Image.Image):
        return _from_array(_from_pil(image))
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if not isinstance(image, Tensor):
        raise DataError(
            f"an image is a PIL image, an array or a tensor, not {type(image).__name__}"
        )
    if image.ndim != 3 or image.shape[0] != 3:
        raise DataError(f"an image tensor is (3, H, W), not {tuple(image.shape)}")
    if image.dtype == torch.uint8:
        return image
    if image.dtype == torch.uint16:
        return to_unit(image)
    if not image.is_floating_point():
        raise DataError(f"{_KINDS}, not {image.dtype}")
    return _checked(image.detach().float())


def _from_array(image: NDArray[Any]) -> Tensor:
    if image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"an image array is (H, W, 3), not {image.shape}")
    if image.dtype.kind == "u" and image.dtype.itemsize == 2:  # in either order of bytes
        image = as_type(image.astype(np.uint16), np.dtype(np.float32))
    elif image.dtype.kind == "f":
        image = image.astype(np.float32)
    elif image.dtype != np.uint8:
        raise DataError(f"{_KINDS}, not {image.dtype}")
    else:
        image = np.array(image)  # torch takes no read-only and no reversed arrays
    tensor = as_tensor(image)
    return tensor if tensor.dtype == torch.uint8 else _checked(tensor)


def _from_pil(image: Image.Image) -> NDArray[Any]:
    """The upright pixels of a PIL image, (H, W, 3), in the depth that it has."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F" or upright.mode.startswith("I"):
        return np.repeat(_deep_grey(upright)[:, :, None], 3, axis=2)
    try:
        if upright.mode == "La":  # Pillow knows only this way out of it
            upright = upright.convert("LA")
        return np.asarray(upright.convert("RGB"))
    except ValueError as error:
        raise DataError(
            f"a PIL image of mode {image.mode} cannot be converted to RGB: {error}"
        ) from None


def _deep_grey(image: Image.Image) -> NDArray[Any]:
    """Pixels of a grey image of more than 8 bits: uint16, or float; of mode I what 16 bits hold."""
    pixels = np.asarray(image)
    if image.mode != "I":
        return pixels
    low, high = int(pixels.min(initial=0)), int(pixels.max(initial=0))
    if low < 0 or high > _DEEP:
        raise DataError(
            f"a PIL image of mode I has values from {low} to {high}, but 16 bits end at {_DEEP}; "
            "scale it to floats in [0, 1]"
        )
    return pixels.astype(np.uint16)


def _checked(image: Tensor) -> Tensor:
    """Floats as they are, if they are in [0, 1]; NaN is in no range."""
    if image.numel():
        low, high = (float(x) for x in torch.aminmax(image))
        if not (low >= 0 and high <= 1):
            raise DataError(
                f"{_KINDS}, but there are values from {low:g} to {high:g}; scale them (whole "
                "numbers of 8 bits: divide by 255), or clip them"
            )
    return image
