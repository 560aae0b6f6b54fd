"""Scores images against the files that hold their truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bgm.data import read_alpha, read_image, to_uint8
from bgm.data.pixels import Pixels
from bgm.errors import DataError
from bgm.evaluation.scores import alpha_errors, foreground_mse, recomposite_mse, unknown_band

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
        self,
        name: str,
        alpha: NDArray[np.uint8],
        foreground: NDArray[np.uint8] | None = None,
        truth: Mapping[str, Pixels | Exception] | None = None,
    ) -> Scores:
        """Score one image.

        Args:
            name: Its name.
            alpha: Its alpha, uint8, (H, W).
            foreground: Its foreground, uint8, (H, W, 3), if there is one.
            truth: What is true of it, where that is no file of its own: by kind the pixels, or
                why there are none.

        Returns:
            What `alpha_errors` returns; with a true foreground also `fg_mse`, and `com_mse`, what
            `recomposite_mse` returns. Nothing for an image without truth.

        Raises:
            DataError: The truth cannot be read or has another size; or others have a trimap and
                this image has none, which would be another region.
        """
        true_of = _Files(self.files(name)) if truth is None else _Given(truth)
        if "pha" not in true_of:
            return {}
        true = true_of.alpha("pha", alpha)
        trimap = None
        if self._unknown_only and "trimap" in true_of:
            trimap = true_of.alpha("trimap", alpha)
        elif self._unknown_only and self.has_trimaps:
            raise DataError("it has no trimap, others have")
        elif self._unknown_only:
            trimap = unknown_band(true, self._band)
        scores = alpha_errors(alpha, true, trimap)
        if foreground is not None and "fgr" in true_of:
            colours = true_of.colours("fgr", alpha)
            scores["fg_mse"] = foreground_mse(foreground, colours, true, trimap)
            scores["com_mse"] = recomposite_mse(foreground, colours, alpha, true, trimap)
        return scores


class _Files:
    """What is true of an image, in files."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def __contains__(self, kind: str) -> bool:
        return kind in self._files

    def alpha(self, kind: str, like: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A true alpha, or a trimap, of the size of another."""
        return _checked(read_alpha(self._files[kind]), like, kind, str(self._files[kind]))

    def colours(self, kind: str, like: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A true foreground of that size."""
        return _checked(to_uint8(read_image(self._files[kind])), like, kind, str(self._files[kind]))


class _Given:
    """What is true of a frame, decoded with it."""

    def __init__(self, truth: Mapping[str, Pixels | Exception]) -> None:
        self._truth = truth

    def __contains__(self, kind: str) -> bool:
        return kind in self._truth

    def alpha(self, kind: str, like: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A true alpha, or a trimap, of the size of another."""
        pixels = self._truth[kind]
        if isinstance(pixels, Exception):
            raise pixels
        return _checked(to_uint8(pixels), like, kind, "")

    def colours(self, kind: str, like: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A true foreground of that size."""
        return self.alpha(kind, like)


def _checked(
    truth: NDArray[np.uint8], like: NDArray[np.uint8], kind: str, what: str
) -> NDArray[np.uint8]:
    if truth.shape[:2] != like.shape:
        sizes = [f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (like, truth)]
        named = f"{kind} {what}".strip()
        raise DataError(f"the matte is {sizes[0]} but the true {named} is {sizes[1]}")
    return truth
