"""What becomes of mattes that contradict their photographs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bgm.data.residual import CHECK_SIDE
from bgm.data.shrink import shrink
from bgm.errors import BgmError
from bgm.evaluation.check import check
from bgm.records.atomic import write_together
from bgm.records.record import ImageRecord

log = logging.getLogger(__name__)

SUSPECTS = "suspects"
"""Folder, in a run's directory, of copies of what needs eyes."""


@dataclass(frozen=True)
class Suspects:
    """What to do about them.

    Attributes:
        policy: `note`, `copy` or `fail`.
        above: From which suspicion on.
        root: The run's directory.
    """

    policy: str
    above: float
    root: Path

    def examine(
        self,
        record: ImageRecord,
        small: tuple[NDArray[np.uint8], NDArray[np.uint8]],
        pixels: NDArray[np.uint8],
    ) -> None:
        """Check a matte; note what was found in its record.

        Args:
            record: The record of the image.
            small: Small versions of photograph and plate.
            pixels: Foreground and alpha, (H, W, 4), uint8.

        Raises:
            BgmError: It needs eyes, and is to fail for it.
        """
        try:
            found = check(*small, shrink(pixels, CHECK_SIDE))
        except Exception as error:  # the matte matters more than its check
            log.warning("%s is not checked: %r", record.name, error)
            return
        record.check = replace(found, needs_eyes=found.suspicion > self.above)
        if not record.check.needs_eyes:
            return
        what = f"suspicion {found.suspicion:.2f}, above {self.above:g} (suspect_above)"
        if self.policy == "fail":
            raise BgmError(f"the matte contradicts its photograph: {what}")
        record.remarks.append(f"needs eyes: {what}")

    def set_aside(self, record: ImageRecord) -> None:
        """Copy the stored layers of a matte that needs eyes to where those are, if asked for.

        Raises:
            WriteError: They cannot be copied.
        """
        if self.policy == "copy" and record.check is not None and record.check.needs_eyes:
            files = [Path(file) for file in record.files.values()]
            write_together(
                {self.root / SUSPECTS / file: (self.root / file).read_bytes() for file in files}
            )
