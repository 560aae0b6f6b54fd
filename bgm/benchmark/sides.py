"""What the two contenders do: the network alone, and files to files, with or without a network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from bgm.benchmark.contender import REFERENCE, Shots
from bgm.benchmark.reference import ReferenceNetwork, read_tensor, run_reference
from bgm.benchmark.steps import Steps, StepTimes
from bgm.config.schema import BenchmarkConfig, Config, DataConfig, TrackingConfig
from bgm.data import find_pairs, read_image
from bgm.errors import CheckpointError, PredictionError
from bgm.inference.device import (
    default_threads,
    keep_freed_memory,
    select_device,
    set_threads,
)
from bgm.inference.matte import Matte
from bgm.inference.matting import Matting, create_network, load_matting
from bgm.inference.predictor import Predictor, Staged
from bgm.inference.scale import split_settings
from bgm.networks import MattingRefine
from bgm.runs.build import create_calibration, network_settings


class Side(Protocol):
    """One side of the comparison."""

    device: torch.device

    def run_network(self) -> None:
        """Matte one pair that is in memory, and wait for the result."""

    def run_pipeline(self, output_dir: Path, *, free: bool) -> float:
        """Matte all shots from files to files; seconds per image.

        Args:
            output_dir: Where to.
            free: Whether the network costs nothing.
        """


def create_side(side: str, config: BenchmarkConfig, shots: Shots) -> Side:
    """Build one side."""
    return Reference(config, shots) if side == REFERENCE else Bgm(config, shots)


def load(config: BenchmarkConfig, *, plain: bool) -> Matting:
    """The network; with random weights where no checkpoint is at hand, which takes as long.

    Args:
        config: What is measured.
        plain: Whether to leave the network as it is, without what makes it faster.
    """
    runtime = None if plain else config.runtime.name
    settings = network_settings(config.model, config.refine)
    arguments = (config.backbone.name.name, config.device.name)
    try:
        return load_matting(
            config.checkpoint,
            *arguments,
            model=config.model.name.name,
            precision="float32" if plain else config.precision.name,
            runtime=runtime,
            checkpoints_dir=config.checkpoints_dir,
            calibration=create_calibration(config.calibration),
            **settings,
        )
    except CheckpointError:
        if config.checkpoint != "auto":
            raise
    torch.manual_seed(0)
    numbers, rule = split_settings(settings, None)
    network = create_network(config.model.name.name, config.backbone.name.name, **numbers)
    with torch.no_grad():
        bias = network.decoder.conv4.bias
        assert bias is not None
        bias[4] = 0.5  # an error everywhere, or nothing would be refined
    device = select_device(config.device.name)
    precision = "float32" if plain else config.precision.name
    calibration = create_calibration(config.calibration)
    return Matting(Predictor(network, device, precision, runtime, rule, calibration), None)


class Reference:
    """The obvious way."""

    def __init__(self, config: BenchmarkConfig, shots: Shots) -> None:
        torch.set_num_threads(config.threads or default_threads())
        self.device = select_device(config.device.name)
        predictor = load(config, plain=True).predictor
        network = predictor.network
        if predictor.rule is not None and isinstance(network, MattingRefine):
            predictor.rule.apply(network, config.height, config.width)

        def run(src: Tensor, bgr: Tensor) -> tuple[Tensor, Tensor]:
            pha, fgr, *_ = network(src.to(self.device), bgr.to(self.device))
            return pha.cpu(), fgr.cpu()

        self._network: ReferenceNetwork = run
        self._pairs = find_pairs(shots.src, shots.bgr).pairs
        first = self._pairs[0]
        self._pair = [read_tensor(path)[None] for path in (first.src, first.bgr)]
        with torch.inference_mode():
            self._result = run(*self._pair)

    def run_network(self) -> None:
        """Matte one pair of float tensors."""
        with torch.inference_mode():
            self._network(*self._pair)

    def run_pipeline(self, output_dir: Path, *, free: bool) -> float:
        """Matte all shots."""
        network = (lambda src, bgr: self._result) if free else self._network
        started = time.perf_counter()
        run_reference(self._pairs, network, output_dir)
        return (time.perf_counter() - started) / len(self._pairs)


class Bgm:
    """bgm."""

    def __init__(self, config: BenchmarkConfig, shots: Shots) -> None:
        keep_freed_memory()
        set_threads(config.threads or default_threads())
        self._config = Config(
            model=config.model,
            backbone=config.backbone,
            refine=config.refine,
            device=config.device,
            runtime=config.runtime,
            data=DataConfig(src=str(shots.src), bgr=str(shots.bgr), batch_size=config.batch_size),
            tracking=TrackingConfig(name="files"),
            precision=config.precision,
            calibration=config.calibration,
            threads=config.threads,
        )
        self._matting = load(config, plain=False)
        self.device = self._matting.device
        first = find_pairs(shots.src, shots.bgr).pairs[0]
        self._steps = Steps(self._config, self._matting, first)
        self._pair = [
            torch.from_numpy(read_image(path)).permute(2, 0, 1) for path in (first.src, first.bgr)
        ]
        self._free = Matting(FreePredictor(self._matting(*self._pair), self.device), None)

    def run_steps(self, output_dir: Path) -> StepTimes:
        """Take one pair from files to files, step by step."""
        return self._steps(output_dir)

    def run_network(self) -> None:
        """Matte one pair of decoded images."""
        self._matting.predictor(*self._pair).cpu()  # as the reference does

    def run_pipeline(self, output_dir: Path, *, free: bool) -> float:
        """Matte all shots."""
        from bgm.runs import runner

        matting = self._free if free else self._matting
        run = runner.prepare(self._config, output_dir, matting)
        run.trackers = []
        summary = runner.execute(run, {})
        if summary.written != summary.images:
            raise RuntimeError(f"only {summary.written} of {summary.images} images were written")
        return summary.seconds / summary.images


class FreePredictor(Predictor):
    """Costs nothing: has one answer for every photograph of one size."""

    def __init__(self, matte: Matte, device: torch.device) -> None:
        self._answer = matte
        self.device = device

    def take_spared_ms(self) -> float:
        """Nothing is spared where nothing is spent."""
        return 0.0

    def stage(self, pairs: object) -> Staged:
        """Keep the pairs where they are."""
        assert isinstance(pairs, list)
        return Staged(pairs, 0, 0)

    def run(self, staged: Staged) -> list[Matte | PredictionError]:
        """The answer, as often as it was asked for."""
        return [self._answer] * len(staged.photos)
