"""Makes the plates of a run that are not there as files: medians of stills."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from bgm.data.median import median_plate
from bgm.errors import DataError
from bgm.outputs.encode import encode_png
from bgm.records.atomic import in_words, write_atomically
from bgm.records.fingerprints import fingerprint

log = logging.getLogger(__name__)

_PNG_LEVEL = 1


def make_plates(
    wanted: Mapping[Path, Sequence[Path]], scratch: Path, max_pixels: int
) -> dict[str, list[object]]:
    """Make the plates of a run that are to be made.

    A plate that cannot be made is told of in the log; its photographs fail, the others go on.

    Args:
        wanted: The stills of each, by its path.
        scratch: Directory for decoded stills, as long as it takes.
        max_pixels: Stills that claim to have more are left out.

    Returns:
        What each plate was made from: path and SHA-256 of the stills, by the plate's path.

    Raises:
        WriteError: The disk is full.
    """
    made: dict[str, list[object]] = {}
    for path, stills in wanted.items():
        path.unlink(missing_ok=True)
        try:
            with in_words(path):
                pixels, used = median_plate(stills, scratch, max_pixels)
        except DataError as error:
            log.error("%s: %s", path.relative_to(scratch), error)
            continue
        write_atomically(path, encode_png(pixels, _PNG_LEVEL, b""))
        log.info("%s: median of %d stills", path.relative_to(scratch).as_posix(), len(used))
        files = [fingerprint(still) for still in used]
        made[str(path)] = [{"path": file.path, "sha256": file.sha256} for file in files]
    return made
