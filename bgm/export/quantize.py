"""Networks in whole numbers of 8 bits, by ONNX Runtime's quantizer.

The convolutions of the coarse network are quantized, each with the range that its inputs have on
real pictures. The refiner and the last convolution, whose output is alpha, stay in float32: they
are a small part of the time, and all of the precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bgm.export.pictures import Picture
from bgm.export.write import quietly

_IN_FLOAT = ("refiner.", "decoder.conv4.")


def quantize(path: Path, pictures: Iterable[Picture]) -> None:
    """Quantize an ONNX file in place.

    Args:
        path: The file, in float32 and without batch norms.
        pictures: What it is calibrated with, at sizes that it takes.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = _feeds(pictures)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._feeds, None)

    model = onnx.load(str(path))
    left_alone = [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and any(part in node.input[1] for part in _IN_FLOAT)
    ]
    quantized = path.with_suffix(".int8.onnx")
    with quietly():
        quantize_static(
            str(path),
            str(quantized),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=left_alone,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    quantized.replace(path)


def _feeds(pictures: Iterable[Picture]) -> Iterator[dict[str, Any]]:
    for picture in pictures:
        yield {"src": picture.src.numpy(), "bgr": picture.bgr.numpy()}
