"""Puts the coarse part of one checkpoint before the refiner of another.

    python scripts/join_parts.py base.safetensors refine.safetensors new.safetensors --stretch 0.04

A coarse network that learnt on (`stage=base`) keeps a refiner that is trained already; what is left
to do for both together is `stage=finetune`. Stretched, alpha is computed to lie so much beyond 0
and 1, where it is cut off: noise of solid and of clear parts shows nowhere.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from bgm.networks.checkpoints import read_state_dict

ALPHA = (("decoder.conv4", 0), ("refiner.conv4", 0))
"""The last layers of both parts, and which of their channels is alpha."""


def main() -> None:
    """Join, stretch, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("coarse", type=Path)
    parser.add_argument("refine", type=Path)
    parser.add_argument("joined", type=Path)
    parser.add_argument("--stretch", type=float, default=0.0, help="of alpha, on both sides")
    arguments = parser.parse_args()
    with safe_open(arguments.refine, "pt") as file:
        metadata = file.metadata()
    tensors = read_state_dict(arguments.refine)
    coarse = {
        name: tensor
        for name, tensor in read_state_dict(arguments.coarse).items()
        if not name.startswith("refiner.")
    }
    unknown = [name for name, tensor in coarse.items() if not _fits(tensor, tensors.get(name))]
    if unknown:
        parser.error(f"not for the same backbone: {unknown[0]} and {len(unknown) - 1} others")
    tensors |= coarse
    stretch(tensors, arguments.stretch)
    save_file(tensors, arguments.joined, metadata)


def _fits(tensor: Tensor, other: Tensor | None) -> bool:
    return other is not None and tensor.shape == other.shape


def stretch(tensors: dict[str, Tensor], margin: float) -> None:
    """Map the alpha that is computed from [0, 1] to [-margin, 1 + margin], in place."""
    for layer, channel in ALPHA:
        for part, shift in (("weight", 0.0), ("bias", margin)):
            tensor = tensors[f"{layer}.{part}"]
            stretched = tensor[channel].float() * (1 + 2 * margin) - shift
            tensor[channel] = stretched.to(tensor.dtype)


if __name__ == "__main__":
    main()
