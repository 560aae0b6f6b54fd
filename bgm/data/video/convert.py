"""From decoded frames to upright-able sRGB pixels."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgm.data.pixels import Pixels
from bgm.data.video.colours import Colours, cube, interpret
from bgm.data.video.library import ACCURATE, BILINEAR, FULL_CHROMA_OUT, load_av
from bgm.errors import DataError

_PROBE = 16
_LIMITED_BLACK, _LIMITED_WHITE = 16 / 255, 235 / 255
_DEEPER = 8  # bits: what has more is read as floats


def kind_of(pixel_format: Any) -> str:
    """`rgb`, `grey`, `yuvj` (YUV of full range by its name) or `yuv`."""
    if pixel_format.name.startswith("yuvj"):
        return "yuvj"
    if pixel_format.name.startswith(("gray", "ya8", "ya16", "mono")):
        return "grey"
    return "rgb" if pixel_format.is_rgb or pixel_format.has_palette else "yuv"


class Converter:
    """Turns the frames of one clip into pixels.

    Args:
        deinterlace: `auto`, `on` or `off`.
        time_base: Of the frames' times.
        alpha: Whether alpha is wanted, not colours.
    """

    def __init__(self, deinterlace: str, time_base: Fraction, *, alpha: bool = False) -> None:
        self._av = load_av()
        self._deinterlace = deinterlace
        self._base = time_base
        self._alpha = alpha
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._table: _Table | None = None
        self._whites: dict[tuple[str, Colours], float] = {}

    def deinterlaced(self, frames: Iterator[Any]) -> Iterator[Any]:
        """Frames with their two fields made one picture; as many as there were."""
        filters: _Deinterlacer | None = None
        for frame in frames:
            is_picture = isinstance(frame, self._av.VideoFrame)
            if filters is None and is_picture and self._is_interlaced(frame):
                filters = _Deinterlacer(frame, self._base, forced=self._deinterlace == "on")
            if filters is None:
                yield frame
            elif is_picture:
                yield from filters.push(frame)
            else:  # what is lost stays in its place
                yield from filters.flush()
                filters = None
                yield frame
        if filters is not None:
            yield from filters.flush()

    def _is_interlaced(self, frame: Any) -> bool:
        if self._deinterlace == "auto":
            return bool(frame.interlaced_frame)
        return self._deinterlace == "on"

    def convert(self, frame: Any) -> Pixels:
        """The pixels of a frame, as it is stored: not turned.

        Returns:
            (H, W, 3), sRGB, uint8, or float32 in [0, 1] of what has more than 8 bits; of alpha
            (H, W), uint8.

        Raises:
            DataError: Its colours are of a kind that is not converted here.
        """
        kind = kind_of(frame.format)
        colours = interpret(
            int(frame.colorspace),
            int(frame.color_range),
            int(frame.color_primaries),
            int(frame.color_trc),
            size=(frame.width, frame.height),
            kind=kind,
        )
        try:
            if self._alpha:
                return self._alpha_of(frame, kind, colours)
            if kind == "grey":
                return _as_colours(self._grey(frame, colours))
            return self._colours(frame, colours)
        except (self._av.error.FFmpegError, ValueError) as error:
            raise DataError(
                f"pixels of the kind {frame.format.name} cannot be converted: {error}"
            ) from None

    def _colours(self, frame: Any, colours: Colours) -> Pixels:
        deep = max(c.bits for c in frame.format.components) > _DEEPER
        if not deep and not colours.needs_table:
            return np.asarray(self._reformat(frame, colours, "rgb24").to_ndarray(), np.uint8)
        rgb = self._reformat(frame, colours, "rgb48le")
        white = self._white(frame.format.name, colours)
        if colours.needs_table:
            if self._table is None or self._table.colours != colours:
                self._table = _Table(colours, white)
            rgb, white = self._table(rgb), 1.0
        values = rgb.to_ndarray().astype(np.float32)
        values *= np.float32(1 / (65535 * white))
        unit: NDArray[np.float32] = np.minimum(values, 1, out=values)
        return unit if deep else np.asarray((unit * 255).round(), np.uint8)

    def _reformat(self, frame: Any, colours: Colours, target: str) -> Any:
        """Let swscale convert the matrix; both flags are what makes it exact."""
        flags = BILINEAR | ACCURATE
        if target == "rgb24":  # of 16 bits it would overflow
            flags |= FULL_CHROMA_OUT
        return self._reformatter.reformat(
            frame,
            format=target,
            src_colorspace=colours.swscale or None,
            src_color_range=2 if colours.full else 1,
            dst_color_range=2,
            interpolation=flags,
            threads=1,
        )

    def _white(self, name: str, colours: Colours) -> float:
        """What swscale makes of white, as a share of 65535: it depends on the kind of pixels."""
        key = (name, colours)
        if key not in self._whites:
            reformatter = self._av.video.reformatter.VideoReformatter()
            rgb = np.full((_PROBE, _PROBE, 3), 65535, np.uint16)
            probe = reformatter.reformat(
                self._av.VideoFrame.from_ndarray(rgb, format="rgb48le"),
                format=name,
                dst_colorspace=colours.swscale or None,
                dst_color_range=2 if colours.full else 1,
            )
            back = self._reformat(probe, colours, "rgb48le").to_ndarray()
            self._whites[key] = float(back.max()) / 65535
        return self._whites[key]

    def _alpha_of(self, frame: Any, kind: str, colours: Colours) -> NDArray[np.uint8]:
        names = [component.is_alpha for component in frame.format.components]
        if any(names):
            rgba = self._reformatter.reformat(frame, format="rgba64le", threads=1).to_ndarray()
            return np.asarray((rgba[..., 3] / 257.0).round(), np.uint8)
        if kind == "grey":
            return np.asarray((self._grey(frame, colours) * 255).round(), np.uint8)
        rgb = self._colours(frame, colours)
        unit = rgb.astype(np.float32) / (255 if rgb.dtype == np.uint8 else 1)
        luma = unit @ np.array([0.2126, 0.7152, 0.0722], np.float32)
        return np.asarray((luma * 255).round(), np.uint8)

    def _grey(self, frame: Any, colours: Colours) -> NDArray[np.float32]:
        """Grey in [0, 1], (H, W); swscale does not convert its range."""
        bits = frame.format.components[0].bits
        if bits <= _DEEPER:
            values = self._reformatter.reformat(frame, format="gray").to_ndarray() / 255
        else:
            name = frame.format.name
            if name not in ("gray16le", "gray10le", "gray12le", "gray14le"):
                name, bits = "gray16le", 16
            values = self._reformatter.reformat(frame, format=name).to_ndarray() / (2**bits - 1)
        if not colours.full:
            values = (values - _LIMITED_BLACK) / (_LIMITED_WHITE - _LIMITED_BLACK)
        return np.asarray(values.clip(0, 1), np.float32)


def _as_colours(grey: NDArray[np.float32]) -> Pixels:
    return np.repeat(np.asarray((grey * 255).round(), np.uint8)[..., None], 3, 2)


class _Deinterlacer:
    """bwdif, which makes one picture of each frame's two fields."""

    def __init__(self, first: Any, base: Fraction, *, forced: bool) -> None:
        av = load_av()
        self._av = av
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(
            width=first.width, height=first.height, format=first.format.name, time_base=base
        )
        which = "all" if forced else "interlaced"
        bwdif = self._graph.add("bwdif", f"mode=send_frame:parity=auto:deint={which}")
        sink = self._graph.add("buffersink")
        source.link_to(bwdif)
        bwdif.link_to(sink)
        self._graph.configure()
        self._source, self._sink = source, sink

    def push(self, frame: Any) -> Iterator[Any]:
        self._source.push(frame)
        yield from self._pull()

    def flush(self) -> Iterator[Any]:
        self._source.push(None)
        yield from self._pull()

    def _pull(self) -> Iterator[Any]:
        while True:
            try:
                yield self._sink.pull()
            except (self._av.error.BlockingIOError, self._av.error.EOFError):
                return


class _Table:
    """A table of colours, applied by FFmpeg's lut3d."""

    def __init__(self, colours: Colours, white: float) -> None:
        self.colours = colours
        self._white = white
        self._av = load_av()
        self._ends: tuple[Any, Any] | None = None
        self._graph: Any = None
        self._size = (0, 0)

    def __call__(self, rgb: Any) -> Any:
        if self._ends is None or self._size != (rgb.width, rgb.height):
            self._build(rgb)
        assert self._ends is not None
        source, sink = self._ends
        source.push(rgb)
        return sink.pull()

    def _build(self, rgb: Any) -> None:
        self._graph = self._av.filter.Graph()
        source = self._graph.add_buffer(
            width=rgb.width, height=rgb.height, format="rgb48le", time_base=Fraction(1, 1000)
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "colours.cube"
            path.write_text(cube(self.colours, self._white))
            escaped = path.as_posix().replace(":", "\\:")
            table = self._graph.add("lut3d", f"file='{escaped}':interp=tetrahedral")
            keep = self._graph.add("format", "rgb48le")
            sink = self._graph.add("buffersink")
            source.link_to(table)
            table.link_to(keep)
            keep.link_to(sink)
            self._graph.configure()
        self._ends, self._size = (source, sink), (rgb.width, rgb.height)
