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
from bgm.evaluation.check import TYPICAL_ERROR, check, guess_error, numbers_of
from bgm.outputs import to_rgba8
from bgm.training.sources import find_sources, read_background, read_foreground
from bgm.training.store import build_store
from bgm.training.validation import Item, make_items

TARGET = Path(__file__).parent.parent / "bgm" / "evaluation" / "coefficients.py"
USED = ("uncertain", "plate_through", "residual_edge")
"""Numbers that have a say; the others added nothing for kinds that were held out."""

LEAST = 1e-4
"""Errors below this count as this."""

BAD = 0.02
"""Mean absolute error of a matte that should be named."""

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
    report(np.array(kinds), np.array(table), np.array(errors), names, arguments.write)


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


def report(
    kinds: NDArray[Any], numbers: NDArray[Any], errors: NDArray[Any], names: list[str], write: bool
) -> None:
    """Fit, say how well what was not seen is ranked, and perhaps write the coefficients."""
    guess = np.empty(len(errors))
    base = np.array([kind.removeprefix("handheld ").removeprefix("drift ") for kind in kinds])
    used = [names.index(name) for name in USED]
    for kind in np.unique(base):
        held = base == kind
        guess[held] = _guess(numbers[held][:, used], *_fit(numbers[~held][:, used], errors[~held]))
    print(f"{len(errors)} composites, {len(np.unique(base))} kinds held out in turn")
    print(f"all: {_rank_correlation(guess, errors):.3f}")
    still = (base == kinds, "still")
    shaken, drift = ((np.char.startswith(kinds, p + " "), p) for p in ("handheld", "drift"))
    for of, name in (still, shaken, drift):
        print(f"{name}: {_rank_correlation(guess[of], errors[of]):.3f} of {of.sum()}")
    for kind in np.unique(base):
        of = base == kind
        ranks, mad = _rank_correlation(guess[of], errors[of]), 1000 * errors[of].mean()
        print(f"  {kind}: {ranks:.3f}, MAD x1000 {mad:.1f}")
    for index, name in enumerate(names):
        print(f"  {name} alone: {_rank_correlation(numbers[:, index], errors):.3f}")
    _report_thresholds(guess / (guess + TYPICAL_ERROR), errors)
    weights, least = _fit(numbers[:, used], errors)
    coefficients = {n: round(float(w), 5) for n, w in zip(USED, weights, strict=True)}
    print(json.dumps(coefficients, indent=2), round(float(least), 5))
    if write:
        lines = "".join(f'    "{name}": {weight},\n' for name, weight in coefficients.items())
        constant = f"LEAST_ERROR: float = {least:.5f}"
        table = "COEFFICIENTS: dict[str, float] = {\n" + lines + "}"
        TARGET.write_text(f"{HEAD}{constant}\n\n{table}\n", encoding="utf-8")


def _report_thresholds(suspicion: NDArray[Any], errors: NDArray[Any]) -> None:
    """What a threshold finds of the mattes that are bad, and how much of what it finds is."""
    bad = errors > BAD
    print(f"{bad.mean():.0%} have an error above {BAD}")
    for threshold in np.arange(0.5, 0.95, 0.05):
        found = suspicion > threshold
        right = (found & bad).sum()
        print(
            f"  above {threshold:.2f}: {found.mean():.0%} of all; precision "
            f"{right / max(1, found.sum()):.2f}, recall {right / bad.sum():.2f}"
        )


def _fit(numbers: NDArray[Any], errors: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Coefficients, none below 0, by which the logarithm of the error is guessed best (Huber)."""
    scale = numbers.mean(axis=0) + 1e-9
    columns, target = torch.tensor(numbers / scale), torch.tensor(np.maximum(errors, LEAST)).log()
    logs = torch.full((numbers.shape[1] + 1,), -4.0, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([logs], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        weights = logs.exp()
        guess = (columns @ weights[1:] + weights[0] * TYPICAL_ERROR + LEAST).log()
        found = torch.nn.functional.smooth_l1_loss(guess, target) + 1e-4 * weights.sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    search.step(loss)  # type: ignore[no-untyped-call]
    weights = logs.detach().exp().numpy()
    return weights[1:] / scale, float(weights[0] * TYPICAL_ERROR + LEAST)


def _guess(numbers: NDArray[Any], weights: NDArray[Any], least: float) -> NDArray[Any]:
    coefficients = dict(zip(USED, weights, strict=True))
    rows = (dict(zip(USED, row, strict=True)) for row in numbers)
    return np.array([guess_error(row, coefficients, least) for row in rows])


def _rank_correlation(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Spearman's."""
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return float(np.corrcoef(np.array(ranks, float))[0, 1])


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
