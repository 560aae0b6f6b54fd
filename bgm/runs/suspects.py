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

_NEEDS_EYES = "needs eyes: "

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
        record.check = found
        judge(record, self.above)
        if self.policy == "fail" and record.check.needs_eyes:
            what = record.remarks.pop().removeprefix(_NEEDS_EYES)
            raise BgmError(f"the matte contradicts its photograph: {what}")

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


def judge(record: ImageRecord, above: float) -> None:
    """Say in a record whether its matte needs eyes, perhaps by another threshold than before.

    Args:
        record: The record; one without a check stays as it is.
        above: From which suspicion on.
    """
    if record.check is None:
        return
    suspicion = record.check.suspicion
    record.check = replace(record.check, needs_eyes=suspicion > above)
    record.remarks = [remark for remark in record.remarks if not remark.startswith(_NEEDS_EYES)]
    if record.check.needs_eyes:
        what = f"suspicion {suspicion:.2f}, above {above:g} (suspect_above)"
        record.remarks.append(_NEEDS_EYES + what)
