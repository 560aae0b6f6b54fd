"""What computes the coarse network: torch as it is, torch's compiler, ONNX Runtime, OpenVINO.

Each takes (B, 6, h, w) and returns what the network would, to about 1e-5 in float32.
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections import Counter
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from bgm.errors import ConfigError
from bgm.inference.fuse import can_pack, fuse
from bgm.networks import CoarseNetwork, CoarseOutput, Runtime, run_coarse

log = logging.getLogger(__name__)

RUNTIMES = ("auto", "eager", "compiled", "onnx", "openvino")
"""Names of the runtimes there are."""

_NEEDS = {"onnx": ("onnxruntime", "onnx"), "openvino": ("openvino",)}
_OUTPUTS = ["pha", "residual", "err", "hid"]
_EXAMPLE = (1, 6, 272, 480)
_COMPILED_AFTER = 30  # compiling takes as long as hundreds of images; a handful never pays for it


class CoarsePass(nn.Module):
    """The coarse part of a network as a module of its own, which tracers and exporters take."""

    def __init__(self, network: CoarseNetwork) -> None:
        super().__init__()
        self.backbone = network.backbone
        self.aspp = network.aspp
        self.decoder = network.decoder

    def forward(self, photos: Tensor) -> CoarseOutput:
        """Run the network on (B, 6, h, w)."""
        return run_coarse(self.backbone, self.aspp, self.decoder, photos)


def choose_runtime(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """The runtime that a setting means.

    Args:
        name: One of `RUNTIMES`. `auto` is the fastest that is installed: on the CPU OpenVINO in
            bfloat16; everywhere else torch itself, which in float32 is as fast (measured in
            docs/performance.md) and starts at once.
        device: Where to compute.
        dtype: In what precision.

    Raises:
        ConfigError: The runtime does not exist, is not installed, or not for this device.
    """
    if name == "auto":
        fast = device.type == "cpu" and dtype is torch.bfloat16 and find_spec("openvino")
        return "openvino" if fast else "eager"
    if name not in RUNTIMES:
        raise ConfigError(f"runtime={name}: must be one of {', '.join(RUNTIMES)}")
    missing = [package for package in _NEEDS.get(name, ()) if find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"runtime={name} needs packages that are not installed: "
            f"pip install {' '.join(missing)}, or choose runtime=auto"
        )
    if name in _NEEDS and device.type != "cpu":
        raise ConfigError(f"runtime={name} is for device=cpu; use eager or compiled on {device}")
    if name == "onnx" and dtype is not torch.float32:
        raise ConfigError("runtime=onnx is for precision=float32; use eager or openvino")
    return name


def create_runtime(
    name: str, network: CoarseNetwork, device: torch.device, dtype: torch.dtype
) -> Runtime:
    """Prepare the coarse part of a network.

    Args:
        name: What `choose_runtime` returned.
        network: The network, on `device`, in evaluation mode.
        device: Where to compute.
        dtype: Precision of the computation; inputs and outputs are float32.
    """
    coarse = CoarsePass(network).eval().requires_grad_(False)
    if name == "onnx":
        return _onnx(coarse)
    if name == "openvino":
        return _openvino(coarse, dtype)
    example = torch.rand(_EXAMPLE, device=device)
    packs = device.type == "cpu" and dtype is torch.float32 and name == "eager" and can_pack()
    fused = fuse(coarse, example, pack=packs)
    eager = _in_dtype(fused.to(dtype), dtype)
    return _Compiled(fused, eager, dtype) if name == "compiled" else eager


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

    def __call__(self, photos: Tensor) -> CoarseOutput:
        self._seen[photos.shape] += 1
        if self._seen[photos.shape] <= self.compiled_after:
            return self._eager(photos)
        if self._seen[photos.shape] == self.compiled_after + 1:
            log.info("compiling the network for %dx%d", *reversed(photos.shape[2:]))
        # Weights can only be frozen outside of inference mode.
        with torch.inference_mode(mode=False), torch.no_grad():
            return self._compiled(photos)


def _onnx(coarse: nn.Module) -> Runtime:
    import onnxruntime

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of this exporter's age; the new one needs onnxscript
        torch.onnx.export(
            coarse,
            (torch.rand(_EXAMPLE),),
            file,  # type: ignore[arg-type]
            dynamo=False,
            input_names=["photos"],
            output_names=_OUTPUTS,
            opset_version=17,
            dynamic_axes={name: {0: "b", 2: "h", 3: "w"} for name in ["photos", *_OUTPUTS]},
        )
    onnxruntime.disable_telemetry_events()  # which its builds for Windows have
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin while they wait would take the cores from decoding and encoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )

    def run(photos: Tensor) -> CoarseOutput:
        outputs = session.run(None, {"photos": photos.contiguous().numpy()})
        pha, residual, err, hid = map(torch.from_numpy, outputs)
        return pha, residual, err, hid

    return run


def _openvino(coarse: nn.Module, dtype: torch.dtype) -> Runtime:
    # Importing OpenVINO and converting a network would each send a message about it over the net.
    # Without this package, which is only for that, it sends nothing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    model = openvino.convert_model(coarse, example_input=torch.rand(_EXAMPLE))
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        # Left alone, OpenVINO computes in bfloat16 where the processor can.
        "INFERENCE_PRECISION_HINT": "f32" if dtype is torch.float32 else "bf16",
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()

    def run(photos: Tensor) -> CoarseOutput:
        request.infer([photos.contiguous().numpy()], share_inputs=True)
        outputs = (torch.from_numpy(request.get_output_tensor(i).data.copy()) for i in range(4))
        pha, residual, err, hid = outputs
        return pha, residual, err, hid

    return run
