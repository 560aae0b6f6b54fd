"""What a run is to do, as far as it can be told without the network."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bgm.config.schema import Config, Unmatched
from bgm.config.video import DataKind
from bgm.data import Pairs, describe, find_pairs
from bgm.data.plates import MEDIAN
from bgm.data.video.demo import ensure_demo
from bgm.errors import ConfigError, DataError
from bgm.evaluation import Scorer
from bgm.layers import LayerSpec
from bgm.outputs import LayerBuilder
from bgm.outputs.video.trial import try_format
from bgm.records.record import ImageRecord
from bgm.runs.build import create_edges, create_scorer, kept_layers
from bgm.runs.clip_plan import PlannedClip, plan_clips
from bgm.runs.preflight import check_paths
from bgm.storage import locate


@dataclass(frozen=True)
class Plan:
    """What is asked for, and found to make sense.

    Attributes:
        config: The settings.
        output_dir: Where to write.
        pairs: Every photograph with its plate.
        others: Those that `data.images` leaves out.
        unmatched: Records of files that have no partner.
        specs: How the layers are stored that are kept of each matte.
        build_layers: What makes them.
        score: Compares a matte with the truth; None without truth.
        clips: The clips, where they are what is matted; `pairs` is empty then.
    """

    config: Config
    output_dir: Path
    pairs: Pairs
    others: Pairs
    unmatched: list[ImageRecord]
    specs: list[LayerSpec]
    build_layers: LayerBuilder
    score: Scorer | None
    clips: list[PlannedClip] | None = None

    def inputs(self) -> Mapping[str, Mapping[str, Path]]:
        """The files that each image is made from and compared with, by name and kind."""
        if self.clips is not None:
            return {clip.name: clip.shot.inputs() for clip in self.clips}
        truths = self.score.files if self.score else lambda name: {}
        edges = self.build_layers.edges.inputs if self.build_layers.edges else lambda name: {}
        return {
            pair.name: {"src": pair.src, "bgr": pair.bgr, **edges(pair.name), **truths(pair.name)}
            for pair in self.pairs
        }


def make_plan(config: Config, output_dir: Path, working: Path | None = None) -> Plan:
    """Find what there is to do.

    Args:
        config: What is asked for.
        output_dir: Where to write.
        working: Where on this machine plates are made, if `output_dir` is not here.

    Raises:
        BgmError: A path does not exist, files do not fit together, or there is nothing to do.
    """
    if config.data.kind is DataKind.video:
        ensure_demo(Path(config.data.src))
    check_paths(config, output_dir)
    if config.data.kind is DataKind.video:
        return _plan_clips(config, output_dir)
    pairing = find_pairs(
        locate(config.data.src),
        None if config.data.bgr == MEDIAN else locate(config.data.bgr),
        skip_unmatched=config.data.unmatched is Unmatched.skip,
        choice=config.data.plate.name,
        made=(working or output_dir) / "plates",
    )
    if not pairing.pairs:
        what = describe(pairing.leftovers, "file without partner")
        raise DataError(f"no photograph has a background\n{what}")
    layers, edges = kept_layers(config.outputs), create_edges(config.edges)
    if edges is not None and edges.masks is not None:
        edges.masks.check_names(pairing.pairs.names)
    pairs, others = choose_pairs(pairing.pairs, config.data.images, config.seed)
    return Plan(
        config=config,
        output_dir=output_dir,
        pairs=pairs,
        others=others,
        unmatched=[ImageRecord(name, "unmatched", why) for name, why in pairing.leftovers.items()],
        specs=[layer.spec for layer in layers],
        build_layers=LayerBuilder(layers, edges),
        score=create_scorer(config, pairs.names),
    )


def _plan_clips(config: Config, output_dir: Path) -> Plan:
    layers, edges = kept_layers(config.outputs), create_edges(config.edges)
    if edges is not None and edges.masks is not None and not edges.masks.is_one:
        raise ConfigError(
            f"edges.garbage={config.edges.garbage}: clips take one mask for all frames; give a file"
        )
    for layer in layers:
        form = config.outputs.formats.get(layer.spec.format)
        if form is not None:
            channels = layer.channels
            if channels == 4 and getattr(layer.settings, "background", None) is not None:
                channels = 3
            key = f"outputs.{layer.name}.format={layer.spec.format}"
            try_format(key, form, channels, layer.spec.bits)
    clips, others = plan_clips(config)
    return Plan(
        config=config,
        output_dir=output_dir,
        pairs=Pairs(),
        others=Pairs(),
        unmatched=others,
        specs=[layer.spec for layer in layers],
        build_layers=LayerBuilder(layers, edges),
        score=create_scorer(config, []),
        clips=clips,
    )


def choose_pairs(pairs: Pairs, count: int | None, seed: int) -> tuple[Pairs, Pairs]:
    """Choose some of the pairs at random; of a larger number the smaller one is a part.

    Args:
        pairs: All of them.
        count: How many; None for all.
        seed: What the choice follows from.

    Returns:
        Those that were chosen and the others, both in their order.
    """
    if count is None or count >= len(pairs):
        return pairs, Pairs()
    order = random.Random(seed).sample(range(len(pairs)), len(pairs))
    chosen = set(order[:count])
    names = pairs.names
    return (
        pairs.only(name for at, name in enumerate(names) if at in chosen),
        pairs.only(name for at, name in enumerate(names) if at not in chosen),
    )
