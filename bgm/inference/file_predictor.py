"""Runs a network file on pairs of photographs, in place of a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bgm.inference.matting import Matting
from bgm.inference.network_file import NetworkFile, open_network_file
from bgm.inference.predictor import Predictor, Staged
from bgm.inference.scale import CoarsePass
from bgm.networks.checkpoints import CheckpointInfo


class FilePredictor(Predictor):
    """Mattes photographs with a network file; pictures stay in the host's memory.

    Args:
        file: The file.

    Attributes:
        file: The file.
    """

    def __init__(self, file: NetworkFile) -> None:
        self.file = file
        self.device = torch.device("cpu")
        self.rule = None
        self._dtype = torch.float32
        self._refines = file.facts.model == "refine"
        self._fast = None
        self._copies = None

    def stage(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Staged:
        """Pad pairs to what the file takes.

        Raises:
            DataError: An image is of a size that the file does not take, or sizes differ.
        """
        staged = super().stage(pairs)
        self.file.check_size(*staged.photos[0][0].shape[1:])
        return staged

    def take_spared_ms(self) -> float:
        """None: a file has no coarse results to remember."""
        return 0.0

    def _set_scale(self, staged: Staged) -> CoarsePass | None:
        refiner = self.file.facts.refiner
        if not refiner:
            return None
        return CoarsePass(refiner["backbone_scale"], refiner["refine_sample_pixels"])

    def _compute(self, src: Tensor, bgr: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.file(src, bgr))


def load_network_file(path: str | Path, runtime: str = "auto", provider: str = "cpu") -> Matting:
    """Load a network that `bgm-export` has written, ready to matte.

    Args:
        path: The file: `.onnx`, `.xml`, `.pt2` or `.ts`.
        runtime: What runs it: `auto`, `onnx`, `openvino` or `eager`.
        provider: Where ONNX Runtime computes: `cpu`, `cuda`, `coreml` or `directml`.

    Raises:
        ConfigError: The file is not there, is no network of bgm's, or cannot be run that way.
    """
    file = open_network_file(Path(path).expanduser(), runtime, provider)
    facts = file.facts
    info = CheckpointInfo(str(file.path), file.sha256, facts.model, facts.backbone)
    return Matting(FilePredictor(file), info)
