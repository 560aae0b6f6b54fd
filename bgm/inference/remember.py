"""A runtime that has the results of equal inputs at hand, for jobs that differ in refinement."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import torch
from torch import Tensor

from bgm.data.shelf import Shelf
from bgm.networks import Runtime, RuntimeOutput
from bgm.records.timing import Timer


class Remembering:
    """Computes the coarse network on the CPU, unless it has computed the same before.

    Args:
        runtime: What computes it.
        network: What the results depend on besides the input: weights, precision and the like.
        shelf: Where results are kept.

    Attributes:
        spared_ms: Milliseconds that the results which were found had taken to compute.
    """

    def __init__(self, runtime: Runtime, network: Hashable, shelf: Shelf) -> None:
        self._runtime = runtime
        self._network = network
        self._shelf = shelf
        self.spared_ms = 0.0
        self._told_ms = 0.0

    def __call__(self, photos: Tensor) -> RuntimeOutput:
        """The coarse network's outputs for (B, 6, h, w), which are not to be changed."""
        content = hashlib.sha256(photos.contiguous().numpy().tobytes()).digest()
        # In how many parts a sum is taken changes its last bits.
        key = (self._network, torch.get_num_threads(), tuple(photos.shape), content)
        known = self._shelf.get(key)
        if known is not None:
            output, ms = known
            self.spared_ms += ms
            return output  # type: ignore[no-any-return]
        with Timer() as computing:
            output = self._runtime(photos)
        self._shelf.keep(key, (output, computing.ms), sum(part.nbytes for part in output))
        return output

    def take_spared_ms(self) -> float:
        """Of `spared_ms`, what came since the last call."""
        spared, self._told_ms = self.spared_ms - self._told_ms, self.spared_ms
        return spared
