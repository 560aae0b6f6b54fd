"""What to do with images that the device has no memory for."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from bgm.errors import PredictionError
from bgm.inference.matte import Matte
from bgm.inference.predictor import Predictor, Staged
from bgm.networks import CoarseNetwork

log = logging.getLogger(__name__)

ON_CPU = "computed on the CPU, because the device had no memory for it"


class DeviceMemoryError(PredictionError):
    """The device has no memory for an image."""

    def __init__(self, message: str) -> None:
        super().__init__(
            f"the device has no memory for it ({message.splitlines()[0]}); use a smaller "
            "model.backbone_scale, data.batch_size=1 or device.oom=cpu"
        )


class Fallback:
    """Runs a predictor; what it has no memory for is tried again in smaller pieces, once.

    Args:
        predictor: The predictor.
        use_cpu: Whether single images that do not fit are computed on the CPU instead.
    """

    def __init__(self, predictor: Predictor, *, use_cpu: bool) -> None:
        self._predictor = predictor
        self._use_cpu = use_cpu
        self._on_cpu: Predictor | None = None
        self.device = predictor.device

    def stage(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Staged | None:
        """What the predictor makes of pairs of one size; None if it has no memory for them."""
        try:
            return self._predictor.stage(pairs)
        except torch.OutOfMemoryError:
            return None

    def run(
        self, staged: Staged | None, pairs: Sequence[tuple[Tensor, Tensor]]
    ) -> list[tuple[Matte | PredictionError, str | None]]:
        """Matte staged pairs.

        Args:
            staged: What `Predictor.stage` made of `pairs`; None if there was no memory for it.
            pairs: The pairs themselves.

        Returns:
            For each its matte or what is wrong, and a remark if it was made in another way.
        """
        reason = "no memory to copy it there"
        if staged is not None:
            try:
                return [(matte, None) for matte in self._predictor.run(staged)]
            except torch.OutOfMemoryError as error:
                reason = str(error)
        log.warning("out of memory on %s, trying again: %s", self._predictor.device, reason)
        free_memory(self._predictor.device)
        if len(pairs) == 1:
            return [self._instead(*pairs[0], reason)]
        return [self._run_alone(*pair) for pair in pairs]

    def _run_alone(self, src: Tensor, bgr: Tensor) -> tuple[Matte | PredictionError, str | None]:
        try:
            return self._predictor.run(self._predictor.stage([(src, bgr)]))[0], None
        except torch.OutOfMemoryError as error:
            reason = str(error)
        free_memory(self._predictor.device)
        return self._instead(src, bgr, reason)

    def _instead(
        self, src: Tensor, bgr: Tensor, reason: str
    ) -> tuple[Matte | PredictionError, str | None]:
        """Compute a single image that does not fit on the CPU, if that is wanted."""
        if not self._use_cpu:
            return DeviceMemoryError(reason), None
        if self._on_cpu is None:
            cpu = torch.device("cpu")
            network = _copy_to_cpu(self._predictor.network)
            self._on_cpu = Predictor(network, cpu, "float32", "eager", maps=self._predictor.maps)
        return self._on_cpu.run(self._on_cpu.stage([(src, bgr)]))[0], ON_CPU


def _copy_to_cpu(network: CoarseNetwork) -> CoarseNetwork:
    """A copy of a network on the CPU, without taking memory on its device for it."""
    device = next(network.parameters()).device
    runtime, network.runtime = network.runtime, None
    try:
        return copy.deepcopy(network.cpu())
    finally:
        network.to(device).runtime = runtime


def free_memory(device: torch.device) -> None:
    """Give back what torch holds on the device without using it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
