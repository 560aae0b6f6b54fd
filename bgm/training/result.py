"""The weights of a training as others use them: a directory for `checkpoints_dir=`."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save

from bgm.networks import MattingRefine
from bgm.records.atomic import write_atomically
from bgm.training.trainer import Network


def write_weights(folder: Path, network: Network, backbone: str) -> Path:
    """Write weights in float16, under the name that `checkpoint=auto` looks for.

    Raises:
        WriteError: They cannot be written.
    """
    model = "refine" if isinstance(network, MattingRefine) else "base"
    path = folder / f"{model}-{backbone}.safetensors"
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    write_atomically(path, save(tensors, {"format": "pt"}))
    return path
