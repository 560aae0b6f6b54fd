"""The weights of a training as others use them: a directory for `checkpoints_dir=`."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save

from bgm.networks import MattingRefine
from bgm.networks.checkpoints import COARSE_SIDE
from bgm.records.atomic import write_atomically
from bgm.training.trainer import Network


def write_weights(folder: Path, network: Network, backbone: str, coarse_side: int) -> Path:
    """Write weights in float16, under the name that `checkpoint=auto` looks for.

    Args:
        folder: Where to.
        network: The network.
        backbone: Its backbone.
        coarse_side: Long side of what its coarse part was trained with, in pixels.

    Raises:
        WriteError: They cannot be written.
    """
    model = "refine" if isinstance(network, MattingRefine) else "base"
    path = folder / f"{model}-{backbone}.safetensors"
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    write_atomically(path, save(tensors, {"format": "pt", COARSE_SIDE: str(coarse_side)}))
    return path
