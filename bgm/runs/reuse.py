"""What the jobs of a sweep share where they run in one process: pictures and coarse results."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from threading import Lock

import torch

from bgm.config.schema import Config
from bgm.data import Pair
from bgm.data.datasets import Sample
from bgm.data.shelf import Shelf
from bgm.inference.device import helper_threads
from bgm.inference.file_predictor import FilePredictor
from bgm.inference.matting import Matting
from bgm.inference.remember import Remembering

_MIB = 2**20
_NOT_OF_PICTURES = {
    *("src", "bgr", "pha", "fgr", "trimap"),
    *("workers", "batch_size", "unmatched"),
}
"""Settings of the data that change nothing in a decoded pair, or are part of its name."""

_SHELF = Shelf(0)
"""Of this process, in which one job of a sweep runs after the other."""


class Reuse:
    """What one job takes from those before it, and leaves to those after it.

    Args:
        config: The settings of the job.
    """

    def __init__(self, config: Config) -> None:
        settings = {k: v for k, v in vars(config.data).items() if k not in _NOT_OF_PICTURES}
        self._how = (repr(settings), config.outputs.metadata)
        self._network = (config.precision, config.runtime.name, repr(config.calibration))
        self._loaders = config.data.workers or helper_threads(torch.get_num_threads())
        self._lock = Lock()
        self._loading_ms = 0.0
        self._coarse: Remembering | None = None
        _SHELF.begin_job(config.sweep_cache_mb * _MIB)

    def remember_coarse(self, matting: Matting) -> None:
        """Have a network look for its coarse results among those of earlier jobs, on the CPU."""
        if isinstance(matting.predictor, FilePredictor):  # which has no coarse results to give
            return
        network, weights = matting.predictor.network, matting.checkpoint
        if network.runtime is None or weights is None or matting.device.type != "cpu":
            return
        key = (weights.sha256, *self._network)
        network.runtime = self._coarse = Remembering(network.runtime, key, _SHELF)

    def remember_samples(
        self, load: Callable[[int], Sample], pairs: Sequence[Pair]
    ) -> Callable[[int], Sample]:
        """Have pairs looked for among those of earlier jobs before they are loaded.

        Args:
            load: Loads a pair by its index.
            pairs: The pairs.
        """

        def recall(index: int) -> Sample:
            pair = pairs[index]
            key: Hashable = (str(pair.src), str(pair.bgr), self._how)
            known: Sample | None = _SHELF.get(key)
            if known is None or not _is_unchanged(known, pair):
                sample = load(index)
                _SHELF.keep(key, sample, sample.src.nbytes + sample.bgr.nbytes)
                return sample
            took = known.load_ms + (known.align_ms or 0.0)
            with self._lock:
                self._loading_ms += took
            return replace(known, pair=pair, started=time.perf_counter() - took / 1000)

        return recall

    @property
    def spared_seconds(self) -> float:
        """About how much longer the job would have taken by itself: it loads side by side."""
        coarse_ms = 0.0 if self._coarse is None else self._coarse.spared_ms
        return (self._loading_ms / self._loaders + coarse_ms) / 1000


def has_results() -> bool:
    """Whether earlier jobs have left anything."""
    return _SHELF.size > 0


def _is_unchanged(sample: Sample, pair: Pair) -> bool:
    """Whether the files of a pair are still those that it was decoded from."""
    files = {"src": pair.src, "bgr": pair.bgr}
    return all(sample.inputs[kind].is_unchanged(path) for kind, path in files.items())
