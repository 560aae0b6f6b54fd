"""Compares what a network file computes, in the runtime it is for, with what torch computes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bgm.data.pixels import as_pixels, to_uint8
from bgm.evaluation import alpha_errors
from bgm.export.pictures import Picture
from bgm.inference.network_file import NetworkFile
from bgm.networks.refiner import BLOCK

_NEARLY_ALL = 0.999


@dataclass(frozen=True)
class Comparison:
    """How one picture came out, torch in float32 beside the file.

    Attributes:
        name: The picture.
        size: Its size, as the file got it.
        coarse: Largest difference of the predicted error, of 99.9 % of its pixels.
        blocks: Share of the refined blocks that are the same; 1 for a base network.
        alpha: Largest difference of alpha where the blocks are equal, of 99.9 % of the pixels.
        largest: Largest difference of alpha there, of all pixels.
        mean: Mean difference of alpha, everywhere.
        mad_torch: Mean absolute error of torch's alpha against the truth; None without one.
        mad_file: The same of the file's.
        mse_torch: Mean squared error of torch's alpha.
        mse_file: The same of the file's.
        ms_torch: How long torch took, in milliseconds.
        ms_file: How long the file took.
    """

    name: str
    size: str
    coarse: float
    blocks: float
    alpha: float
    largest: float
    mean: float
    mad_torch: float | None
    mad_file: float | None
    mse_torch: float | None
    mse_file: float | None
    ms_torch: float
    ms_file: float


def compare(network: nn.Module, file: NetworkFile, pictures: Iterable[Picture]) -> list[Comparison]:
    """Run pictures through torch and through a file.

    Args:
        network: An `Exportable` in float32, what the file was made from.
        file: The file.
        pictures: At sizes that the file takes.
    """
    return [_compare(network, file, picture) for picture in pictures]


def sum_up(comparisons: Sequence[Comparison]) -> dict[str, float]:
    """The worst of each measure, over all pictures."""
    scores = [
        mine - theirs
        for each in comparisons
        if (mine := each.mad_file) is not None and (theirs := each.mad_torch) is not None
    ]
    return {
        "coarse": max(each.coarse for each in comparisons),
        "blocks": min(each.blocks for each in comparisons),
        "alpha": max(each.alpha for each in comparisons),
        "mean": max(each.mean for each in comparisons),
        "score": max([0.0, *scores]),
    }


def _compare(network: nn.Module, file: NetworkFile, picture: Picture) -> Comparison:
    with torch.no_grad():
        started = time.perf_counter()
        expected = list(network(picture.src, picture.bgr))
        between = time.perf_counter()
        got = file(picture.src, picture.bgr)
        ended = time.perf_counter()
    difference = (expected[0] - got[0]).abs()
    blocks, equal = _same_blocks(expected, got)
    there = difference[equal]
    scores = [_scores(output[0], picture) for output in (expected, got)]
    height, width = picture.src.shape[2:]
    return Comparison(
        name=picture.name,
        size=f"{width}x{height}",
        coarse=_nearly_largest((expected[2] - got[2]).abs()),
        blocks=blocks,
        alpha=_nearly_largest(there),
        largest=float(there.max()) if there.numel() else 0.0,
        mean=float(difference.double().mean()),
        mad_torch=scores[0]["mad"],
        mad_file=scores[1]["mad"],
        mse_torch=scores[0]["mse"],
        mse_file=scores[1]["mse"],
        ms_torch=(between - started) * 1000,
        ms_file=(ended - between) * 1000,
    )


def _same_blocks(expected: Sequence[Tensor], got: Sequence[Tensor]) -> tuple[float, Tensor]:
    """Share of the refined blocks that are the same; where in alpha the blocks are equal."""
    if len(expected) < 4:
        return 1.0, torch.ones_like(expected[0], dtype=torch.bool)
    ours, theirs = expected[3] > 0.5, got[3] > 0.5
    most = max(int(ours.sum()), int(theirs.sum()))
    share = int((ours & theirs).sum()) / most if most else 1.0
    equal = (ours == theirs).repeat_interleave(BLOCK, 2).repeat_interleave(BLOCK, 3)
    return share, equal


def _nearly_largest(difference: Tensor) -> float:
    """What 99.9 % of the values do not exceed; NaN if one is NaN."""
    if not difference.numel():
        return 0.0
    return float(np.quantile(difference.numpy(), _NEARLY_ALL))


def _scores(alpha: Tensor, picture: Picture) -> dict[str, float | None]:
    if picture.true is None or not alpha.isfinite().all():
        return {"mad": None, "mse": None}
    return alpha_errors(to_uint8(as_pixels(alpha[0]))[..., 0], picture.true)
