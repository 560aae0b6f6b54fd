"""Fits the suspicion of a matte's check on composites with truth, and says how well it ranks.

    python scripts/fit_check.py cut-outs photographs [--count 12] [--write]

Composites are made as for training, of every kind of subject, and of the plain kinds also with a
plate that was shaken (and is aligned) and with one of another exposure. A fold is one kind in
turn, so that no kind ranks itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bgm import load_matting
from bgm.config.training import CompositeConfig, ValidationConfig
from bgm.data import align_background
from bgm.data.residual import CHECK_SIDE
from bgm.data.shrink import shrink
from bgm.evaluation import alpha_errors
from bgm.evaluation.check import TYPICAL_ERROR, check, feature, numbers_of
from bgm.outputs import to_rgba8
from bgm.training.sources import find_sources, read_background, read_foreground
from bgm.training.store import build_store
from bgm.training.validation import Item, make_items

TARGET = Path(__file__).parent.parent / "bgm" / "evaluation" / "coefficients.py"
RIDGE = 3.0
HEAD = '"""What the suspicion of a check is made of; written by `scripts/fit_check.py`."""\n\n'


def main() -> None:
    """Make the composites, matte and check them, fit, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("foregrounds")
    parser.add_argument("backgrounds")
    parser.add_argument("--count", type=int, default=12, help="composites of each kind")
    parser.add_argument("--write", action="store_true", help=f"write {TARGET.name}")
    arguments = parser.parse_args()
    kinds, table, errors = [], [], []
    matting = load_matting()
    for item in _items(arguments):
        sample = item.sample
        bgr, _ = align_background(sample.src, sample.bgr)
        pixels = to_rgba8(matting(sample.src, bgr))
        found = check(*(shrink(picture, CHECK_SIDE) for picture in (sample.src, bgr, pixels)))
        numbers = numbers_of(found)
        kinds.append(item.kind)
        table.append(list(numbers.values()))
        errors.append(alpha_errors(pixels[:, :, 3], sample.pha[:, :, 0])["mad"])
    names = list(numbers)
    features = np.array([[feature(n, v) for n, v in zip(names, row, strict=True)] for row in table])
    _report(np.array(kinds), features, np.array(errors), names, arguments.write)


def _items(arguments: argparse.Namespace) -> list[Item]:
    folder = Path(tempfile.mkdtemp(prefix="bgm-check-"))
    stores = [
        build_store(find_sources([given]), reader, folder, side, 2)
        for given, reader, side in (
            (arguments.foregrounds, read_foreground, 1024),
            (arguments.backgrounds, read_background, 1600),
        )
    ]
    config = ValidationConfig(count=arguments.count, sizes=[[480, 640], [640, 480]])
    still = replace(CompositeConfig(), shaken=0, exposure=0)
    sets = {"": still, "handheld ": replace(still, shaken=1), "drift ": replace(still, exposure=1)}
    found = []
    for prefix, settings in sets.items():
        for item in make_items(stores[0], stores[1], settings, config):
            found.append(Item(prefix + item.kind, item.sample))
    return found


def _report(
    kinds: NDArray[Any], features: NDArray[Any], errors: NDArray[Any], names: list[str], write: bool
) -> None:
    target = np.log(np.maximum(errors, 1e-5) / TYPICAL_ERROR)
    guess = np.empty(len(target))
    base = np.array([kind.removeprefix("handheld ").removeprefix("drift ") for kind in kinds])
    for kind in np.unique(base):
        held = base == kind
        guess[held] = _apply(features[held], *_fit(features[~held], target[~held]))
    print(f"{len(target)} composites, {len(np.unique(base))} kinds held out in turn")
    print(f"all: {_rank_correlation(guess, target):.3f}")
    for prefix in ("still", "handheld", "drift"):
        of = np.array(
            [
                k.split()[0] == prefix
                or (prefix == "still" and " " not in k)
                or (prefix == "still" and k.split()[0] == "drawn")
                for k in kinds
            ]
        )
        print(f"{prefix}: {_rank_correlation(guess[of], target[of]):.3f} of {of.sum()}")
    for kind in np.unique(base):
        of = base == kind
        ranks, mad = _rank_correlation(guess[of], target[of]), 1000 * errors[of].mean()
        print(f"  {kind}: {ranks:.3f}, MAD x1000 {mad:.1f}")
    for index, name in enumerate(names):
        print(f"  {name} alone: {_rank_correlation(features[:, index], target):.3f}")
    worst = np.argsort(-guess)[: max(1, len(guess) // 10)]
    truly = set(np.argsort(-target)[: len(guess) // 4].tolist())
    hits = np.mean([int(index) in truly for index in worst])
    print(f"of the tenth with most suspicion, {hits:.0%} are in the worst quarter")
    weights, intercept = _fit(features, target)
    coefficients = {n: round(float(w), 4) for n, w in zip(names, weights, strict=True)}
    print(json.dumps(coefficients, indent=2), round(float(intercept), 4))
    if write:
        lines = "".join(f'    "{name}": {weight},\n' for name, weight in coefficients.items())
        constant = f"INTERCEPT: float = {intercept:.4f}"
        table = "COEFFICIENTS: dict[str, float] = {\n" + lines + "}"
        TARGET.write_text(f"{HEAD}{constant}\n\n{table}\n", encoding="utf-8")


def _fit(features: NDArray[Any], target: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Ridge regression on standardised features; one that would lower the suspicion has no say."""
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    scaled = (features - mean) / spread
    used = np.ones(scaled.shape[1], bool)
    while True:
        columns = scaled[:, used]
        left = columns.T @ columns + RIDGE * np.eye(used.sum())
        found = np.linalg.solve(left, columns.T @ (target - target.mean()))
        if (found >= 0).all():
            break
        used[np.flatnonzero(used)[found < 0]] = False
    weights = np.zeros(len(used))
    weights[used] = found / spread[used]
    return weights, float(target.mean() - mean @ weights)


def _apply(features: NDArray[Any], weights: NDArray[Any], intercept: float) -> NDArray[Any]:
    return np.asarray(features @ weights + intercept)


def _rank_correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Spearman's."""
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return float(np.corrcoef(np.array(ranks, float))[0, 1])


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
