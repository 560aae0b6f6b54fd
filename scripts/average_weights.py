"""Averages the weights of checkpoints of one network.

    python scripts/average_weights.py average.safetensors 0.5:one.safetensors 0.5:other.safetensors

Of networks that come from one another the average is often better than each: what one has
forgotten the other still knows. Names and metadata are those of the first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from bgm.networks.checkpoints import read_state_dict


def main() -> None:
    """Average, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("average", type=Path)
    parser.add_argument("parts", nargs="+", help="share:file, the shares adding up to 1")
    arguments = parser.parse_args()
    shares, files = [], []
    for part in arguments.parts:
        share, _, file = part.partition(":")
        shares.append(float(share))
        files.append(Path(file))
    if abs(sum(shares) - 1) > 1e-6:
        parser.error(f"the shares add up to {sum(shares):g}, not 1")
    stored = [read_state_dict(file) for file in files]
    if any(tensors.keys() != stored[0].keys() for tensors in stored):
        parser.error("not of one network: their tensors have other names")
    average = dict(stored[0])
    for name, first in stored[0].items():
        if first.is_floating_point():
            whole = torch.zeros(first.shape)
            for share, tensors in zip(shares, stored, strict=True):
                whole += share * tensors[name].float()
            average[name] = whole.to(first.dtype)
    with safe_open(files[0], "pt") as opened:
        metadata = opened.metadata()
    save_file(average, arguments.average, metadata)


if __name__ == "__main__":
    main()
