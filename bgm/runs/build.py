"""From a configuration to the parts of a run: one explicit function for each."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bgm.config.edges import EdgesConfig
from bgm.config.schema import (
    AUTO,
    BackboneConfig,
    BackboneName,
    CalibrationConfig,
    Config,
    ModelConfig,
    ModelName,
    OutputsConfig,
    RefineConfig,
    RefineMode,
    TrackingConfig,
    Unmatched,
)
from bgm.config.video import DataKind
from bgm.data import find_truths
from bgm.errors import ConfigError
from bgm.evaluation import Scorer, unknown_only
from bgm.inference.file_predictor import FilePredictor, load_network_file
from bgm.inference.matting import Matting, load_matting
from bgm.inference.quantize import Calibration
from bgm.layers import LAYERS, Layer
from bgm.outputs.edges import Edges
from bgm.storage import RemotePath, locate
from bgm.tracking import (
    TRACKERS,
    Background,
    ConsoleTracker,
    Guarded,
    Tracker,
    TrackerSettings,
)

log = logging.getLogger(__name__)

FILES_ALONE = "files"
"""Name of the tracking that keeps to the files which every run writes."""


def samples_wanted(tracking: TrackingConfig) -> int:
    """How many sample pictures the trackers want."""
    return 0 if tracking.name == FILES_ALONE else tracking.samples


def create_trackers(
    tracking: TrackingConfig, output_dir: Path, *, console: bool = True
) -> list[Tracker]:
    """Who is to be told of a run.

    Args:
        tracking: What the configuration says of it.
        output_dir: The run's directory.
        console: Whether for a run that people watch: on the console, and with others told beside
            the work; or for a measurement, which nothing shall disturb.

    Raises:
        ConfigError: There is no tracker of that name.
    """
    trackers: list[Tracker] = [Guarded(ConsoleTracker())] if console else []
    if tracking.name == FILES_ALONE:
        return trackers
    if tracking.name not in TRACKERS:
        known = ", ".join([FILES_ALONE, *TRACKERS])
        raise ConfigError(f"tracking.name={tracking.name}: no such tracker; there are {known}")
    tracker: Tracker = Guarded(TRACKERS[tracking.name](tracker_settings(tracking, output_dir)))
    # The console comes first: nobody shall wait for the figures until the other has stored its own.
    return [*trackers, Background(tracker) if console else tracker]


def tracker_settings(tracking: TrackingConfig, output_dir: Path) -> TrackerSettings:
    """What the configuration says to a tracker."""
    return TrackerSettings(
        mode=tracking.mode.name,
        sync=tracking.sync.name,
        project=tracking.project,
        name=tracking.run_name or "/".join(output_dir.parts[-2:]),
        group=tracking.group,
        job_type=tracking.job_type,
        tags=tracking.tags,
        options=tracking.options,
    )


def kept_layers(outputs: OutputsConfig) -> list[Layer[Any]]:
    """The layers that the configuration asks for.

    Raises:
        DataError: A picture that one of them needs cannot be read.
    """
    return [LAYERS[name](outputs.layer(name)) for name in outputs.types]


def create_edges(edges: EdgesConfig) -> Edges | None:
    """What is done to mattes before they become layers; None for nothing.

    Raises:
        ConfigError: It needs an extra that is not installed, or masks that are not there.
        DataError: The masks cannot be used.
    """
    return Edges(edges) if edges.changes_alpha or edges.changes_colours else None


def load_network(config: Config, *, spare: bool = False) -> Matting:
    """The network with its weights.

    Args:
        config: The settings.
        spare: Whether coarse results may be at hand, so that the network may not be needed.

    Raises:
        CheckpointError: The checkpoint cannot be found, read, or is for another network.
        ConfigError: This machine cannot compute that way.
    """
    if config.network_file is not None:
        path = locate(config.network_file)
        if isinstance(path, RemotePath):
            raise ConfigError(f"network_file={path}: must be on this machine; copy it here first")
        return load_network_file(path, config.runtime.name, config.runtime.provider.name)
    return load_matting(
        config.checkpoint,
        config.backbone.name.name,
        config.device.name,
        model=config.model.name.name,
        precision=config.precision.name,
        runtime=config.runtime.name,
        checkpoints_dir=config.checkpoints_dir,
        calibration=create_calibration(config.calibration),
        spare=spare,
        **network_settings(config.model, config.refine),
    )


def create_calibration(calibration: CalibrationConfig) -> Calibration:
    """The pictures that int8 is calibrated with."""
    return Calibration(locate(calibration.src), locate(calibration.bgr))


def take_settings_of_file(config: Config, matting: Matting) -> None:
    """Put the settings of a network file into the configuration, in place of what it had.

    Raises:
        ConfigError: The configuration asks for what the file does not have.
    """
    assert isinstance(matting.predictor, FilePredictor)
    facts = matting.predictor.file.facts
    refiner = facts.refiner
    config.backbone = BackboneConfig(BackboneName[facts.backbone])
    config.model = ModelConfig(ModelName[facts.model], refiner.get("backbone_scale", AUTO))
    if refiner:
        config.refine = RefineConfig(
            mode=RefineMode[refiner["refine_mode"]],
            sample_pixels=refiner["refine_sample_pixels"],
            threshold=refiner["refine_threshold"],
            kernel_size=refiner["refine_kernel_size"],
        )
    config.__post_init__()  # the layers that are asked for must be those that it has
    size = f"{facts.width}x{facts.height}" if facts.width else "any size"
    name = matting.predictor.file.path.name
    log.info("%s: %s, %s, %s, %s", name, facts.model, facts.backbone, facts.precision, size)


def network_settings(model: ModelConfig, refine: RefineConfig) -> dict[str, Any]:
    """The settings of a `MattingRefine`; none for a base model."""
    if model.name is ModelName.base:
        return {}
    return {
        "backbone_scale": model.backbone_scale,
        "refine_mode": refine.mode.name,
        "refine_sample_pixels": refine.sample_pixels,
        "refine_threshold": refine.threshold,
        "refine_kernel_size": refine.kernel_size,
    }


def create_scorer(config: Config, names: Sequence[str]) -> Scorer | None:
    """What compares mattes with the truth; None without truth.

    Raises:
        DataError: An image is without truth and may not be.
    """
    kinds = ("pha", "fgr", "trimap")
    given = {kind: getattr(config.data, kind) for kind in kinds}
    if given["pha"] is None:
        return None
    truths = {}
    if config.data.kind is not DataKind.video:  # the truth of clips comes with their frames
        truths = find_truths(
            names,
            {kind: locate(path) for kind, path in given.items() if path is not None},
            skip_unmatched=config.data.unmatched is Unmatched.skip,
        )
    return Scorer(
        truths,
        unknown_only=unknown_only(config.scores.region.name, given["trimap"]),
        band=config.scores.band,
    )
