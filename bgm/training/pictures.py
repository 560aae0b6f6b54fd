"""The pictures of a training run, decoded and parted into those to learn from and the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bgm.config.training import TrainDataConfig
from bgm.data.processors import usable_cpus
from bgm.errors import DataError
from bgm.training.sources import find_sources, read_background, read_foreground, split
from bgm.training.store import PictureStore, build_store


@dataclass(frozen=True)
class Part:
    """Cut-outs, and photographs to put them into."""

    foregrounds: PictureStore
    backgrounds: PictureStore


def load_pictures(config: TrainDataConfig) -> tuple[Part, Part]:
    """Decode all pictures, or find them decoded.

    Returns:
        Those to train with, and those that are kept for validation.

    Raises:
        DataError: There is nothing usable.
    """
    threads = usable_cpus()
    stores = []
    for what, wanted, alphas, read, side in (
        ("foregrounds", config.foregrounds, config.alphas, read_foreground, config.foreground_side),
        ("backgrounds", config.backgrounds, None, read_background, config.background_side),
    ):
        parts = split(find_sources(wanted, alphas), config.held_out, config.validation)
        for sources, use in zip(parts, ("training", "validation"), strict=True):
            store = build_store(sources, read, Path(config.cache), side, threads)
            if not len(store):
                raise DataError(f"data.{what}: nothing usable for {use} in {', '.join(wanted)}")
            stores.append(store)
    return Part(stores[0], stores[2]), Part(stores[1], stores[3])
