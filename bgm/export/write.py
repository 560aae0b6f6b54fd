"""The files: a function for each format, which makes it and returns what writes it."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from bgm.export.program import Exportable, Size, make_program
from bgm.inference.network_file import KEY, silence_openvino

OPSET = 18
"""Of ONNX: the oldest that the exporter writes without converting."""

SUFFIX = {"torch": ".pt2", "onnx": ".onnx", "openvino": ".xml", "torchscript": ".ts"}

PACKAGES = {
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "openvino": ("onnx", "onnxruntime", "onnxscript", "openvino"),
}
"""What a format needs to be installed, to write its files and to check them."""

Save = Callable[[Path, str], None]
"""Writes a file, with what it says of itself."""


def prepare_torch(module: Exportable, size: Size | None) -> Save:
    """For torch.export.load: a `.pt2` file."""
    program = make_program(module, size)

    def save(path: Path, facts: str) -> None:
        with quietly():
            torch.export.save(program, path, extra_files={KEY: facts})

    return save


def prepare_torchscript(module: Exportable, size: Size | None) -> Save:
    """For torch.jit.load and libtorch, of one size: what older programs take."""
    assert size is not None
    program = make_program(module, size).module(check_guards=False)
    example = torch.rand(1, 3, size.height, size.width), torch.rand(1, 3, size.height, size.width)
    with quietly(), torch.no_grad():
        traced = torch.jit.trace(program, example, check_trace=False)  # type: ignore[no-untyped-call]

    def save(path: Path, facts: str) -> None:
        with quietly():
            torch.jit.save(traced, path, _extra_files={KEY: facts})

    return save


def prepare_onnx(module: Exportable, size: Size | None) -> Save:
    """For ONNX Runtime and whatever else reads ONNX."""
    return saver_of_onnx(make_onnx(make_program(module, size), module.outputs))


def make_onnx(program: ExportedProgram, outputs: list[str]) -> Any:
    """The ONNX model of a program."""
    with quietly():
        made = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=["src", "bgr"],
            output_names=outputs,
            verbose=False,
        )
    assert made is not None
    return made.model_proto


def saver_of_onnx(model: Any) -> Save:
    """What writes an ONNX model."""

    def save(path: Path, facts: str) -> None:
        import onnx

        onnx.helper.set_model_props(model, {KEY: facts})
        onnx.save_model(model, str(path))

    return save


def saver_of_openvino(onnx_file: Path, *, half: bool) -> Save:
    """What writes an ONNX file as OpenVINO's `.xml` and `.bin`.

    Args:
        onnx_file: The ONNX file.
        half: Whether to store weights as float16.
    """
    silence_openvino()
    import openvino

    model = openvino.convert_model(onnx_file)

    def save(path: Path, facts: str) -> None:
        model.set_rt_info(facts, [KEY])
        openvino.save_model(model, path, compress_to_fp16=half)

    return save


@contextmanager
def quietly() -> Iterator[None]:
    """Without what exporters print and warn of on their way; their errors come all the same."""
    loggers = [logging.getLogger(name) for name in ("", "torch.onnx", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
