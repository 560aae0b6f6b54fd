"""The average of the weights along the way, which is what is evaluated and shipped."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from bgm.networks import MattingBase, MattingRefine


class AveragedNetwork:
    """An exponential moving average of a network's weights and statistics.

    Args:
        network: The network in training.
        decay: How much of the average stays at each step; less at first.

    Attributes:
        network: The network with averaged weights, in evaluation mode.
    """

    def __init__(self, network: MattingBase | MattingRefine, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay
        self._pairs = list(zip(_floats(self.network), _floats(network), strict=True))

    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        averages, weights = (list(tensors) for tensors in zip(*self._pairs, strict=True))
        with torch.no_grad():
            torch._foreach_lerp_(averages, [w.detach() for w in weights], 1 - decay)


def _floats(network: nn.Module) -> list[Tensor]:
    return [
        tensor
        for tensor in network.state_dict(keep_vars=True).values()
        if tensor.is_floating_point()
    ]
