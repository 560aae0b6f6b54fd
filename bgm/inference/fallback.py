"""What to do with images that the device has no memory for, or that take others down with them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from bgm.errors import PredictionError
from bgm.inference.device import free_memory, is_out_of_memory
from bgm.inference.file_predictor import FilePredictor
from bgm.inference.matte import Matte
from bgm.inference.predictor import Predictor, Staged
from bgm.networks import CoarseNetwork

log = logging.getLogger(__name__)

ON_CPU = "computed on the CPU, because the device had no memory for it"
BUILT_ON_CPU = "layers built on the CPU, because the device had no memory for them"

Made = TypeVar("Made")
ImagePair = tuple[Tensor, Tensor]
Outcome = tuple[Matte | Exception, str | None]
"""A matte or what is wrong, and a remark if it was made in another way than usual."""


class DeviceMemoryError(PredictionError):
    """The device has no memory for an image."""

    def __init__(self, error: Exception) -> None:
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        super().__init__(
            f"the device has no memory for it ({said}); use a smaller "
            "model.backbone_scale, data.batch_size=1 or device.oom=cpu"
        )


class Fallback:
    """Runs a predictor so that what goes wrong costs as few images as possible.

    A batch that fails is tried again one by one; a single image that the device has no memory for
    is computed on the CPU. Whatever is left of errors comes back as the outcome of its image:
    neither staging nor running raises anything.

    Args:
        predictor: The predictor.
        use_cpu: Whether single images that do not fit are computed on the CPU instead.
    """

    def __init__(self, predictor: Predictor, *, use_cpu: bool) -> None:
        self._predictor = predictor
        self._use_cpu = use_cpu
        self._on_cpu: Predictor | None = None
        self.device = predictor.device

    def stage(self, pairs: Sequence[ImagePair]) -> Staged | Exception:
        """Bring pairs of one size to the device, as `Predictor.stage` does.

        Args:
            pairs: Sources and backgrounds, each (3, H, W), uint8 or float in [0, 1].

        Returns:
            What `run` takes: the staged pairs, or why they could not be staged.
        """
        try:
            return self._predictor.stage(pairs)
        except Exception as error:  # of any library under torch; images staged before are whole
            return error

    def run(self, staged: Staged | Exception, pairs: Sequence[ImagePair]) -> list[Outcome]:
        """Matte staged pairs.

        Args:
            staged: What `stage` made of `pairs`.
            pairs: The pairs themselves.

        Returns:
            The outcome of each.
        """
        outcomes = self._attempt(staged)
        if not isinstance(outcomes, Exception):
            return outcomes
        if len(pairs) == 1:
            return [self._instead(pairs[0], outcomes)]
        self._tell(outcomes)
        return [self._run_alone(pair) for pair in pairs]

    def take_spared_ms(self) -> float:
        """Milliseconds that coarse results at hand spared since the last call."""
        return self._predictor.take_spared_ms()

    def build(self, matte: Matte, make: Callable[[Matte], Made]) -> tuple[Made, str | None]:
        """Make something of a matte where it is, or on the CPU if there is no memory for that.

        Args:
            matte: The matte.
            make: Makes it, such as a `LayerBuilder`; called a second time if memory ran out.

        Returns:
            What was made, and a remark if it was made on the CPU.

        Raises:
            DeviceMemoryError: There is no memory for it, and the CPU is not wanted.
            Exception: Whatever else `make` raises.
        """
        try:
            return make(matte), None
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if not self._use_cpu:
                raise DeviceMemoryError(error) from error
            self._tell(error)
        # Outside of the handler, whose error holds on to what did not fit.
        free_memory(self._predictor.device)
        return make(matte.cpu()), BUILT_ON_CPU

    def _attempt(self, staged: Staged | Exception) -> list[Outcome] | Exception:
        """Run the predictor; an error is returned without the memory that its frames hold."""
        if isinstance(staged, Exception):
            return staged.with_traceback(None)
        try:
            return [(matte, None) for matte in self._predictor.run(staged)]
        except Exception as error:
            log.debug("the network failed", exc_info=error)
            return error.with_traceback(None)

    def _run_alone(self, pair: ImagePair) -> Outcome:
        outcomes = self._attempt(self.stage([pair]))
        return self._instead(pair, outcomes) if isinstance(outcomes, Exception) else outcomes[0]

    def _instead(self, pair: ImagePair, error: Exception) -> Outcome:
        """The outcome of a single image that failed: one that does not fit may go to the CPU."""
        if not is_out_of_memory(error):
            return error, None
        if not self._use_cpu:
            return DeviceMemoryError(error), None
        self._tell(error)
        try:
            free_memory(self._predictor.device)
            if self._on_cpu is None:
                self._on_cpu = _on_cpu(self._predictor)
            return self._on_cpu.run(self._on_cpu.stage([pair]))[0], ON_CPU
        except Exception as failure:
            return (DeviceMemoryError(failure) if is_out_of_memory(failure) else failure), None

    def _tell(self, error: Exception) -> None:
        what = "out of memory" if is_out_of_memory(error) else "a batch failed"
        log.warning("%s on %s, trying again: %s", what, self._predictor.device, error)


def _on_cpu(predictor: Predictor) -> Predictor:
    """A second predictor with the same weights, on the CPU."""
    if isinstance(predictor, FilePredictor):  # is there already
        return predictor
    network = _copy_to_cpu(predictor.network)
    return Predictor(network, torch.device("cpu"), "float32", "eager", predictor.rule)


def _copy_to_cpu(network: CoarseNetwork) -> CoarseNetwork:
    """A copy of a network on the CPU; the original never moves, and its device needs no memory."""
    copies: dict[int, Tensor] = {id(x): x.detach().cpu() for x in network.buffers()}
    for parameter in network.parameters():
        copies[id(parameter)] = nn.Parameter(parameter.detach().cpu(), parameter.requires_grad)
    runtime, network.runtime = network.runtime, None  # is made for the device, and made anew
    try:
        return copy.deepcopy(network, copies)  # takes the tensors for copied already
    finally:
        network.runtime = runtime
