"""Networks in whole numbers of 8 bits, by ONNX Runtime's quantizer.

What a convolution takes is rounded to 256 steps between the least and the largest value that it
has on real pictures; weights have steps of their own for each channel. Learning these ranges takes
a few seconds, so the coarse network in this form is kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.nn import functional as F

from bgm.data import Pair, find_pairs, read_image
from bgm.data.pixels import as_tensor, to_unit
from bgm.errors import ConfigError, WriteError
from bgm.inference.coarse import to_onnx
from bgm.inference.scale import ScaleRule
from bgm.locations import cache_folder, demo_path
from bgm.networks import CoarseNetwork, MattingRefine
from bgm.networks.refiner import BLOCK
from bgm.records.atomic import write_atomically
from bgm.records.fingerprints import fingerprint

log = logging.getLogger(__name__)

Feed = dict[str, NDArray[np.float32]]
"""The inputs of a network by their names."""

_MOST_PICTURES = 16
_FIRST_IN_FLOAT = 6  # convolutions: 7 % of the time for half of the error
_RECIPE = 1  # counted up where what is kept would come out in another way


@dataclass(frozen=True)
class Calibration:
    """Pictures that ranges are learned from, such as those that the network is for.

    Attributes:
        src: Directory of sources.
        bgr: Directory of backgrounds, or one for all.
    """

    src: Path = Path(demo_path("src"))
    bgr: Path = Path(demo_path("bgr"))


def quantize_coarse(
    network: CoarseNetwork, rule: ScaleRule | None, calibration: Calibration
) -> bytes:
    """The coarse part of a network as an ONNX file in 8 bits, from the cache if it is there.

    Args:
        network: The network, on the CPU.
        rule: Chooses the scale of the coarse pass, if not the network.
        calibration: What ranges are learned from.

    Raises:
        BgmError: The pictures cannot be used.
    """
    pairs = _choose(calibration)
    path = cache_folder() / "int8" / f"{_key(network, rule, pairs)}.onnx"
    if path.is_file():
        return path.read_bytes()
    log.info("precision=int8: calibrating with %d pictures of %s", len(pairs), calibration.src)
    feeds = [{"photos": _coarse_input(pair, network, rule)} for pair in pairs]
    model = to_onnx(network)
    content = quantize(model, feeds, _convolutions(model)[:_FIRST_IN_FLOAT])
    try:
        write_atomically(path, content)
    except WriteError as error:  # next time it is made again
        log.warning("not kept for the next run: %s", error)
    return content


def quantize(model: bytes, feeds: Iterable[Feed], left_alone: Sequence[str] = ()) -> bytes:
    """Quantize the convolutions of an ONNX file.

    Args:
        model: The file, in float32.
        feeds: Inputs as it gets them.
        left_alone: Names of those that stay in float32.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> Feed | None:
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory(prefix="bgm-int8-") as scratch, _quietly():
        before, after = Path(scratch) / "before.onnx", Path(scratch) / "after.onnx"
        before.write_bytes(model)
        quantize_static(
            str(before),
            str(after),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=list(left_alone),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # What a convolution returns is rounded where another takes it, not before: sums and
            # resizing between them stay exact, and so do the outputs.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Conv"]},
        )
        return after.read_bytes()


def _convolutions(model: bytes) -> list[str]:
    """Names of the convolutions, in the order in which they are computed."""
    import onnx

    return [node.name for node in onnx.load_from_string(model).graph.node if node.op_type == "Conv"]


def _choose(calibration: Calibration) -> list[Pair]:
    """As many pairs as are needed, evenly over all there are."""
    for key, path in vars(calibration).items():
        if not path.exists():
            raise ConfigError(f"calibration.{key}={path} does not exist")
    pairs = find_pairs(calibration.src, calibration.bgr, skip_unmatched=True).pairs
    if not pairs:
        raise ConfigError(
            f"calibration.src={calibration.src}: no photograph there has a background"
        )
    places = np.linspace(0, len(pairs) - 1, min(len(pairs), _MOST_PICTURES)).round()
    return [pairs[int(place)] for place in places]


def _key(network: CoarseNetwork, rule: ScaleRule | None, pairs: Sequence[Pair]) -> str:
    """A name for what comes of a network and pictures."""
    digest = hashlib.sha256()
    scale = getattr(network, "backbone_scale", None) if rule is None else rule
    digest.update(repr((_RECIPE, scale, _versions())).encode())
    for pair in pairs:
        digest.update((fingerprint(pair.src).sha256 + fingerprint(pair.bgr).sha256).encode())
    for name, weights in network.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights.numpy()).tobytes())
    return digest.hexdigest()[:32]


def _versions() -> list[str]:
    """Of what quantizes; builds of ONNX Runtime for other devices have other names."""
    versions = []
    for package in ("torch", "onnx", "onnxruntime"):
        with suppress(PackageNotFoundError):
            versions.append(f"{package} {version(package)}")
    return versions


def _coarse_input(
    pair: Pair, network: CoarseNetwork, rule: ScaleRule | None
) -> NDArray[np.float32]:
    """What the coarse pass gets of a pair, (1, 6, h, w); what is left of the last block is cut."""
    images = [to_unit(as_tensor(read_image(path)))[None] for path in (pair.src, pair.bgr)]
    height, width = (min(image.shape[axis] for image in images) // BLOCK * BLOCK for axis in (2, 3))
    size = height, width
    if isinstance(network, MattingRefine):
        if rule is not None:
            rule.apply(network, height, width)
        size = network.coarse_size(height, width)
    cut = [
        F.interpolate(image[..., :height, :width], size, mode="bilinear", align_corners=False)
        for image in images
    ]
    return np.concatenate([image.numpy() for image in cut], 1)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the advice that the quantizer gives on its way."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
