"""What computes the coarse network: torch as it is, torch's compiler, ONNX Runtime, OpenVINO.

Each takes (B, 6, h, w) and returns what the network would, to about 1e-5 in float32; hidden
features perhaps only when they are asked for.
"""

from __future__ import annotations

import io
import logging
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from bgm.errors import ConfigError
from bgm.inference.coarse import (
    EXAMPLE,
    CoarseModule,
    HalfModule,
    JoinedModule,
    split_joined,
    to_onnx,
)
from bgm.inference.fuse import can_pack, fuse
from bgm.inference.last_step import LastStep
from bgm.networks import CoarseNetwork, CoarseOutput, MattingRefine, Runtime, RuntimeOutput

log = logging.getLogger(__name__)

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,
}
"""Names of the precisions, and in what type all that is not quantized is computed."""

RUNTIMES = ("auto", "eager", "compiled", "onnx", "openvino")
"""Names of the runtimes there are."""

_NEEDS = {"onnx": ("onnxruntime", "onnx"), "openvino": ("openvino",)}
_MOST_SIZES = 4
_COMPILED_AFTER = 30  # compiling takes as long as hundreds of images; a handful never pays for it


def choose_runtime(name: str, device: torch.device, precision: str) -> str:
    """The runtime that a setting means.

    Args:
        name: One of `RUNTIMES`. `auto` is the fastest that is installed: on the CPU OpenVINO in
            bfloat16 and int8; everywhere else torch itself, which in float32 is as fast (measured
            in docs/performance.md) and starts at once.
        device: Where to compute.
        precision: One of `PRECISIONS`.

    Raises:
        ConfigError: The runtime does not exist, is not installed, or not for this device or
            precision.
    """
    if precision == "int8":
        return _choose_for_int8(name, device)
    if name == "auto":
        fast = device.type == "cpu" and precision == "bfloat16" and find_spec("openvino")
        return "openvino" if fast else "eager"
    if name not in RUNTIMES:
        raise ConfigError(f"runtime={name}: must be one of {', '.join(RUNTIMES)}")
    _check_installed(f"runtime={name}", _NEEDS.get(name, ()), "runtime=auto")
    if name in _NEEDS and device.type != "cpu":
        raise ConfigError(f"runtime={name} is for device=cpu; use eager or compiled on {device}")
    if name == "onnx" and precision != "float32":
        raise ConfigError("runtime=onnx is for precision=float32 and int8; use eager or openvino")
    return name


def _choose_for_int8(name: str, device: torch.device) -> str:
    if device.type != "cpu":
        raise ConfigError(f"precision=int8 is for device=cpu; use float16 on {device}")
    if name == "auto":
        name = "openvino" if find_spec("openvino") else "onnx"
    if name not in _NEEDS:
        raise ConfigError(f"runtime={name} has no precision=int8; use auto, openvino or onnx")
    # ONNX Runtime also learns the ranges of what another runtime computes.
    packages = dict.fromkeys([*_NEEDS["onnx"], *_NEEDS[name]])
    _check_installed("precision=int8", tuple(packages), "precision=float32")
    return name


def _check_installed(what: str, packages: tuple[str, ...], otherwise: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"{what} needs packages that are not installed: pip install {' '.join(missing)}, or "
            f"choose {otherwise}"
        )


def create_runtime(
    name: str,
    network: CoarseNetwork,
    device: torch.device,
    precision: str,
    quantized: bytes | None = None,
) -> Runtime:
    """Prepare the coarse part of a network.

    Args:
        name: What `choose_runtime` returned.
        network: The network, on `device`, in evaluation mode.
        device: Where to compute.
        precision: Precision of the computation; inputs and outputs are float32.
        quantized: For int8 the network as `bgm.inference.quantize` makes it.
    """
    dtype = PRECISIONS[precision]
    if name == "onnx":
        return _onnx(quantized or to_onnx(network))
    if name == "openvino":
        return _OpenVino(network, dtype, quantized)
    example = torch.rand(EXAMPLE, device=device)
    packs = device.type == "cpu" and dtype is torch.float32 and name == "eager" and can_pack()
    if packs and isinstance(network, MattingRefine):
        return _in_two_steps(network, example)
    coarse = CoarseModule(network).eval().requires_grad_(False)
    fused = fuse(coarse, example, pack=packs)
    eager = _in_dtype(fused.to(dtype), dtype)
    return _Compiled(fused, eager, dtype) if name == "compiled" else eager


def when_needed(make: Callable[[], Runtime]) -> Runtime:
    """A runtime that is made when it is first called."""
    made = cache(make)
    return lambda photos: made()(photos)


def _in_two_steps(network: MattingRefine, example: Tensor) -> Runtime:
    """Hidden features wait for what asks for them."""
    half = fuse(HalfModule(network).eval().requires_grad_(False), example, pack=True)
    last = LastStep(network.decoder.conv4)

    def run(photos: Tensor) -> RuntimeOutput:
        photos = photos.contiguous(memory_format=torch.channels_last)
        return last(half(photos), photos)

    return run


def _in_dtype(module: Any, dtype: torch.dtype) -> Runtime:
    def run(photos: Tensor) -> CoarseOutput:
        output = module(photos.to(dtype=dtype, memory_format=torch.channels_last))
        pha, residual, err, hid = (tensor.float() for tensor in output)
        return pha, residual, err, hid

    return run


class _Compiled:
    """Compiles for each size by itself, once enough images of that size have come."""

    def __init__(self, fused: nn.Module, eager: Runtime, dtype: torch.dtype) -> None:
        self._eager = eager
        # Weights become constants; torch keeps what it has compiled on disk for the next run.
        compiled = torch.compile(fused, dynamic=False, options={"freezing": True})
        self._compiled = _in_dtype(compiled, dtype)
        self._seen: Counter[torch.Size] = Counter()
        self.compiled_after = _COMPILED_AFTER

    def __call__(self, photos: Tensor) -> RuntimeOutput:
        self._seen[photos.shape] += 1
        if self._seen[photos.shape] <= self.compiled_after:
            return self._eager(photos)
        if self._seen[photos.shape] == self.compiled_after + 1:
            log.info("compiling the network for %dx%d", *reversed(photos.shape[2:]))
        # Weights can only be frozen outside of inference mode.
        with torch.inference_mode(mode=False), torch.no_grad():
            return self._compiled(photos)


def _onnx(content: bytes) -> Runtime:
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # which its builds for Windows have
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin while they wait would take the cores from decoding and encoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(photos: Tensor) -> CoarseOutput:
        (joined,) = session.run(None, {"photos": photos.contiguous().numpy()})
        return split_joined(joined)

    return run


class _OpenVino:
    """Compiles for each size by itself, which is a third quicker; after a few sizes for any.

    Args:
        network: The network.
        dtype: In what type it is computed.
        quantized: The network as ONNX in 8 bits; None for itself.
    """

    def __init__(self, network: CoarseNetwork, dtype: torch.dtype, quantized: bytes | None) -> None:
        # Importing OpenVINO and converting a network would each send a message about it over the
        # net. Without this package, which is only for that, it sends nothing.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        if quantized is not None:  # read_model would get it wrong, see bgm.inference.network_file
            self._model = openvino.convert_model(io.BytesIO(quantized))
        else:
            joined = JoinedModule(network).eval().requires_grad_(False)
            self._model = openvino.convert_model(joined, example_input=torch.rand(EXAMPLE))
        self._core = openvino.Core()
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            # Left alone, OpenVINO computes in bfloat16 where the processor can.
            "INFERENCE_PRECISION_HINT": "f32" if dtype is torch.float32 else "bf16",
        }
        self._requests: dict[tuple[int, ...] | None, Any] = {}

    def __call__(self, photos: Tensor) -> CoarseOutput:
        size = tuple(photos.shape)
        key = size if size in self._requests or len(self._requests) < _MOST_SIZES else None
        request = self._requests.get(key)
        if request is None:
            self._model.reshape([-1, size[1], -1, -1] if key is None else list(size))
            compiled = self._core.compile_model(self._model, "CPU", self._settings)
            request = self._requests[key] = compiled.create_infer_request()
        request.infer([photos.contiguous().numpy()], share_inputs=True)
        return split_joined(request.get_output_tensor(0).data)
