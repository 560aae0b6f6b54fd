"""The steps that one image takes, each by itself, with nothing beside it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bgm.config.schema import Config
from bgm.data import Pair
from bgm.data.datasets import ZipDataset
from bgm.inference.fallback import Fallback
from bgm.inference.matting import Matting
from bgm.outputs import LayerBuilder, PictureFolders
from bgm.records.timing import Timer
from bgm.runs import steps
from bgm.runs.build import kept_layers


@dataclass(frozen=True)
class StepTimes:
    """Milliseconds that one image took.

    Attributes:
        decode: Reading and decoding source and background.
        copies: Bringing them to the device; on the CPU padding alone.
        network: The network.
        layers: Making the layers, on the device, and copying them to the host.
        encode: Encoding and storing them.
    """

    decode: float
    copies: float
    network: float
    layers: float
    encode: float


@dataclass(frozen=True)
class StepFigures:
    """One step.

    Attributes:
        step: Its name.
        median_ms: Milliseconds, median of the rounds.
        low_ms: The fastest round.
        high_ms: The slowest round.
    """

    step: str
    median_ms: float
    low_ms: float
    high_ms: float


class Steps:
    """Takes one pair from files to files, step by step.

    Args:
        config: The settings of the run that it would be in.
        matting: The network.
        pair: The pair.
    """

    def __init__(self, config: Config, matting: Matting, pair: Pair) -> None:
        self._dataset = ZipDataset([pair])
        self._fallback = Fallback(matting.predictor, use_cpu=False)
        self._outputs = config.outputs
        self._build_layers = LayerBuilder(kept_layers(config.outputs))

    def __call__(self, output_dir: Path) -> StepTimes:
        """Take it there once.

        Args:
            output_dir: Where the layers are stored.
        """
        sample = steps.load(self._dataset, 0)
        record = steps.begin_record(sample)
        with Timer() as copying:
            staged = self._fallback.stage([(sample.src, sample.bgr)])
            if isinstance(staged, Exception):
                raise staged
            if staged.copied is not None:
                staged.copied.synchronize()
        (matte,) = steps.matte(self._fallback, staged, [sample], [record])
        if isinstance(matte, Exception):
            raise matte
        layers, _ = steps.build(self._fallback, self._build_layers, sample, record, matte)
        specs = [layer.spec for layer in self._build_layers.layers]
        sink = PictureFolders(output_dir, specs, self._outputs.png_level)
        steps.store(sink, record, layers, None)
        took = record.timings
        return StepTimes(
            decode=took.load_ms or 0.0,
            copies=copying.ms,
            network=took.forward_ms or 0.0,
            layers=took.layers_ms or 0.0,
            encode=took.encode_ms or 0.0,
        )


def sum_up_steps(rounds: Sequence[StepTimes]) -> list[StepFigures]:
    """Each step over all rounds, in the order in which they are taken."""
    figures = []
    for step in asdict(rounds[0]):
        times = [getattr(each, step) for each in rounds]
        median = round(statistics.median(times), 2)
        figures.append(StepFigures(step, median, round(min(times), 2), round(max(times), 2)))
    return figures
