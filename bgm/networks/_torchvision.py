"""Imports the parts of torchvision that the networks are built from.

The networks need torchvision's Python modules only. Where its compiled operators do not fit the
installed torch (the registry's torchvision beside a CPU build of torch, for instance), importing
torchvision fails while it describes those operators; declaring them lets the import finish.
"""

import torch

try:
    import torchvision
except RuntimeError as error:
    if "operator torchvision::" not in str(error):
        raise
    for _name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
    import torchvision

from torchvision.models import mobilenet_v2, resnet50, resnet101
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.transforms.functional import to_pil_image, to_tensor

VERSION: str = torchvision.__version__

__all__ = [
    "ASPP",
    "VERSION",
    "mobilenet_v2",
    "resnet50",
    "resnet101",
    "to_pil_image",
    "to_tensor",
]
