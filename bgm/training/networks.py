"""The network to train: new, or from a checkpoint."""

from __future__ import annotations

import logging
import platform
from pathlib import Path

import torch

from bgm.config.schema import ModelName
from bgm.config.training import TrainConfig
from bgm.errors import CheckpointError, ConfigError
from bgm.networks import MattingBase, MattingRefine
from bgm.networks.checkpoints import find_checkpoint, identify, load_checkpoint, read_state_dict
from bgm.training.forward import start_as_difference
from bgm.training.trainer import Network

log = logging.getLogger(__name__)

_REFINER = "refiner."
_X86 = ("x86_64", "amd64")


def create_network(config: TrainConfig) -> Network:
    """The network that a stage trains, on the CPU.

    Raises:
        CheckpointError: The checkpoint cannot be read, or is for another network.
        ConfigError: The stage needs a checkpoint, and there is none.
    """
    backbone, model = config.backbone.name.name, config.stage.model
    network: Network = MattingBase(backbone) if model is ModelName.base else MattingRefine(backbone)
    if config.checkpoint is None:
        if config.stage.frozen:
            raise ConfigError(
                f"stage={config.stage.name} keeps the coarse part as it is, so it needs one that "
                "was trained: checkpoint=<directory of a training>/best/base-....safetensors"
            )
        if config.stage.keep_norms:
            raise ConfigError(
                "stage.keep_norms=true keeps what batch normalisation has learnt, so it needs a "
                "checkpoint; random weights have learnt nothing"
            )
        start_as_difference(network)
        return network
    path = find_checkpoint(config.checkpoint, model.name, backbone)
    _load(network, path, model.name, backbone)
    return network


def _load(network: Network, path: Path, model: str, backbone: str) -> None:
    """Load weights; a refiner that the file does not have begins anew."""
    state = read_state_dict(path)
    found, found_backbone = identify(state, path)
    if model == "refine" and found == "base" and found_backbone == backbone:
        log.info("%s has no refiner: it begins anew", path.name)
        new = network.state_dict()
        missing = network.load_state_dict(
            {**{k: v for k, v in new.items() if k.startswith(_REFINER)}, **state}, strict=False
        )
        if missing.missing_keys or missing.unexpected_keys:
            raise CheckpointError(f"{path} does not fit the network")
        return
    load_checkpoint(network, path, model, backbone)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """What the forward pass is computed in.

    Args:
        name: `float32`, `bfloat16`, `float16`, or `auto`: bfloat16 where the processor has
            instructions for it.
        device: Where it is computed.

    Raises:
        ConfigError: The device cannot train in that precision.
    """
    if name == "auto":
        name = "bfloat16" if _has_bfloat16(device) else "float32"
    if name == "float16" and device.type != "cuda":
        raise ConfigError(f"precision=float16 trains on CUDA only, not on {device.type}")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    # On x86 that only says that AVX-512 can emulate it, at 2.5 times the time of float32.
    return platform.machine().lower() not in _X86 or bool(
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
