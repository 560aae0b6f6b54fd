"""One training run, from a checked configuration to weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from bgm.config.training import OnExisting, TrainConfig
from bgm.errors import ConfigError
from bgm.inference.device import (
    default_threads,
    keep_freed_memory,
    set_threads,
)
from bgm.inference.predictor import select_device
from bgm.runs.interruption import StopRequest
from bgm.training.batches import Batches, batches_from
from bgm.training.composites import Composer
from bgm.training.duties import RunDuties
from bgm.training.loop import run_steps
from bgm.training.networks import choose_precision, create_network
from bgm.training.pictures import load_pictures
from bgm.training.sheet import write_sheet
from bgm.training.states import STATE_FILE, read_state
from bgm.training.trainer import Trainer
from bgm.training.validation import make_items

log = logging.getLogger(__name__)

SHEET_FILE = "preview.png"


def run_training(config: TrainConfig, output_dir: Path, resolved: dict[str, Any]) -> bool:
    """Train, or show what would be trained with.

    Args:
        config: The settings.
        output_dir: Where to write.
        resolved: The settings as nested plain values.

    Returns:
        Whether the last step was reached; False if the run was asked to end before.

    Raises:
        BgmError: The run cannot start, or cannot write.
    """
    keep_freed_memory()
    set_threads(config.threads or default_threads())
    state = _state_to_resume(config, output_dir)
    learned, held_out = load_pictures(config.data)
    composer = Composer(learned.foregrounds, learned.backgrounds, config.composites)
    batches = Batches(composer, _sizes(config.stage.sizes), config.stage.pixels, config.seed)
    if config.preview:
        write_sheet(output_dir / SHEET_FILE, batches, config.preview)
        return True

    device = select_device(config.device.name)
    precision = choose_precision(config.precision.name, device)
    torch.manual_seed(config.seed)
    network = create_network(config).to(device)
    trainer = Trainer(network, config.stage, precision, config.seed)
    if state is not None:
        trainer.load_state(state)
    items = make_items(
        held_out.foregrounds, held_out.backgrounds, config.composites, config.validation
    )
    with StopRequest() as stop:
        duties = RunDuties(config, output_dir, resolved, trainer, items, state)
        workers = _workers(config)
        coming = batches_from(batches, trainer.steps_done, config.stage.steps, workers)
        finished = run_steps(trainer, coming, duties, lambda: bool(stop))
        duties.finish(finished)
    return finished


def _state_to_resume(config: TrainConfig, output_dir: Path) -> dict[str, Any] | None:
    """The state that an earlier run has left, if it is to go on."""
    path = output_dir / STATE_FILE
    if config.preview or not path.is_file() or config.on_existing is OnExisting.overwrite:
        return None
    if config.on_existing is not OnExisting.resume:
        raise ConfigError(
            f"{output_dir} holds a training already; go on with it by on_existing=resume, begin "
            "anew by on_existing=overwrite, or choose another output_dir"
        )
    return read_state(path)


def _workers(config: TrainConfig) -> int:
    """Processes that make composites."""
    return default_threads() if config.data.workers is None else config.data.workers


def _sizes(sizes: list[list[int]]) -> list[tuple[int, int]]:
    return [(height, width) for height, width in sizes]
