"""What is written down about each image: plain data that trackers pass on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from bgm.records.check import Check
from bgm.records.fingerprints import InputFile

Record = TypeVar("Record")


def from_plain(kind: type[Record], content: Mapping[str, Any]) -> Record:
    """Make a dataclass of what a file holds, written by this version of bgm or another.

    Fields that the class does not have are passed over; missing ones get their defaults.

    Raises:
        TypeError: A field without a default is missing, or there are no fields at all.
    """
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: value for key, value in content.items() if key in known})


ALREADY_ALIGNED = "kept: already aligned"
"""Why a background is left alone that needs no alignment."""


@dataclass(frozen=True)
class Alignment:
    """What became of the attempt to align a background to its source.

    Attributes:
        applied: Whether the background was warped.
        reason: Why it was, or why it was not.
        matches: Feature matches found.
        inliers: Matches that agree with the homography.
        shift_px: Mean distance by which the homography moves a pixel, or None without one.
        homography: The nine numbers, row by row, that take a pixel of the background to its place
            in the source; None unless it was warped by them.
    """

    applied: bool
    reason: str
    matches: int = 0
    inliers: int = 0
    shift_px: float | None = None
    homography: tuple[float, ...] | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the background fits its source now, as far as can be told."""
        return self.applied or self.reason == ALREADY_ALIGNED


@dataclass(frozen=True)
class Exposure:
    """What became of the attempt to bring a background to the exposure of its source.

    Attributes:
        applied: Whether the background was changed.
        reason: Why it was, or why it was not.
        gain: Factors of red, green and blue, in linear light, that would make the background's
            light the source's; None if they could not be told.
    """

    applied: bool
    reason: str
    gain: tuple[float, float, float] | None = None


@dataclass
class Timings:
    """Milliseconds that one image spent in each stage; None where it did not get there.

    Attributes:
        load_ms: Decoding source and background.
        align_ms: Aligning the background, and matching its exposure.
        forward_ms: The network, with the transfer to the device; the device is synchronised.
        edges_ms: What is done to the edges; None if nothing is.
        layers_ms: Composing the layers, rounding them, copying them to the host; with the edges.
        write_wait_ms: Inference waiting for a free place among the writers.
        encode_ms: Encoding and storing the files.
        score_ms: Comparing with the truth.
        total_ms: From the start of decoding to the last file stored, waiting in queues included.
    """

    load_ms: float | None = None
    align_ms: float | None = None
    forward_ms: float | None = None
    edges_ms: float | None = None
    layers_ms: float | None = None
    write_wait_ms: float | None = None
    encode_ms: float | None = None
    score_ms: float | None = None
    total_ms: float | None = None


@dataclass
class ImageRecord:
    """Everything known about one image of a run.

    Attributes:
        name: Path relative to the sources, without extension.
        status: `written`, `failed`, `skipped` (its outputs exist) or `unmatched`.
        error: What went wrong, if anything did.
        remarks: What else there is to say, such as that only the first frame was used.
        width: Width in pixels, once decoded.
        height: Height in pixels, once decoded.
        inputs: The files it was made from: `src`, `bgr` and, once scored, the truth.
        files: Output path per layer, relative to the run's directory.
        alignment: What the alignment did, if it was asked for.
        exposure: What matching exposures did, if it was asked for.
        check: How far the matte contradicts its photograph; None of clips.
        plate: How the background was chosen or made, if not by its name.
        backbone_scale: Scale of the coarse pass; None without a refiner.
        sample_pixels: Pixels that were to be refined; None but in mode `sampling`.
        refined: Share of the pixels that the refiner redid, in [0, 1]; None without a refiner.
        scores: Errors against the truth, as `bgm.evaluation` defines them; empty without truth.
        timings: Milliseconds per stage.
    """

    name: str
    status: str = "written"
    error: str | None = None
    remarks: list[str] = field(default_factory=list)
    width: int | None = None
    height: int | None = None
    inputs: dict[str, InputFile] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    alignment: Alignment | None = None
    exposure: Exposure | None = None
    check: Check | None = None
    plate: str | None = None
    backbone_scale: float | None = None
    sample_pixels: int | None = None
    refined: float | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    timings: Timings = field(default_factory=Timings)

    def fail(self, reason: str) -> ImageRecord:
        """Mark the image as failed for `reason`."""
        self.status, self.error = "failed", reason
        return self

    def as_dict(self) -> dict[str, Any]:
        """The record as nested plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ImageRecord:
        """The record that `as_dict` was called on, perhaps by another version of bgm.

        Raises:
            TypeError: It is no record.
        """
        record = from_plain(cls, content)
        record.alignment = record.alignment and from_plain(Alignment, content["alignment"])
        record.check = record.check and from_plain(Check, content["check"])
        record.exposure = record.exposure and from_plain(Exposure, content["exposure"])
        record.timings = from_plain(Timings, content.get("timings", {}))
        inputs = content.get("inputs", {})
        record.inputs = {kind: from_plain(InputFile, file) for kind, file in inputs.items()}
        return record
