"""What happens to one photograph, step by step, whoever takes the steps: load, matte, build, store.

Each is a plain function that raises what goes wrong. Who calls them decides what runs beside what,
and turns errors into records with `explain`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from numpy.typing import NDArray

from bgm.data import Pair
from bgm.data.datasets import Sample, ZipDataset
from bgm.data.metadata import Metadata
from bgm.errors import BgmError
from bgm.evaluation import Scorer
from bgm.inference.device import synchronize
from bgm.inference.fallback import Fallback
from bgm.inference.matte import Matte
from bgm.inference.predictor import Staged, check_pair
from bgm.outputs import LayerBuilder, Pixels, Sink, to_rgba8
from bgm.records.fingerprints import InputFile, fingerprint
from bgm.records.record import ImageRecord
from bgm.records.timing import Timer

log = logging.getLogger(__name__)


def load(dataset: ZipDataset, index: int) -> Sample:
    """Decode a photograph and its plate, aligned if that is asked for.

    Raises:
        DataError: One cannot be read, or they do not fit together.
    """
    sample = dataset[index]
    check_pair(sample.src, sample.bgr)
    return sample


def begin_record(sample: Sample) -> ImageRecord:
    """The record of an image that was loaded."""
    height, width = sample.src.shape[1:]
    record = ImageRecord(sample.pair.name, height=height, width=width)
    record.alignment, record.exposure = sample.alignment, sample.exposure
    record.inputs, record.plate = sample.inputs, sample.pair.plate
    record.remarks += sample.remarks
    if sample.alignment is not None and not sample.alignment.is_settled:
        record.remarks.append(f"not aligned: the plate is {sample.alignment.reason}")
    record.timings.load_ms, record.timings.align_ms = sample.load_ms, sample.align_ms
    return record


def failed_record(pair: Pair, error: BaseException) -> ImageRecord:
    """The record of an image that could not be loaded, with its files as far as they are there."""
    inputs: dict[str, InputFile] = {}
    for kind, path in (("src", pair.src), ("bgr", pair.bgr)):
        with suppress(OSError):
            inputs[kind] = fingerprint(path)
    return ImageRecord(pair.name, inputs=inputs).fail(explain(error))


def matte(
    fallback: Fallback,
    staged: Staged | Exception,
    samples: Sequence[Sample],
    records: Sequence[ImageRecord],
) -> list[Matte | Exception]:
    """Run the network on images of one size; note the time and how it was done.

    Args:
        fallback: The network, and what to do if its device has no memory.
        staged: What the fallback made of the samples.
        samples: The images.
        records: Their records.

    Returns:
        For each its matte, or what went wrong.
    """
    with Timer(partial(synchronize, fallback.device)) as forward:
        outcomes = fallback.run(staged, [(sample.src, sample.bgr) for sample in samples])
    # What an earlier job of the sweep has computed counts as if it had been computed here.
    ms = forward.ms + fallback.take_spared_ms()
    for record, (_, remark) in zip(records, outcomes, strict=True):
        record.timings.forward_ms = round(ms / len(samples), 3)
        record.remarks += [remark] if remark else []
    return [outcome for outcome, _ in outcomes]


def build(
    fallback: Fallback,
    build_layers: LayerBuilder,
    sample: Sample,
    record: ImageRecord,
    matte: Matte,
) -> tuple[dict[str, Pixels], NDArray[Any]]:
    """Clean the edges and make the layers of a matte, where it is if there is memory for them.

    Returns:
        The layers by type, and foreground with alpha in 8 bits, (H, W, 4), for scoring.
    """
    edges = build_layers.edges

    def make(matte: Matte) -> tuple[dict[str, Pixels], NDArray[Any]]:
        if edges is not None:
            with Timer() as editing:
                matte = edges(matte, sample.src, sample.bgr, record.name)
            record.timings.edges_ms = editing.ms
        pixels = to_rgba8(matte)
        return build_layers(matte, sample.src, sample.bgr, pixels, sample.seconds), pixels

    with Timer() as building:
        made, remark = fallback.build(matte, make)
    if edges is not None:
        mine = edges.inputs(record.name)
        record.inputs |= {kind: fingerprint(path) for kind, path in mine.items()}
    record.remarks += [remark] if remark else []
    record.refined = matte.refined_share
    if matte.coarse_pass is not None:
        record.backbone_scale = round(matte.coarse_pass.scale, 6)
        record.sample_pixels = matte.coarse_pass.sample_pixels
    record.timings.layers_ms = building.ms
    return made


def store(
    sink: Sink, record: ImageRecord, layers: dict[str, Pixels], metadata: Metadata | None
) -> None:
    """Encode and store the layers of one image: all of them or none.

    Raises:
        WriteError: They could not be stored; nothing of the image is left.
    """
    with Timer() as encoding:
        record.files = sink.store(record.name, layers, metadata)
    record.timings.encode_ms = encoding.ms


def score(
    scorer: Scorer,
    record: ImageRecord,
    pixels: NDArray[Any],
    truth: Mapping[str, Pixels | Exception] | None = None,
) -> None:
    """Compare the matte with its truth; a truth that cannot be used is told in the record."""
    with Timer() as scoring:
        try:
            record.scores = scorer(record.name, pixels[:, :, 3], pixels[:, :, :3], truth)
            truths = scorer.files(record.name)
            record.inputs |= {kind: fingerprint(path) for kind, path in truths.items()}
        except Exception as error:  # the matte is stored all the same
            record.error = f"not scored: {error}"
    record.timings.score_ms = scoring.ms


def explain(error: BaseException) -> str:
    """An error in words; one that nobody foresaw keeps its type, and its trace goes to the log."""
    if isinstance(error, BgmError):
        return str(error)
    log.debug("unexpected error", exc_info=error)
    return f"{type(error).__name__}: {error}"
