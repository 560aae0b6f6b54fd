"""Torch datasets of photographs, and of photographs with their backgrounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from bgm.data.align import align_background
from bgm.data.decode import MAX_PIXELS, Decoded, decode
from bgm.data.examination import glance
from bgm.data.exposure import match_exposure
from bgm.data.homography import METHOD
from bgm.data.metadata import Metadata, read_metadata
from bgm.data.pairs import Pair, list_images
from bgm.data.pixels import Pixels, as_pixels, as_tensor, clip_to_range, to_unit
from bgm.data.residual import CHECK_SIDE
from bgm.data.shrink import shrink
from bgm.errors import DataError
from bgm.records.alignments import Alignments, alignment_key
from bgm.records.fingerprints import InputFile, fingerprint
from bgm.records.record import Alignment, Exposure
from bgm.records.timing import Timer

_SHAPE_TOLERANCE = 0.02  # of the ratio of width to height


class ImagesDataset(Dataset[Tensor]):
    """Images as tensors: RGB, upright, sRGB.

    Args:
        images: A directory, searched with its sub-folders, or the paths themselves.
        transform: What to make of each (3, H, W) image, uint8 or (from files with more than 8
            bits a channel) float32 in [0, 1]. By default float32 in [0, 1]; None leaves it alone.
        max_pixels: Images that claim to have more are refused.

    Raises:
        DataError: The directory holds two images of one name; or, when an image is asked for, it
            cannot be read.
    """

    def __init__(
        self,
        images: Path | str | Sequence[Path],
        transform: Callable[[Tensor], Tensor] | None = to_unit,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if isinstance(images, (str, Path)):
            images = list(list_images(Path(images)).values())
        self.paths = list(images)
        self.transform = transform
        # One plate for a whole shoot is decoded once, not once for each photograph.
        is_one_image = len(self.paths) > 1 and len(set(self.paths)) == 1
        self._decode: Callable[[Path], Decoded] = partial(decode, max_pixels=max_pixels)
        if is_one_image:
            self._decode = _Once(self._decode)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.with_remark(index)[0]

    def with_remark(self, index: int) -> tuple[Tensor, str | None]:
        """An image, and what there is to say about its file."""
        decoded = self._decode(self.paths[index])
        image = as_tensor(decoded.pixels)
        return image if self.transform is None else self.transform(image), decoded.remark


class _Once:
    """Decodes one file at the first call; threads that ask meanwhile wait for it.

    Copies for other processes decode it again.
    """

    def __init__(self, read: Callable[[Path], Decoded]) -> None:
        self._read = read
        self._decoded: Decoded | None = None
        self._lock = Lock()

    def __call__(self, path: Path) -> Decoded:
        with self._lock:
            if self._decoded is None:
                self._decoded = self._read(path)
            return self._decoded

    def __reduce__(self) -> tuple[type[_Once], tuple[Callable[[Path], Decoded]]]:
        return _Once, (self._read,)


@dataclass(frozen=True)
class Sample:
    """A decoded pair.

    Attributes:
        pair: Where it came from.
        src: Source, (3, H, W), uint8 or float32 in [0, 1].
        bgr: Background of the same size, aligned if that was asked for.
        alignment: What the alignment did, or None.
        load_ms: Time to decode both, in milliseconds.
        align_ms: Time to align and to match exposures, in milliseconds, or None.
        started: When decoding began, on the clock of `time.perf_counter`.
        inputs: The files that were decoded, `src` and `bgr`.
        remarks: What there is to say about them.
        metadata: What the source says of itself; None if that was not asked for.
        exposure: What matching the exposures did, or None.
        small: Small versions of `src` and `bgr`, to check the matte by; or None.
        truth: What is true of it, by kind, where that comes with it and not from files of its
            own: pixels, or why there are none.
        seconds: When it is shown, if it is the frame of a clip.
    """

    pair: Pair
    src: Tensor
    bgr: Tensor
    alignment: Alignment | None
    load_ms: float
    align_ms: float | None
    started: float
    inputs: dict[str, InputFile]
    remarks: tuple[str, ...] = ()
    metadata: Metadata | None = None
    exposure: Exposure | None = None
    small: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None
    truth: Mapping[str, Pixels | Exception] | None = None
    seconds: Fraction = Fraction(0)


class ZipDataset(Dataset[Sample]):
    """Sources zipped with their backgrounds.

    Args:
        pairs: The pairs, as `find_pairs` returns them.
        align: Whether to align each background to its source.
        match_exposure: Whether to bring each background to its source's exposure.
        look: Whether to say what can be told at once of backgrounds that do not fit, and to keep
            small versions to check mattes by.
        alignments: What is known of alignments already, and keeps those that are found; or None.
        resize_background: Whether a background of another size is resized to its source's.
        max_pixels: Images that claim to have more are refused.
        metadata: Whether to read what a source says of itself.

    Raises:
        DataError: When a sample is asked for and a file cannot be read or the sizes differ.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        align: bool = False,
        match_exposure: bool = False,
        look: bool = False,
        alignments: Alignments | None = None,
        resize_background: bool = False,
        max_pixels: int = MAX_PIXELS,
        metadata: bool = False,
    ) -> None:
        self.pairs = list(pairs)
        self.align = align
        self.match_exposure = match_exposure
        self.look = look
        self.alignments = alignments
        self.resize_background = resize_background
        self.metadata = metadata
        self._sources, self._backgrounds = (
            ImagesDataset(paths, transform=None, max_pixels=max_pixels)
            for paths in ([pair.src for pair in self.pairs], [pair.bgr for pair in self.pairs])
        )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        started = time.perf_counter()
        with Timer() as loading:
            src, src_remark = self._sources.with_remark(index)
            bgr, bgr_remark = self._backgrounds.with_remark(index)
            bgr = match_size(src, bgr, resize=self.resize_background)
            pair = self.pairs[index]
            inputs = {"src": fingerprint(pair.src), "bgr": fingerprint(pair.bgr)}
        alignment = exposure = align_ms = None
        if self.align or self.match_exposure:
            with Timer() as aligning:
                if self.align:
                    bgr, alignment = self._align(src, bgr, inputs)
                if self.match_exposure:
                    matched, exposure = match_exposure(as_pixels(src), as_pixels(bgr))
                    bgr = as_tensor(matched)
            align_ms = aligning.ms
        remarks, small = [src_remark, bgr_remark], None
        if self.look:
            both = as_pixels(src), as_pixels(bgr)
            small = shrink(both[0], CHECK_SIDE), shrink(both[1], CHECK_SIDE)
            remarks += glance(*both, alignment, matches=self.match_exposure)
        return Sample(
            pair=pair,
            src=src,
            bgr=bgr,
            alignment=alignment,
            load_ms=loading.ms,
            align_ms=align_ms,
            started=started,
            inputs=inputs,
            remarks=tuple(dict.fromkeys(filter(None, remarks))),
            metadata=read_metadata(pair.src) if self.metadata else None,
            exposure=exposure,
            small=small,
        )

    def _align(
        self, src: Tensor, bgr: Tensor, inputs: Mapping[str, InputFile]
    ) -> tuple[Tensor, Alignment]:
        """Align a background as it was found before, or look for how."""
        hashes = [inputs[kind].sha256 for kind in ("src", "bgr")]
        key = alignment_key(METHOD, *hashes, self.resize_background)
        known = self.alignments.get(key) if self.alignments is not None else None
        aligned, alignment = align_background(as_pixels(src), as_pixels(bgr), known)
        if self.alignments is not None:
            self.alignments.keep(key, alignment)
        return as_tensor(aligned), alignment


def match_size(src: Tensor, bgr: Tensor, *, resize: bool) -> Tensor:
    """A background of its source's size: itself, or resized if that is allowed.

    Raises:
        DataError: It has another size and may not be resized, or another shape.
    """
    (height, width), (bgr_height, bgr_width) = src.shape[1:], bgr.shape[1:]
    if (height, width) == (bgr_height, bgr_width):
        return bgr
    if (height, width) == (bgr_width, bgr_height):
        raise DataError(
            f"the source is {width}x{height} but its background {bgr_width}x{bgr_height}: one "
            "of them lies on its side; its EXIF orientation is missing or wrong"
        )
    if not resize:
        raise DataError(
            f"the source is {width}x{height} but its background {bgr_width}x{bgr_height}; "
            "data.resize_background=true resizes the background"
        )
    if abs(width * bgr_height / (height * bgr_width) - 1) > _SHAPE_TOLERANCE:
        raise DataError(
            f"the source is {width}x{height} but its background {bgr_width}x{bgr_height}: of "
            "another shape, so that resizing would distort it"
        )
    shrinks = height < bgr_height or width < bgr_width
    resized = cv2.resize(
        as_pixels(bgr),
        (width, height),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
    )
    return as_tensor(clip_to_range(resized))
