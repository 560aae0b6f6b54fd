"""One network in training, and the step that improves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bgm.config.training import StageConfig
from bgm.networks import MattingBase, MattingRefine
from bgm.training.averaging import AveragedNetwork
from bgm.training.batches import Batch
from bgm.training.forward import Result, Trainee
from bgm.training.geometry import Size
from bgm.training.losses import matting_losses, weigh
from bgm.training.schedule import Schedule

Network = MattingBase | MattingRefine


class Trainer:
    """A network with all that its training needs.

    Random numbers follow from the seed, the rank and the step, so `steps_done` is all that is to
    be known of them.

    Args:
        network: The network, on its device.
        stage: What of it learns, and at what pace.
        precision: What the forward pass is computed in; losses and weights are float32.
        seed: What random choices follow from.
        rank: Number of this process among those that train together.
        world: How many there are.

    Attributes:
        average: The averaged weights.
        steps_done: Steps so far.
        samples: Composites seen so far, by all processes.
        seconds: Time spent on them.
    """

    def __init__(
        self,
        network: Network,
        stage: StageConfig,
        precision: torch.dtype,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.network = network
        self.stage = stage
        self.device = next(network.parameters()).device
        self.average = AveragedNetwork(network, stage.average)
        self.steps_done = 0
        self.samples = 0
        self.seconds = 0.0
        self._precision = precision
        self._seed, self._rank, self._world = seed, rank, world
        self._schedule = Schedule(stage.rate, stage.steps, stage.warmup, stage.decay)
        trainee = Trainee(network, stage.frozen, stage.keep_norms).train()
        trainee.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._learning = [p for p in trainee.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._learning, stage.rate, weight_decay=stage.weight_decay, fused=True
        )
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=precision is torch.float16)
        self._trainee: nn.Module = trainee
        if world > 1:
            self._trainee = nn.parallel.DistributedDataParallel(trainee)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self._schedule.at(self.steps_done)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Learn from a batch.

        Returns:
            Each loss; the norm of the gradient before clipping; and 1 if the step was left out,
            because that norm was not finite. All as single numbers.
        """
        batch = batch.prepared(self.device)
        self._seed_step((batch.src.shape[2], batch.src.shape[3]))
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate
        with torch.autocast(
            self.device.type, self._precision, enabled=self._precision is not torch.float32
        ):
            results: list[Result] = self._trainee(batch.src, batch.bgr)
        losses = self._losses(results, batch)
        self._scaler.scale(losses["total"]).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self._learning, self.stage.clip)
        usable = torch.isfinite(norm)
        if usable:  # else this step is left out, as a step into nowhere could not be taken back
            self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self.average.update(self.steps_done)
        self.steps_done += 1
        self.samples += len(batch.src) * self._world
        known = {name: loss.detach() for name, loss in losses.items()}
        return {**known, "norm": norm.nan_to_num(0, 0, 0), "left_out": (~usable).float()}

    def _seed_step(self, size: Size) -> None:
        """Let what is random in a step, such as the scale of the coarse pass, follow from it."""
        rng = np.random.default_rng([self._seed, self.steps_done, 1 + self._rank])
        torch.manual_seed(int(rng.integers(2**62)))
        if isinstance(self.network, MattingRefine):
            shared = np.random.default_rng([self._seed, self.steps_done])
            scale = float(shared.choice(self.stage.scales))
            self.network.backbone_scale = scale
            self.network.refiner.sample_pixels = round(self.stage.refined * size[0] * size[1])

    def _losses(self, results: list[Result], batch: Batch) -> dict[str, Tensor]:
        """The losses of all results together, and their weighted sum as `total`."""
        found: dict[str, Tensor] = {}
        total = batch.src.new_zeros(())
        for result in results:
            pha, fgr = (_resize(truth, result.pha) for truth in (batch.pha, batch.fgr))
            losses = matting_losses(result, pha, fgr)
            total = total + weigh(losses, self.stage.losses)
            name = "" if result is results[-1] else "coarse_"
            found |= {f"{name}{key}": loss for key, loss in losses.items()}
        return {**found, "total": total}

    def state(self) -> dict[str, Any]:
        """All that is needed to go on as if nothing had happened."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "random": torch.get_rng_state(),
            "steps_done": self.steps_done,
            "samples": self.samples,
            "seconds": self.seconds,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        self.steps_done = state["steps_done"]
        self.samples = state["samples"]
        self.seconds = state["seconds"]


def _resize(truth: Tensor, like: Tensor) -> Tensor:
    """The truth at the size of a result, reduced in the way the network reduces photographs."""
    size = like.shape[2:]
    if truth.shape[2:] == size:
        return truth
    return F.interpolate(truth, size, mode="bilinear", align_corners=False)
