"""Tries a network on a fixed set of composites of pictures that it is not trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bgm.config.training import CompositeConfig, ValidationConfig
from bgm.evaluation import alpha_errors
from bgm.inference.scale import ScaleRule
from bgm.networks import MattingRefine
from bgm.training.batches import collate
from bgm.training.composites import Composer, Sample
from bgm.training.procedural import DRAWN
from bgm.training.store import PictureStore
from bgm.training.trainer import Network

SCORES = ("mad", "mse", "grad", "conn")
"""The errors of alpha that are kept; `mad` and `mse` times 1000."""

AVERAGE = "all"
"""Name of the row that averages over the kinds."""

_RULE = ScaleRule(scale=0.25, sample_pixels=None)
"""What is recommended for HD, at all sizes: the sets are small, so that they are quick to score."""

Grey = NDArray[np.uint8]
Table = dict[str, dict[str, float]]
"""Scores by kind of subject."""


@dataclass(frozen=True)
class Item:
    """A composite of the validation set."""

    kind: str
    sample: Sample


def make_items(
    foregrounds: PictureStore,
    backgrounds: PictureStore,
    composites: CompositeConfig,
    config: ValidationConfig,
) -> list[Item]:
    """The validation set: each kind of subject, drawn ones, the hard case, and nothing at all."""
    plain = replace(composites, empty=0, several=0, drawn=0, hard=0, blurred=0.2)
    kinds = dict.fromkeys(sorted({entry.kind for entry in foregrounds.entries}), plain)
    kinds |= {f"drawn {name}": replace(plain, drawn=1) for name in DRAWN if name != "shape"}
    kinds |= {"hard": replace(plain, hard=1, drawn=0.2), "empty": replace(plain, empty=1)}
    items = []
    for number, (kind, settings) in enumerate(kinds.items()):
        only = kind.removeprefix("drawn ")
        composer = Composer(foregrounds, backgrounds, settings, only)
        for index in range(config.count):
            height, width = config.sizes[index % len(config.sizes)]
            rng = np.random.default_rng([config.seed, number, index])
            items.append(Item(kind, composer.make(rng, (height, width))))
    return items


def validate(
    network: Network, items: Sequence[Item], device: torch.device
) -> tuple[Table, list[Grey]]:
    """Score a network.

    Returns:
        The scores by kind, those of `all` kinds together first; and the mattes, (H, W).
    """
    mattes = [predict(network, item.sample, device) for item in items]
    return score(items, mattes), mattes


def predict(network: Network, sample: Sample, device: torch.device) -> Grey:
    """The matte of one composite, (H, W)."""
    batch = collate([sample]).prepared(device)
    if isinstance(network, MattingRefine):
        _RULE.apply(network, *batch.pha.shape[2:])
    with torch.inference_mode():
        pha: Tensor = network(batch.src, batch.bgr).pha
    return np.asarray((pha[0, 0] * 255).round().byte().cpu())


def score(items: Sequence[Item], mattes: Sequence[Grey]) -> Table:
    """Scores by kind of subject, those of `all` kinds together first."""
    found: dict[str, list[list[float]]] = {}
    for item, matte in zip(items, mattes, strict=True):
        errors = alpha_errors(matte, item.sample.pha[:, :, 0])
        row = [float(errors[name] or 0) * _FACTORS.get(name, 1) for name in SCORES]
        found.setdefault(item.kind, []).append(row)
    means = {kind: np.mean(rows, axis=0) for kind, rows in found.items()}
    table = {AVERAGE: np.mean(list(means.values()), axis=0), **means}
    return {kind: dict(zip(SCORES, map(_short, row), strict=True)) for kind, row in table.items()}


_FACTORS = {"mad": 1000, "mse": 1000}


def _short(value: float) -> float:
    return round(float(value), 3)


def difference_key(items: Sequence[Item]) -> tuple[Table, list[Grey]]:
    """What a difference key makes of the set, with the thresholds that suit it best as a whole."""
    differences = [cv2.absdiff(i.sample.src, i.sample.bgr).max(axis=2) for i in items]
    lows, widths = (2, 5, 10, 15, 20, 30), (5, 15, 40, 80)
    thresholds = [(low, low + width) for low in lows for width in widths]

    def mattes(low: int, high: int) -> list[Grey]:
        ramp = ((np.arange(256) - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
        return [np.asarray(ramp[difference]) for difference in differences]

    def error(pair: tuple[int, int]) -> float:
        return sum(
            float(cv2.absdiff(matte, item.sample.pha[:, :, 0]).mean())
            for matte, item in zip(mattes(*pair), items, strict=True)
        )

    best = mattes(*min(thresholds, key=error))
    return score(items, best), best
