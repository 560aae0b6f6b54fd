"""TIFF files that Pillow cannot read, or not at their depth: more than 8 bits in any layout.

OpenCV decompresses them, but takes some colours and layouts for others. So it is given each file
under plain tags, as grey or as colour of which it asks nothing, and what the samples mean is said
here. What is not known for sure is refused.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from bgm.data.colour import lab_to_srgb
from bgm.data.pixels import upright

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GREYS, _RGB, _CMYK, _LAB = (0, 1), 2, 5, 8
_COLOURS = {0: 1, 1: 1, _RGB: 3, _CMYK: 4, _LAB: 3}
_NAMES = {3: "palette", 4: "mask", 6: "YCbCr", 9: "ICC Lab", 10: "ITU Lab", 32844: "LogL"}
_NAMES |= {32845: "LogLuv"}
_SENSORS = (32803, 34892)  # photometric: the mosaic of a sensor, and linear raw
_MOST_WHITE = 2.0  # floats above it are not overshoot beyond a white of 1
_RAW = "is a raw photograph, of which only a preview could be read; develop it first"


class RawPhotographError(ValueError):
    """A file is a raw photograph."""


@dataclass(frozen=True)
class Tiff:
    """The tags of the first picture of a TIFF file.

    Attributes:
        path: The file.
        tags: Values by number, always as tuples.
        big_endian: The order of bytes.
        frames: How many pictures the file holds.
    """

    path: Path
    tags: dict[int, tuple[Any, ...]]
    big_endian: bool
    frames: int

    def first(self, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        return int(self.tags.get(tag, (default,))[0])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.first(256), self.first(257)

    @property
    def bits(self) -> int:
        """Most bits of a sample."""
        return max(map(int, self.tags.get(258, (1,))))

    @property
    def is_grey(self) -> bool:
        """Whether it is greyscale without more channels."""
        return self.first(262) in _GREYS and self.first(277, 1) == 1

    @property
    def has_own_colours(self) -> bool:
        """Whether its colours mean the same on every device, so that no profile counts."""
        return self.first(262) == _LAB

    @property
    def profile(self) -> bytes | None:
        """The embedded colour profile."""
        data = self.tags.get(34675)
        return data[0] if data and isinstance(data[0], bytes) else None


def open_tiff(path: Path) -> Tiff | None:
    """Read the tags of a TIFF file; None if it is none, or too damaged for its tags to be read.

    Raises:
        RawPhotographError: It is a raw photograph, whose first picture is a preview.
    """
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what does not matter here, Pillow says on its own
        head = file.read(8)
        if head[:4] not in _MAGIC:
            return None
        big_endian = head[:1] == b"M"
        is_raw = file.read(2) == b"CR"
        file.seek(8)
        if 43 in head[2:4]:
            head += file.read(8)
        try:
            directory = TiffImagePlugin.ImageFileDirectory_v2(head)
            file.seek(directory.next)
            directory.load(file)
            tags = {tag: _as_tuple(value) for tag, value in directory.items()}
            frames, seen = 1, {0}
            while directory.next not in seen:
                seen.add(directory.next)
                frames += 1
                file.seek(directory.next)
                directory.load(file)
        except Exception:  # Pillow raises anything on damaged tags; it then speaks for itself
            return None
    tiff = Tiff(path, tags, big_endian, frames)
    previewed = tiff.first(254) & 1 and (330 in tags or frames > 1)
    if is_raw or previewed or tiff.first(262) in _SENSORS:
        raise RawPhotographError(_RAW)
    return tiff


def needs_reading(tiff: Tiff) -> bool:
    """Whether a file is for `read`; the others are Pillow's."""
    if tiff.first(262) == _CMYK and tiff.profile and tiff.first(284, 1) == 1:
        return False  # inks need their profile, which is applied at 8 bits
    return tiff.bits > 8


def read(tiff: Tiff) -> NDArray[np.float32]:
    """Read the first picture of a file.

    Returns:
        (H, W, 3), upright, in [0, 1]; colours as the file has them, but L*a*b* as sRGB.

    Raises:
        ValueError: It is damaged, or of a kind that is not known for sure.
    """
    photometric = tiff.first(262)
    kind = _check(tiff)
    samples = _samples(tiff)
    if kind == "f2":
        samples = samples.view(np.float16)
    colours = samples[..., : _COLOURS[photometric]]
    if photometric == _LAB:
        signed = colours[..., 1:].view(np.int16) / np.float32(256)
        lightness = colours[..., :1] / np.float32(655.35)
        return _upright(tiff, lab_to_srgb(np.concatenate([lightness, signed], 2)))
    unit = _to_unit(colours, tiff)
    if photometric == 0:
        unit = 1 - unit
    if photometric == _CMYK:
        unit = (1 - unit[..., :3]) * (1 - unit[..., 3:])
    if tiff.first(338) == 1 and samples.shape[2] > colours.shape[2]:
        alpha = _to_unit(samples[..., -1:], tiff)
        unit = (unit / np.maximum(alpha, 1e-6)).clip(0, 1)
    if unit.shape[2] == 1:
        unit = np.repeat(unit, 3, axis=2)
    return _upright(tiff, unit)


def _check(tiff: Tiff) -> str:
    """The type of the samples, such as u2; refuses what is not known."""
    photometric, form = tiff.first(262), tiff.first(339, 1)
    if photometric not in _COLOURS:
        raise _refusal(f"colours of the kind {_NAMES.get(photometric, photometric)}")
    sizes = set(map(int, tiff.tags.get(258, (1,))))
    kind = {1: "u", 3: "f", 4: "u"}.get(form, "?") + str(tiff.bits // 8)
    if len(sizes) > 1 or tiff.bits not in (16, 32) or kind not in ("u2", "f2", "f4"):
        forms = {1: "whole numbers", 2: "signed numbers", 3: "floats"}
        raise _refusal(f"{forms.get(form, 'numbers')} of {tiff.bits} bits")
    if photometric == _CMYK and tiff.profile:
        raise _refusal("inks with a profile in planes")
    if photometric == _LAB and kind != "u2":
        raise _refusal("L*a*b* in floats")
    if kind == "f2" and tiff.first(317, 1) == 3:
        raise _refusal("floats of 16 bits with a predictor")
    samples = tiff.first(277, 1)
    if samples < _COLOURS[photometric] or (tiff.first(284, 1) == 1 and samples not in (1, 3, 4)):
        raise _refusal(f"{samples} interleaved channels of {tiff.bits} bits")
    return kind


def _refusal(what: str) -> ValueError:
    return ValueError(f"it is a TIFF with {what}, which is not read; save it as RGB of 16 bits")


def _samples(tiff: Tiff) -> NDArray[Any]:
    """The samples as they are stored, (H, W, channels)."""
    data = tiff.path.read_bytes()
    at, sizes = (324, 325) if 324 in tiff.tags else (273, 279)
    offsets, counts = tiff.tags.get(at, ()), tiff.tags.get(sizes, ())
    if not offsets or len(offsets) != len(counts):
        raise ValueError("it is damaged: it does not say where its pixels are")
    if max(map(sum, zip(offsets, counts, strict=True))) > len(data):
        raise ValueError("it is damaged: it is cut short")
    channels = tiff.first(277, 1)
    if tiff.first(284, 1) == 1 or channels == 1:
        return _decode(tiff, data, channels, {})
    per_plane = len(offsets) // channels
    planes = []
    for index in range(channels):
        own = slice(index * per_plane, (index + 1) * per_plane)
        planes.append(_decode(tiff, data, 1, {at: offsets[own], sizes: counts[own]}))
    return np.concatenate(planes, 2)


def _decode(
    tiff: Tiff, data: bytes, channels: int, changed: dict[int, tuple[Any, ...]]
) -> NDArray[Any]:
    """Decompress pixels of 1, 3 or 4 channels under plain tags."""
    kept = (256, 257, 259, 266, 273, 278, 279, 317, 322, 323, 324, 325)
    tags = {tag: tiff.tags[tag] for tag in kept if tag in tiff.tags} | changed
    is_float = tiff.bits == 32
    tags |= {258: (tiff.bits,) * channels, 262: (1 if channels == 1 else 2,), 277: (channels,)}
    tags |= {284: (1,), 339: (3 if is_float else 1,) * channels}
    if channels == 4:
        tags[338] = (0,)
    encoded = np.frombuffer(_retagged(data, tags, ">" if tiff.big_endian else "<"), np.uint8)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    width, height = tiff.size
    if decoded is None:
        raise ValueError("it is damaged, or compressed in a way that is not supported")
    pixels = decoded.reshape(*decoded.shape[:2], -1)
    expected = np.dtype(np.float32 if is_float else np.uint16)
    if pixels.shape != (height, width, channels) or pixels.dtype != expected:
        raise _refusal(f"{channels} channels of {tiff.bits} bits stored in an unusual way")
    if channels > 1:  # OpenCV has blue first
        pixels = pixels[..., [2, 1, 0, 3][:channels]]
    return np.ascontiguousarray(pixels)


def _retagged(data: bytes, tags: dict[int, tuple[Any, ...]], order: str) -> bytes:
    """The same file as a classic TIFF with other tags, which are put at its end."""
    start = len(data) + len(data) % 2
    after = start + 2 + 12 * len(tags) + 4
    entries, tail = b"", b""
    for tag, values in sorted(tags.items()):
        is_long = max(values) > 65535 or tag in (273, 279, 324, 325)
        packed = struct.pack(f"{order}{len(values)}{'I' if is_long else 'H'}", *map(int, values))
        entries += struct.pack(f"{order}HHI", tag, 4 if is_long else 3, len(values))
        if len(packed) > 4:
            entries += struct.pack(f"{order}I", after + len(tail))
            tail += packed + bytes(len(packed) % 2)
        else:
            entries += packed.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    return head + data[8:] + bytes(len(data) % 2) + directory + tail


def _to_unit(samples: NDArray[Any], tiff: Tiff) -> NDArray[np.float32]:
    if samples.dtype.kind == "u":
        return samples.astype(np.float32) / np.float32(65535)
    values = samples.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("it contains values that are not finite")
    largest = float(values.max(initial=0))
    if largest > _MOST_WHITE:
        raise ValueError(
            f"it holds floats up to {largest:g}, of which it is not known what is white; "
            "save it with white at 1, or as whole numbers of 16 bits"
        )
    return values.clip(0, 1)


def _upright(tiff: Tiff, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    return upright(pixels, tiff.first(274, 1))


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
