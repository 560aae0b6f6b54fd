"""Scores images against the files that hold their truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bgm.data import read_alpha, read_image, to_uint8
from bgm.errors import DataError
from bgm.evaluation.scores import alpha_errors, foreground_mse, unknown_band

Scores = dict[str, float | None]


def unknown_only(region: str, trimap: str | None) -> bool:
    """Whether a setting of `region` (`auto`, `whole` or `unknown`) means the unknown region."""
    return region == "unknown" or (region == "auto" and trimap is not None)


class Scorer:
    """Compares mattes with the truth.

    Args:
        truths: For each image name the files of its truth: `pha`, and perhaps `fgr` and `trimap`.
        unknown_only: Whether to compare in the unknown region only.
        band: Half the width in pixels of the unknown region, where no trimap says what it is.
        has_trimaps: Whether any image has a trimap; None if these are all the images.
    """

    def __init__(
        self,
        truths: Mapping[str, Mapping[str, Path]],
        *,
        unknown_only: bool,
        band: int,
        has_trimaps: bool | None = None,
    ) -> None:
        self._truths = truths
        self._unknown_only = unknown_only
        self._band = band
        if has_trimaps is None:
            has_trimaps = any("trimap" in files for files in truths.values())
        self.has_trimaps = has_trimaps

    def files(self, name: str) -> Mapping[str, Path]:
        """The files that one image is compared with, by kind."""
        return self._truths.get(name, {})

    def __call__(
        self, name: str, alpha: NDArray[np.uint8], foreground: NDArray[np.uint8] | None = None
    ) -> Scores:
        """Score one image.

        Args:
            name: Its name.
            alpha: Its alpha, uint8, (H, W).
            foreground: Its foreground, uint8, (H, W, 3), if there is one.

        Returns:
            What `alpha_errors` returns, and `fg_mse` if there is a true foreground. Nothing for
            an image without truth.

        Raises:
            DataError: The truth cannot be read or has another size; or others have a trimap and
                this image has none, which would be another region.
        """
        truth = self.files(name)
        if "pha" not in truth:
            return {}
        true = read_alpha(truth["pha"])
        _check_size(alpha, true, "pha", truth["pha"])
        trimap = None
        if self._unknown_only and "trimap" in truth:
            trimap = read_alpha(truth["trimap"])
            _check_size(alpha, trimap, "trimap", truth["trimap"])
        elif self._unknown_only and self.has_trimaps:
            raise DataError("it has no trimap, others have")
        elif self._unknown_only:
            trimap = unknown_band(true, self._band)
        scores = alpha_errors(alpha, true, trimap)
        if foreground is not None and "fgr" in truth:
            colours = to_uint8(read_image(truth["fgr"]))
            _check_size(alpha, colours, "fgr", truth["fgr"])
            scores["fg_mse"] = foreground_mse(foreground, colours, true, trimap)
        return scores


def _check_size(alpha: NDArray[np.uint8], truth: NDArray[np.uint8], kind: str, path: Path) -> None:
    if truth.shape[:2] != alpha.shape:
        sizes = [f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (alpha, truth)]
        raise DataError(f"the matte is {sizes[0]} but the true {kind} {path} is {sizes[1]}")
