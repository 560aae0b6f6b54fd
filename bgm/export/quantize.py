"""What of a whole network is quantized.

The convolutions of the coarse network are. The refiner and the last convolution, whose output is
alpha, stay in float32: they are a small part of the time, and all of the precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bgm.export.pictures import Picture
from bgm.inference.quantize import quantize

_IN_FLOAT = ("refiner.", "decoder.conv4.")


def quantize_file(path: Path, pictures: Iterable[Picture]) -> None:
    """Quantize an ONNX file in place.

    Args:
        path: The file, in float32 and without batch norms.
        pictures: What it is calibrated with, at sizes that it takes.
    """
    import onnx

    left_alone = [
        node.name
        for node in onnx.load(str(path)).graph.node
        if node.op_type == "Conv" and any(part in node.input[1] for part in _IN_FLOAT)
    ]
    feeds = ({"src": each.src.numpy(), "bgr": each.bgr.numpy()} for each in pictures)
    path.write_bytes(quantize(path.read_bytes(), feeds, left_alone))
