"""Batches of composites: what is in them follows from the seed, the step and the rank alone.

So there is no state to keep for an exact resume, and any number of workers makes the same batches.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bgm.training.composites import Composer, Sample
from bgm.training.geometry import Size

_AHEAD = 4  # batches that each worker keeps ready
_FEWEST = 2  # pictures of a batch: batch normalisation cannot learn from one


class Batch(NamedTuple):
    """Composites of one size.

    Attributes:
        src: Subjects in scenes, (B, 3, H, W), uint8 as made, floats in [0, 1] once `prepared`.
        bgr: The plates, likewise.
        pha: The true alpha, (B, 1, H, W).
        fgr: The true foreground, (B, 3, H, W).
    """

    src: Tensor
    bgr: Tensor
    pha: Tensor
    fgr: Tensor

    def prepared(self, device: torch.device) -> Batch:
        """The batch on a device, as floats in [0, 1]."""
        return Batch(*(part.to(device, non_blocking=True).float() / 255 for part in self))


def collate(samples: Sequence[Sample]) -> Batch:
    """Put composites of one size into a batch, still as bytes."""
    parts = zip(*samples, strict=True)
    return Batch(*(torch.from_numpy(np.stack(part)).permute(0, 3, 1, 2) for part in parts))


class Batches(Dataset[Batch]):
    """The batches of a training run, by the number of the step.

    Args:
        composer: Makes the composites.
        sizes: Heights and widths to choose from, one for each batch.
        pixels: Pixels of a batch: of smaller pictures there are more.
        seed: What all random choices follow from.
        rank: Number of this process among those that train together.
    """

    def __init__(
        self, composer: Composer, sizes: Sequence[Size], pixels: int, seed: int, rank: int = 0
    ) -> None:
        self._composer = composer
        self._sizes = list(sizes)
        self._pixels = pixels
        self._seed = seed
        self._rank = rank

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step."""
        return collate(list(self._made(step)))

    def samples(self) -> Iterator[Sample]:
        """The composites of all batches, one after the other, without end."""
        return (sample for step in count() for sample in self._made(step))

    def _made(self, step: int) -> Iterator[Sample]:
        # All ranks take the same size, so that none waits for another.
        chosen = np.random.default_rng([self._seed, step]).integers(len(self._sizes))
        size = self._sizes[int(chosen)]
        many = max(_FEWEST, self._pixels // (size[0] * size[1]))
        for number in range(many):
            rng = np.random.default_rng([self._seed, step, 1 + self._rank, number])
            yield self._composer.make(rng, size)


def batches_from(batches: Batches, first: int, end: int, workers: int) -> Iterator[Batch]:
    """The batches of the steps from `first` to before `end`, in order, made ahead by workers.

    Raises:
        RuntimeError: While iterating: a worker died.
    """
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, end),
        num_workers=workers,
        prefetch_factor=_AHEAD if workers else None,
        worker_init_fn=_start_worker,
        # A fork of a process whose threads have computed may wait for them for ever.
        multiprocessing_context="spawn" if workers else None,
    )
    coming = iter(loader)
    if workers and threading.current_thread() is threading.main_thread():
        # torch would raise for a dead worker in the middle of a step, as when a scheduler ends all
        # processes at once; it is early enough to hear of it from the next batch.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return coming


def _start_worker(number: int) -> None:
    """Leave Ctrl-C to the process that trains, and take one processor only."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
