"""The matting networks. They know tensors only: no files, no configuration."""

from bgm.networks.encoders import BACKBONES
from bgm.networks.matting import (
    BaseOutput,
    CoarseNetwork,
    CoarseOutput,
    MattingBase,
    MattingRefine,
    RefineOutput,
    Runtime,
    RuntimeOutput,
    run_coarse,
    split_output,
)
from bgm.networks.refiner import REFINE_MODES

__all__ = [
    "BACKBONES",
    "REFINE_MODES",
    "BaseOutput",
    "CoarseNetwork",
    "CoarseOutput",
    "MattingBase",
    "MattingRefine",
    "RefineOutput",
    "Runtime",
    "RuntimeOutput",
    "run_coarse",
    "split_output",
]
