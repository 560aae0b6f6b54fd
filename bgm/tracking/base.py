"""What a tracker is: somebody who is told about a run as it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bgm.records import ImageRecord, Summary

Preview = NDArray[np.uint8]
"""A small picture of source and matte, (H, W, 3), RGB."""


@dataclass(frozen=True)
class RunInfo:
    """What is known of a run before its first image.

    Attributes:
        output_dir: The run's directory.
        images: Images to come.
        config: The resolved configuration, as nested plain values.
        facts: Versions, machine, checkpoint.
    """

    output_dir: Path
    images: int
    config: dict[str, Any]
    facts: dict[str, Any]


class Tracker(Protocol):
    """Told about one run: once at its start, once per image, once at its end."""

    def start(self, run: RunInfo) -> None:
        """The run begins."""

    def image(self, record: ImageRecord, preview: Preview | None) -> None:
        """An image is finished, whatever became of it; of the first ones there is a picture."""

    def finish(self, summary: Summary) -> None:
        """The run is over, or was interrupted."""
