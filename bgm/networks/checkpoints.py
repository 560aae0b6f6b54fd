"""Finds, reads and loads weights, without ever running code from a file."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from bgm.errors import CheckpointError
from bgm.records.fingerprints import fingerprint
from bgm.storage import StorageError, local_copy, locate

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent.parent / "assets" / "checkpoints"
"""Directory of the checkpoints that come with the package."""

COARSE_SIDE = "coarse_side"
"""Key of the metadata of a safetensors file, see `CheckpointInfo`."""

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "params", "ema")
_WRAPPED_AT_MOST = 4  # wrappers around wrappers
_BY_TORCH = frozenset({"_orig_mod", "module"})  # torch.compile's and DataParallel's, anywhere
_LANDMARKS = ("backbone.features.0.0.weight", "backbone.conv1.weight")
_COUNTERS = ".num_batches_tracked"  # of no use but in training; some tools leave them out
_REFINER = "refiner."
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_SAFE_TORCH = "2.10"
"""Below, `torch.load` with `weights_only` can be made to do more (CVE-2025-32434, CVE-2026-24747).
"""


@dataclass(frozen=True)
class CheckpointInfo:
    """Which weights a run used.

    Attributes:
        path: The file.
        sha256: Its SHA-256, in hexadecimal.
        model: `refine` or `base`, what the file holds.
        backbone: The backbone it is for.
        coarse_side: Long side of the pictures that the coarse network was trained with, in pixels,
            if the file says so.
    """

    path: str
    sha256: str
    model: str
    backbone: str
    coarse_side: int | None = None


def find_checkpoint(
    checkpoint: str, model: str, backbone: str, directory: Path | None = None
) -> Path:
    """Find the file that a `checkpoint` setting means.

    Args:
        checkpoint: A path, or `auto`: the first that exists of the published and the usual names
            in `directory`, then the one shipped with the package.
        model: `refine` or `base`; a refine checkpoint serves a base model too.
        backbone: Name of the backbone.
        directory: Where to look first for `auto`.

    Raises:
        CheckpointError: There is no such file.
    """
    if checkpoint != "auto":
        path = locate(checkpoint)
        if not path.is_file():
            what = "is a directory" if path.is_dir() else "does not exist"
            raise CheckpointError(f"checkpoint={path} {what}; give a file, or auto")
        return path

    stems = [f"{model}-{backbone}", f"{backbone}-{model}", f"pytorch_{backbone}"]
    if model == "base":
        stems += [f"refine-{backbone}", f"{backbone}-refine"]
    names = [f"{stem}{suffix}" for stem in stems for suffix in (".safetensors", ".pth")]
    for folder in (directory, SHIPPED):
        for name in names:
            if folder is not None and (folder / name).is_file():
                return folder / name
    looked = f" (looked for {', '.join(names)} in {directory})" if directory else ""
    raise CheckpointError(
        f"no checkpoint for backbone={backbone} is shipped{looked}. The published one is called "
        f"pytorch_{backbone}.pth: pass checkpoint=/path/to/pytorch_{backbone}.pth, or keep it in a "
        "directory and pass checkpoints_dir=/path/to/that/directory"
    )


def load_checkpoint(network: nn.Module, path: Path, model: str, backbone: str) -> CheckpointInfo:
    """Load the weights in `path` into `network`.

    Args:
        network: A `MattingBase` or `MattingRefine`.
        path: A `.safetensors` file, or a `.pth` with a `state_dict`, plain or wrapped.
        model: What `network` is, `refine` or `base`.
        backbone: The backbone of `network`.

    Raises:
        CheckpointError: The file cannot be read, or is not for this network.
    """
    try:
        with local_copy(path) as file:
            state, coarse_side = read_state_dict(file), _coarse_side(file)
    except (StorageError, FileNotFoundError) as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    found_model, found_backbone = identify(state, path)
    if found_backbone != backbone:
        raise CheckpointError(
            f"{path} is a checkpoint for backbone={found_backbone}, not {backbone}; "
            f"choose backbone={found_backbone} or another checkpoint"
        )
    if model == "refine" and found_model == "base":
        raise CheckpointError(
            f"{path} is a base checkpoint, without a refiner; choose model=base, or a checkpoint "
            "with one"
        )
    if model == "base" and found_model == "refine":
        kept = {name: tensor for name, tensor in state.items() if not name.startswith(_REFINER)}
        log.info("%s: left out the refiner's %d tensors", path.name, len(state) - len(kept))
        state = kept
    _check_values(state, path)
    expected = network.state_dict()
    state = {k: v for k, v in expected.items() if k.endswith(_COUNTERS)} | state
    _check_names(expected, state, path)
    network.load_state_dict(state)
    digest = fingerprint(path).sha256
    return CheckpointInfo(str(path), digest, found_model, found_backbone, coarse_side)


def _coarse_side(path: Path) -> int | None:
    """What `CheckpointInfo.coarse_side` is, of a file that was read already."""
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, "numpy") as file:
        said = (file.metadata() or {}).get(COARSE_SIDE, "")
    return int(said) if said.isdecimal() and int(said) else None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint file; code in it is refused, never run.

    Raises:
        CheckpointError: The file is not a checkpoint, damaged, or holds more than tensors.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512).lstrip()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    if not head:
        raise CheckpointError(f"{path} is empty")
    if head[:1] == b"<":
        raise CheckpointError(
            f"{path} is a web page, not a checkpoint; the download went wrong, fetch the file again"
        )
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is a Git LFS pointer; run git lfs pull to fetch the file")
    if path.suffix != ".safetensors" and head[:2] != b"PK" and head[:1] != b"\x80":
        raise CheckpointError(_damaged(path))
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    content = _unwrap(content)
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise CheckpointError(
            f"{path} does not hold a state_dict (tensors by name), plain or under one of "
            f"{', '.join(_WRAPPERS)}"
        )
    return _without_prefixes(content, path)


def _unwrap(content: object) -> object:
    """What lies inside of the wrappers that training frameworks put around a `state_dict`."""
    for _ in range(_WRAPPED_AT_MOST):
        if not isinstance(content, Mapping):
            break
        inner = [content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)]
        if not inner:
            break
        content = inner[0]
    return content


def _without_prefixes(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors under the names that the network gives them, without a framework's in front."""
    plain = {
        ".".join(part for part in name.split(".") if part not in _BY_TORCH): tensor
        for name, tensor in state.items()
    }
    prefixes = {
        name.removesuffix(mark)
        for mark in _LANDMARKS
        for name in plain
        if name == mark or name.endswith("." + mark)
    }
    if len(prefixes) > 1:
        names = ", ".join(sorted(prefix.rstrip(".") or "(none)" for prefix in prefixes))
        raise CheckpointError(
            f"{path} holds several networks ({names}); save the state_dict of one by itself"
        )
    prefix = prefixes.pop() if prefixes else ""
    return {name.removeprefix(prefix): tensor for name, tensor in plain.items()}


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file: {error}") from None


def _read_pickle(path: Path) -> object:
    if TorchVersion(torch.__version__) < _SAFE_TORCH:
        raise CheckpointError(
            f"{path} is not read, because torch {torch.__version__} cannot read such files without "
            "a danger of running code in them; install torch 2.10 or newer, or use a .safetensors "
            "file, which is safe with every torch"
        )
    try:
        with warnings.catch_warnings():  # what torch remarks on, the errors below say
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error) or "Unsupported" in str(error):
            raise CheckpointError(
                f"{path} holds Python objects or code besides tensors and was not loaded, because "
                "loading could run that code; use a file that holds only a state_dict"
            ) from None
        raise CheckpointError(_damaged(path)) from None
    except RuntimeError as error:
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{path} is a TorchScript archive; use the release's pytorch_*.pth instead"
            ) from None
        raise CheckpointError(_damaged(path)) from None
    except Exception:  # the unpickler raises anything on damaged files
        raise CheckpointError(_damaged(path)) from None


def _damaged(path: Path) -> str:
    return f"{path} is not a checkpoint, or damaged or cut short; fetch the file again"


def identify(state: Mapping[str, Tensor], path: Path) -> tuple[str, str]:
    """Tell from the tensors' names which model (`refine` or `base`) and backbone they are for.

    Raises:
        CheckpointError: They are not for a matting network.
    """
    if any(".gru." in name for name in state):
        raise CheckpointError(
            f"{path} is for a video matting network, which remembers frames and takes no "
            "background; use a checkpoint for background matting"
        )
    if "backbone.features.0.0.weight" in state:
        backbone = "mobilenetv2"
    elif "backbone.layer3.22.conv1.weight" in state:
        backbone = "resnet101"
    elif "backbone.layer3.5.conv1.weight" in state:
        backbone = "resnet50"
    else:
        first = ", ".join(list(state)[:5]) or "none"
        raise CheckpointError(
            f"{path} is not for a background matting network; its first tensors are {first}"
        )
    return ("refine" if any(name.startswith(_REFINER) for name in state) else "base"), backbone


def _check_values(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that are no weights: not dense, or not floating-point numbers.

    Raises:
        CheckpointError: There are such tensors; it names the first.
    """
    for name, tensor in state.items():
        if tensor.is_nested or tensor.layout is not torch.strided:
            what = "is sparse"
        elif tensor.is_meta:
            what = "has a shape but no values"
        elif tensor.dtype in _FLOATS or name.endswith(_COUNTERS):
            continue
        elif tensor.is_complex():
            what = "has complex numbers"
        else:
            kind = str(tensor.dtype).removeprefix("torch.")
            what = f"has values of type {kind}, as quantized networks do"
        raise CheckpointError(
            f"{path}: {name} {what}; save the network's weights as dense float32 or float16"
        )


def _check_names(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse what `load_state_dict` would refuse, in words."""
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is not part of it" for name in state if name not in expected]
    for name in expected.keys() & state.keys():
        have, want = tuple(state[name].shape), tuple(expected[name].shape)
        if have != want and have[-2:] != want[-2:] and name.startswith(_REFINER):
            raise CheckpointError(
                f"{path} has a refiner of kernel size {have[-1]}, not {want[-1]}; choose "
                f"refine.kernel_size={have[-1]}"
            )
        if have != want:
            problems.append(f"{name} is {have} instead of {want}")
        elif not torch.isfinite(state[name]).all():
            problems.append(f"{name} has values that are not finite")
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(f"{path} does not fit the network: {'; '.join(problems[:5])}{more}")
