"""Garbage mattes: masks outside of which there is no subject."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bgm.data import describe, list_images, read_alpha
from bgm.data.kinds import why_missing
from bgm.errors import ConfigError, DataError
from bgm.storage import locate

_SHAPE_TOLERANCE = 0.02  # of the ratio of width to height


class Masks:
    """A mask for each photograph, or one for all.

    Args:
        place: A directory of masks with the photographs' names, or ONE mask.

    Raises:
        ConfigError: It is not there.
        DataError: The directory holds two masks of one name, or none at all.
    """

    def __init__(self, place: str) -> None:
        self._root = locate(place)
        if not self._root.exists():
            raise ConfigError(f"edges.garbage={place}: {why_missing(self._root)}")
        self.is_one = not self._root.is_dir()
        self._paths = {} if self.is_one else list_images(self._root)
        if not self.is_one and not self._paths:
            raise DataError(f"no images in edges.garbage={place}")
        self._read = lru_cache(maxsize=1)(read_alpha)

    def check_names(self, names: Collection[str]) -> None:
        """Refuse photographs without a mask.

        Raises:
            DataError: It names them.
        """
        if self.is_one:
            return
        missing = {name: "no mask" for name in names if name not in self._paths}
        if missing:
            raise DataError(describe(missing, f"photograph without a mask in {self._root}"))

    def path(self, name: str) -> Path:
        """The file of a photograph's mask.

        Raises:
            DataError: There is none.
        """
        if self.is_one:
            return self._root
        if name not in self._paths:
            raise DataError(f"no mask {name} in edges.garbage={self._root}")
        return self._paths[name]

    def __call__(self, name: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """A photograph's mask, resized if it has another size but the same shape.

        Args:
            name: The photograph's name.
            shape: Its height and width.

        Raises:
            DataError: There is no mask, it cannot be read, or has another shape.
        """
        path = self.path(name)
        mask = self._read(path)
        if mask.shape == shape:
            return mask
        (height, width), (rows, columns) = shape, mask.shape
        if abs(width * rows / (height * columns) - 1) > _SHAPE_TOLERANCE:
            raise DataError(
                f"the photograph is {width}x{height} but its mask {path} {columns}x{rows}: of "
                "another shape"
            )
        return np.asarray(
            cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8
        )
