"""The processes that train together: those that torchrun has started, or this one alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class Processes:
    """One process among those that train together.

    Attributes:
        rank: Its number, from 0.
        world: How many there are.
    """

    rank: int = 0
    world: int = 1

    def device(self, device: torch.device) -> torch.device:
        """The device of this process, if all have been given the same kind."""
        if device.type == "cuda" and self.world > 1:
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return device

    def any(self, asked: bool) -> bool:
        """Whether one of the processes says yes; all hear the same."""
        if self.world == 1:
            return asked
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        answer = torch.tensor(int(asked), device=device)
        distributed.all_reduce(answer, distributed.ReduceOp.MAX)
        return bool(answer.item())

    def first(self, text: str) -> str:
        """What the first process says; all hear the same."""
        if self.world == 1:
            return text
        said = [text]
        distributed.broadcast_object_list(said, src=0)
        return said[0]


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun has started; without torchrun there is this one alone.

    Args:
        device: What kind of device they compute on.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()
