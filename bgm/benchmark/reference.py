"""The job done the obvious way: what bgm's speed is compared with.

One image at a time, Pillow, float tensors as torchvision's transforms make them, the plain network,
PNG as Pillow has it by default, and a thread for every file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bgm.data import Pair

ReferenceNetwork = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes source and background, (1, 3, H, W); returns alpha and foreground."""


@torch.inference_mode()
def run_reference(pairs: Sequence[Pair], network: ReferenceNetwork, output_dir: Path) -> None:
    """Matte pairs of files into `com`, `pha` and `fgr`."""
    threads = []
    for pair in pairs:
        src, bgr = (read_tensor(path)[None] for path in (pair.src, pair.bgr))
        pha, fgr = network(src, bgr)
        com = torch.cat([fgr * pha.ne(0), pha], dim=1)
        for kind, layer, suffix in (("com", com, "png"), ("pha", pha, "jpg"), ("fgr", fgr, "jpg")):
            path = output_dir / kind / f"{pair.name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            thread = Thread(target=_save, args=(layer[0], path))
            thread.start()
            threads.append(thread)
    for thread in threads:
        thread.join()


def read_tensor(path: Path) -> Tensor:
    """An image as floats in [0, 1], (3, H, W)."""
    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB")))
    return pixels.permute(2, 0, 1).contiguous().float().div(255)


def _save(layer: Tensor, path: Path) -> None:
    pixels = layer.mul(255).byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels.squeeze()).save(path)
