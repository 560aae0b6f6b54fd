"""Whole networks that `bgm-export` has written, run by what they were written for.

Each takes source and background, (B, 3, H, W), and returns alpha, foreground, error and refined
blocks; what else there is to know of a file stands in it, under the key `bgm`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bgm.errors import ConfigError, DataError
from bgm.records.fingerprints import fingerprint

KEY = "bgm"
"""Under this key a file holds what there is to know of it, as JSON."""

SUFFIXES = {".pt2": "torch", ".onnx": "onnx", ".xml": "openvino", ".ts": "torchscript"}
"""Formats by the ending of their files."""

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
"""Where ONNX Runtime can compute, and what it calls that."""

_RUNTIMES = {
    "torch": ("eager",),
    "torchscript": ("eager",),
    "onnx": ("onnx", "openvino"),
    "openvino": ("openvino",),
}
_PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}

Run = Callable[[Tensor, Tensor], list[Tensor]]
"""Computes the outputs of a network file from source and background."""


@dataclass(frozen=True)
class NetworkFacts:
    """What there is to know of a network file.

    Attributes:
        format: `torch`, `onnx`, `openvino` or `torchscript`.
        precision: `float32`, `float16` or `int8`.
        model: `refine` or `base`.
        backbone: Name of the backbone.
        width: Width of the images it takes, in pixels; None for any.
        height: Their height; None for any.
        least_side: Shortest side of an image, in pixels.
        multiple: What both sides must be divisible by.
        outputs: Names of what it returns, in order.
        refiner: The settings of `MattingRefine`, by its own names; empty for a base network.
        checkpoint: Name of the file that the weights came from.
        checkpoint_sha256: Its SHA-256, in hexadecimal.
        versions: Versions of what wrote the file.
        reached: How far its results were from those of torch, as `bgm-export` measured it.
        notes: What else to know before using it.
    """

    format: str
    precision: str
    model: str
    backbone: str
    width: int | None
    height: int | None
    least_side: int
    multiple: int
    outputs: list[str]
    refiner: dict[str, Any]
    checkpoint: str
    checkpoint_sha256: str
    versions: dict[str, str]
    reached: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """As it stands in a file."""
        return json.dumps(asdict(self), indent=2)


@dataclass(frozen=True)
class NetworkFile:
    """A network file that is ready to run.

    Attributes:
        path: The file.
        facts: What it says of itself.
        sha256: SHA-256 of the file; of the files, if it is two.
    """

    path: Path
    facts: NetworkFacts
    sha256: str
    _run: Run

    def __call__(self, src: Tensor, bgr: Tensor) -> list[Tensor]:
        """Matte (B, 3, H, W), RGB in [0, 1].

        Returns:
            The outputs in the order of `facts.outputs`, float32: alpha (B, 1, H, W), foreground
            (B, 3, H, W), the predicted error (B, 1, h, w) at the size of the coarse pass, and of a
            refine network the refined blocks (B, 1, H/4, W/4), 1 where refined.

        Raises:
            DataError: It does not take images of this size.
        """
        self.check_size(*src.shape[2:])
        fixed = self.facts.width is not None
        if fixed and src.shape[0] > 1:  # which takes them one by one
            outputs = [self._run(*(x[None] for x in pair)) for pair in zip(src, bgr, strict=True)]
            return [torch.cat(parts) for parts in zip(*outputs, strict=True)]
        return self._run(src, bgr)

    def check_size(self, height: int, width: int) -> None:
        """Refuse images that the file does not take.

        Raises:
            DataError: It says for which sizes it is.
        """
        facts = self.facts
        if facts.width is not None and (facts.width, facts.height) != (width, height):
            raise DataError(
                f"{self.path.name} takes images of {facts.width}x{facts.height} only, and this is "
                f"{width}x{height}; export another with sizes=[{width}x{height}], or one for any "
                "size"
            )
        if min(height, width) < facts.least_side:
            raise DataError(
                f"{width}x{height} is too small for {self.path.name}; the least is "
                f"{facts.least_side}x{facts.least_side}"
            )


def open_network_file(
    path: Path, runtime: str = "auto", provider: str = "cpu", threads: int | None = None
) -> NetworkFile:
    """Load a network file.

    Args:
        path: A file that `bgm-export` wrote.
        runtime: What runs it: `onnx` or `openvino` for `.onnx`, `openvino` for `.xml`, `eager`
            for `.pt2` and `.ts`; `auto` is the first that fits.
        provider: Where ONNX Runtime computes, one of `PROVIDERS`.
        threads: Threads to compute with; None for as many as torch has.

    Raises:
        ConfigError: The file is not there, is no network of bgm's, or cannot be run that way.
    """
    name = SUFFIXES.get(path.suffix.lower())
    if name is None:
        raise ConfigError(
            f"network_file={path}: not a network file; they end in {', '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise ConfigError(f"network_file={path}: no such file; bgm-export writes them")
    chosen = choose_file_runtime(name, runtime, provider)
    threads = threads or torch.get_num_threads()
    try:
        run, text = _OPENERS[chosen](path, name, provider, threads)
    except Exception as error:  # each runtime has its own for a damaged file
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"network_file={path} cannot be loaded: {first}; write it anew with bgm-export"
        ) from error
    facts = parse_facts(text, path)
    return NetworkFile(path, facts, _sha256(path), run)


def choose_file_runtime(name: str, runtime: str, provider: str) -> str:
    """What runs a network file of a format.

    Raises:
        ConfigError: The setting does not fit the format, or a package is missing.
    """
    fitting = _RUNTIMES[name]
    if runtime == "auto":
        runtime = fitting[0]
    if runtime not in fitting:
        legal = " or ".join(fitting)
        raise ConfigError(f"runtime={runtime} does not run a network file for {name}; use {legal}")
    package = _PACKAGES.get(runtime)
    if package is not None and find_spec(package) is None:
        raise ConfigError(f"runtime={runtime} needs a package: pip install {package}")
    if provider != "cpu" and runtime != "onnx":
        raise ConfigError(f"runtime.provider={provider} is for runtime=onnx")
    if runtime == "onnx":
        check_provider(provider)
    return runtime


def check_provider(provider: str) -> None:
    """Refuse a provider that the installed ONNX Runtime does not have.

    Raises:
        ConfigError: It says what there is.
    """
    import onnxruntime

    if provider not in PROVIDERS:
        raise ConfigError(f"runtime.provider={provider}: must be one of {', '.join(PROVIDERS)}")
    available = onnxruntime.get_available_providers()
    if PROVIDERS[provider] not in available:
        have = ", ".join(name for name, theirs in PROVIDERS.items() if theirs in available)
        raise ConfigError(
            f"runtime.provider={provider}: the installed ONNX Runtime computes on {have}; another "
            "build of it is needed, such as onnxruntime-gpu for cuda or onnxruntime-directml"
        )


def parse_facts(text: str | None, path: Path) -> NetworkFacts:
    """What a file says of itself.

    Raises:
        ConfigError: It says nothing, or not what bgm understands.
    """
    try:
        content = json.loads(text or "")
        known = {each.name for each in fields(NetworkFacts)}
        return NetworkFacts(**{key: value for key, value in content.items() if key in known})
    except (ValueError, TypeError, AttributeError):
        raise ConfigError(
            f"network_file={path} was not written by bgm-export: it does not say what it is"
        ) from None


def _sha256(path: Path) -> str:
    """Of the file; of OpenVINO's two files, of both their sums."""
    parts = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    sums = [fingerprint(part).sha256 for part in parts]
    return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()


def _open_torch(path: Path, name: str, provider: str, threads: int) -> tuple[Run, str]:
    extra: dict[str, Any] = {KEY: ""}
    module: Any
    if name == "torchscript":
        module = torch.jit.load(path, _extra_files=extra)  # type: ignore[no-untyped-call]
    else:
        module = torch.export.load(path, extra_files=extra).module()
    text = extra[KEY]

    def run(src: Tensor, bgr: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return list(module(src.contiguous(), bgr.contiguous()))

    return run, text if isinstance(text, str) else bytes(text).decode()


def _open_onnx(path: Path, name: str, provider: str, threads: int) -> tuple[Run, str]:
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # which its builds for Windows have
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Threads that spin while they wait would take the cores from decoding and encoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = list(dict.fromkeys([PROVIDERS[provider], PROVIDERS["cpu"]]))
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)

    def run(src: Tensor, bgr: Tensor) -> list[Tensor]:
        inputs = {"src": src.contiguous().numpy(), "bgr": bgr.contiguous().numpy()}
        return [torch.from_numpy(output) for output in session.run(None, inputs)]

    return run, session.get_modelmeta().custom_metadata_map.get(KEY, "")


def _open_openvino(path: Path, name: str, provider: str, threads: int) -> tuple[Run, str]:
    silence_openvino()
    import openvino

    # Of a graph in 8 bits for any size, read_model makes one that computes something else.
    read = openvino.convert_model if name == "onnx" else openvino.Core().read_model
    model = read(path)
    if name == "onnx":  # OpenVINO keeps what such a file says of itself in another place
        places: tuple[list[str], ...] = (["framework", KEY], [KEY])
    else:
        places = ([KEY],)
    text = next((model.get_rt_info(p).astype(str) for p in places if model.has_rt_info(p)), "")
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        # Left alone, OpenVINO computes in bfloat16 where the processor can.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()

    def run(src: Tensor, bgr: Tensor) -> list[Tensor]:
        arrays = [src.contiguous().numpy(), bgr.contiguous().numpy()]
        request.infer(arrays, share_inputs=True)
        count = len(compiled.outputs)
        return [torch.from_numpy(request.get_output_tensor(i).data.copy()) for i in range(count)]

    return run, text


def silence_openvino() -> None:
    """Keep OpenVINO from sending messages about its use, which it does through a package."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


_OPENERS = {"eager": _open_torch, "onnx": _open_onnx, "openvino": _open_openvino}
