"""One run of `bgm-export`: files of a network, checked before they get their names."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bgm.config.export import ExportConfig, ExportPrecision, parse_size
from bgm.errors import ConfigError
from bgm.export.check import Comparison, compare, sum_up
from bgm.export.pictures import Pictures
from bgm.export.program import Exportable, Size, least_side, multiple_of, outputs_of
from bgm.export.quantize import quantize_file
from bgm.export.report import print_check
from bgm.export.write import (
    PACKAGES,
    SUFFIX,
    Save,
    prepare_onnx,
    prepare_torch,
    prepare_torchscript,
    saver_of_onnx,
    saver_of_openvino,
)
from bgm.inference.device import default_threads, set_threads
from bgm.inference.matting import Matting, load_matting
from bgm.inference.network_file import NetworkFacts, open_network_file
from bgm.inference.predictor import Predictor
from bgm.networks import CoarseNetwork, MattingRefine
from bgm.networks.matting import has_exact_scale
from bgm.records.atomic import write_together
from bgm.runs.build import network_settings
from bgm.runs.provenance import describe_versions

log = logging.getLogger(__name__)

LIMITS = {
    "float32": {"coarse": 1e-4, "blocks": 0.999, "alpha": 1e-4, "mean": 1e-5, "score": 1e-5},
    "float16": {"coarse": 5e-3, "blocks": 0.99, "alpha": 1e-2, "mean": 1e-4, "score": 2e-4},
    "int8": {"coarse": 2e-1, "blocks": 0.8, "alpha": 2e-1, "mean": 2e-3, "score": 2e-3},
}
"""How far a file may be from torch in float32, by its precision; `blocks` is a least share."""

_ANY = Size(1920, 1080)

_OPENVINO_NOTE = (
    "OpenVINO computes in bfloat16 by default where the processor can, which changes alpha and the "
    "blocks that are refined; set INFERENCE_PRECISION_HINT to f32, as the check of this file did"
)
_FLOAT16_NOTE = (
    "float16 is for graphics processors; on a CPU it is converted on the way or computed slowly"
)


@dataclass(frozen=True)
class ExportedFile:
    """One file, and how it compared.

    Attributes:
        path: Where it is; None if it was too far from torch and not kept.
        facts: What it says of itself.
        comparisons: How each picture came out.
        limits: How far it may be from torch.
        failures: What is beyond its limit, in words.
    """

    path: Path | None
    facts: NetworkFacts
    comparisons: list[Comparison]
    limits: dict[str, float]
    failures: list[str]


def run_export(config: ExportConfig, output_dir: Path) -> list[ExportedFile]:
    """Export a network, check each file in its own runtime, print the table, write the good ones.

    Args:
        config: What is asked for.
        output_dir: Where the files go.

    Raises:
        BgmError: Nothing can be exported that way.
    """
    _check_packages(config.format.name)
    set_threads(config.threads or default_threads())
    matting = load_matting(
        config.checkpoint,
        config.backbone.name.name,
        "cpu",
        model=config.model.name.name,
        runtime=None,
        checkpoints_dir=config.checkpoints_dir,
        **network_settings(config.model, config.refine),
    )
    pictures = Pictures(config.data, config.images)
    files = list(_export_all(config, matting, pictures, output_dir))
    print_check(files)
    return files


def _check_packages(name: str) -> None:
    missing = [package for package in PACKAGES.get(name, ()) if find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"format={name} needs packages that are not installed: pip install {' '.join(missing)}"
        )


def _set_scale(predictor: Predictor, size: Size | None) -> None:
    """Set a network to the size of its images; `auto` for any size is what suits full HD.

    Raises:
        ConfigError: The scale is none for any size.
    """
    network, rule = predictor.network, predictor.rule
    if not isinstance(network, MattingRefine) or rule is None:
        return
    if size is not None:
        rule.apply(network, size.height, size.width)
        return
    scale = rule.apply(network, _ANY.height, _ANY.width).scale
    if rule.scale is None:
        network.backbone_scale = 1 / round(1 / scale)
    elif not has_exact_scale(scale):
        raise ConfigError(
            f"model.backbone_scale={scale}: a file for any size needs a fraction such as 0.25 or "
            "0.125; choose one, or give sizes=[1920x1080]"
        )


def _export_all(
    config: ExportConfig, matting: Matting, pictures: Pictures, output_dir: Path
) -> Iterator[ExportedFile]:
    fixed: list[Size | None] = [Size(*parse_size(text)) for text in config.sizes]
    for size in fixed or [None]:
        what = f"{config.format.name}, {config.precision.name}, {size or 'any size'}"
        _set_scale(matting.predictor, size)
        log.info("exporting %s %s: %s", config.model.name.name, config.backbone.name.name, what)
        with tempfile.TemporaryDirectory(dir=output_dir, prefix=".export-") as scratch:
            yield _export(config, matting, pictures, size, Path(scratch), output_dir)


def _export(
    config: ExportConfig,
    matting: Matting,
    pictures: Pictures,
    size: Size | None,
    scratch: Path,
    output_dir: Path,
) -> ExportedFile:
    """Write a file into `scratch`, check it, write it again with the result, give it its name."""
    network = matting.predictor.network
    fit = size, multiple_of(network), least_side(network)
    facts = _facts(config, matting, size)
    path = scratch / _name(facts)
    save = _prepare(config, network, size, pictures, scratch)
    save(path, facts.to_json())
    log.info("checking %s with %d pictures", path.name, len(pictures))
    file = open_network_file(path)
    comparisons = compare(Exportable(network), file, pictures.fit(*fit))
    del file  # which on some systems holds the file open
    facts = replace(facts, reached=sum_up(comparisons))
    limits = limits_of(config)
    failures = _failures(limits, facts.reached)
    if failures:
        return ExportedFile(None, facts, comparisons, limits, failures)
    save(path, facts.to_json())
    parts = [part for part in (path, path.with_suffix(".bin")) if part.exists()]
    contents = {output_dir / part.name: part.read_bytes() for part in parts}
    final = output_dir / path.name
    contents[final.with_name(f"{final.name}.json")] = (facts.to_json() + "\n").encode()
    write_together(contents)
    return ExportedFile(final, facts, comparisons, limits, [])


def _prepare(
    config: ExportConfig,
    network: CoarseNetwork,
    size: Size | None,
    pictures: Pictures,
    scratch: Path,
) -> Save:
    """Make what writes the file."""
    name, precision = config.format.name, config.precision
    # OpenVINO stores float16 and computes in what it is told to.
    half = precision is ExportPrecision.float16 and name != "openvino"
    module = Exportable(network, half=half, fold=precision is ExportPrecision.int8)
    if name == "torch":
        return prepare_torch(module, size)
    if name == "torchscript":
        return prepare_torchscript(module, size)
    save = prepare_onnx(module, size)
    if name == "onnx" and precision is not ExportPrecision.int8:
        return save
    import onnx

    between = scratch / "between.onnx"
    save(between, "{}")
    if precision is ExportPrecision.int8:
        log.info("calibrating with %d pictures", len(pictures))
        quantize_file(between, pictures.fit(size, multiple_of(network), least_side(network)))
        if name == "onnx":
            return saver_of_onnx(onnx.load(str(between)))
    return saver_of_openvino(between, half=precision is ExportPrecision.float16)


def _facts(config: ExportConfig, matting: Matting, size: Size | None) -> NetworkFacts:
    network, checkpoint = matting.predictor.network, matting.checkpoint
    assert checkpoint is not None
    return NetworkFacts(
        format=config.format.name,
        precision=config.precision.name,
        model=config.model.name.name,
        backbone=config.backbone.name.name,
        width=size.width if size else None,
        height=size.height if size else None,
        least_side=min(size.width, size.height) if size else least_side(network),
        multiple=multiple_of(network),
        outputs=outputs_of(network),
        refiner=_refiner_settings(network),
        checkpoint=Path(checkpoint.path).name,
        checkpoint_sha256=checkpoint.sha256,
        versions=describe_versions(),
        notes=_notes(config),
    )


def _refiner_settings(network: CoarseNetwork) -> dict[str, Any]:
    if not isinstance(network, MattingRefine):
        return {}
    refiner = network.refiner
    return {
        "backbone_scale": network.backbone_scale,
        "refine_mode": refiner.mode,
        "refine_sample_pixels": refiner.sample_pixels,
        "refine_threshold": refiner.threshold,
        "refine_kernel_size": refiner.kernel_size,
    }


def _notes(config: ExportConfig) -> list[str]:
    if config.format.name == "openvino":
        return [_OPENVINO_NOTE]
    return [_FLOAT16_NOTE] if config.precision is ExportPrecision.float16 else []


def _name(facts: NetworkFacts) -> str:
    """Such as `refine-mobilenetv2-1920x1080-float16.onnx`."""
    parts = [facts.model, facts.backbone]
    if facts.width is not None:
        parts.append(f"{facts.width}x{facts.height}")
    if facts.precision != "float32":
        parts.append(facts.precision)
    return "-".join(parts) + SUFFIX[facts.format]


def limits_of(config: ExportConfig) -> dict[str, float]:
    """The limits that are asked for, and the usual ones for the rest."""
    asked = {key: value for key, value in vars(config.tolerance).items() if value is not None}
    return LIMITS[config.precision.name] | asked


def _failures(limits: dict[str, float], reached: dict[str, float]) -> list[str]:
    """What is beyond its limit; what is no number is beyond any."""
    failures = []
    for key, limit in limits.items():
        value = reached[key]
        holds = value >= limit if key == "blocks" else value <= limit
        if not holds or math.isnan(value):
            failures.append(f"{key} is {value:.3g}, beyond tolerance.{key}={limit:g}")
    return failures
