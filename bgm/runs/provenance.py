"""What a run was made with: enough to know later why two runs differ."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bgm import __version__
from bgm.data.processors import usable_cpus
from bgm.networks.checkpoints import CheckpointInfo

_LIBRARIES = (
    *("av", "hydra-core", "isal", "numpy", "omegaconf", "onnxruntime", "opencv-python", "openvino"),
    *("pillow", "safetensors", "simplejpeg", "torch", "wandb"),
)


def describe(device: torch.device, checkpoint: CheckpointInfo | None) -> dict[str, Any]:
    """Versions, machine and checkpoint of a run, as nested plain values."""
    return {
        "versions": describe_versions(),
        "git_revision": _git_revision(),
        "machine": describe_machine(device),
        "checkpoint": None if checkpoint is None else asdict(checkpoint),
    }


def describe_machine(device: torch.device) -> dict[str, Any]:
    """The machine, and what of it is used."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": usable_cpus(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "device_name": _device_name(device),
    }


def describe_versions() -> dict[str, str]:
    """Versions of everything that a result may depend on."""
    versions = {"bgm": __version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:  # another package may provide it, such as a headless OpenCV
            continue
    return versions


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _device_name(device: torch.device) -> str | None:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def _git_revision() -> str | None:
    """The revision of the checkout that this code runs from, with a + if it was changed."""
    checkout = Path(__file__).parent.parent.parent
    if not (checkout / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"],
            cwd=checkout,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None
