"""The Python door: a network that is ready to matte, in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bgm.inference.device import select_device
from bgm.inference.images import ImageLike, to_tensor
from bgm.inference.matte import Matte
from bgm.inference.predictor import Predictor
from bgm.inference.quantize import Calibration
from bgm.inference.scale import split_settings
from bgm.networks import CoarseNetwork, MattingBase, MattingRefine
from bgm.networks.checkpoints import CheckpointInfo, find_checkpoint, load_checkpoint
from bgm.storage import locate


class Matting:
    """A loaded network, called with a source and its background.

    Attributes:
        checkpoint: Which weights it has; None for random ones.
        device: Where it computes.
    """

    def __init__(self, predictor: Predictor, checkpoint: CheckpointInfo | None) -> None:
        self._predictor = predictor
        self.checkpoint = checkpoint
        self.device = predictor.device

    @property
    def predictor(self) -> Predictor:
        """What mattes, for those who stage images in advance or in batches."""
        return self._predictor

    def __call__(self, src: ImageLike, bgr: ImageLike) -> Matte:
        """Matte one photograph.

        Args:
            src: The photograph: a PIL image, whose EXIF orientation is applied; an array (H, W, 3)
                or tensor (3, H, W), RGB, uint8, uint16 or float in [0, 1].
            bgr: The background without the subject, of the same size.

        Returns:
            Its matte, in tensors of its own.

        Raises:
            DataError: The two differ in size, are too small, not images or out of range.
            PredictionError: The network returned values that are not finite.
        """
        return self._predictor(to_tensor(src), to_tensor(bgr))


def load_matting(
    checkpoint: str | Path = "auto",
    backbone: str = "mobilenetv2",
    device: str = "auto",
    *,
    model: str = "refine",
    precision: str = "float32",
    runtime: str | None = "auto",
    checkpoints_dir: str | Path | None = None,
    calibration: Calibration | None = None,
    spare: bool = False,
    **settings: Any,
) -> Matting:
    """Load a network that is ready to matte.

    Args:
        checkpoint: Path of a checkpoint, or `auto`: the one shipped for this backbone.
        backbone: `mobilenetv2`, `resnet50` or `resnet101`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        model: `refine`, or `base` for the coarse network alone.
        precision: `float32`, `bfloat16`, `float16`, or `int8` of the coarse network.
        runtime: What computes the coarse network: `auto`, `eager`, `compiled`, `onnx` or
            `openvino`; None leaves the network as it is.
        checkpoints_dir: Directory that `auto` searches first.
        calibration: Pictures that `int8` is calibrated with; None for the demo.
        spare: As for `Predictor`.
        **settings: The settings of `MattingRefine`. `backbone_scale` and `refine_sample_pixels` are
            chosen for each picture unless they are given, see `bgm.inference.scale`.

    Raises:
        CheckpointError: The checkpoint cannot be found, read, or is for another network.
        ConfigError: This machine cannot compute that way.
        ValueError: A setting is out of its range.
    """
    chosen_device = select_device(device)
    plain, _ = split_settings(settings, None)
    network = create_network(model, backbone, **plain)
    directory = locate(checkpoints_dir) if checkpoints_dir else None
    path = find_checkpoint(str(checkpoint), model, backbone, directory)
    info = load_checkpoint(network, path, model, backbone)
    _, rule = split_settings(settings, info.coarse_side)
    predictor = Predictor(
        network, chosen_device, precision, runtime, rule, calibration, spare=spare
    )
    return Matting(predictor, info)


def create_network(model: str, backbone: str, **settings: Any) -> CoarseNetwork:
    """Build a network with random weights.

    Args:
        model: `refine` or `base`.
        backbone: `mobilenetv2`, `resnet50` or `resnet101`.
        **settings: The settings of `MattingRefine`.

    Raises:
        ValueError: The model or backbone does not exist, or a setting is out of its range.
    """
    if model == "refine":
        return MattingRefine(backbone, **settings)
    if model != "base":
        raise ValueError(f"unknown model {model!r}; there are base, refine")
    if settings:
        raise ValueError(f"model=base has no setting {', '.join(settings)}")
    return MattingBase(backbone)
