"""Aligns a background plate to its source where the camera moved between the two shots.

Whatever cannot be trusted is not used: the plate then stays as it is.
"""

from __future__ import annotations

import cv2
import numpy as np

from bgm.data.homography import find_alignment, reach
from bgm.data.pixels import Pixels, as_type, clip_to_range
from bgm.records.record import Alignment


def align_background(
    src: Pixels, bgr: Pixels, known: Alignment | None = None
) -> tuple[Pixels, Alignment]:
    """Warp `bgr` onto `src` by a homography, if one can be trusted.

    Args:
        src: The source, (H, W, 3), uint8 or float32 in [0, 1].
        bgr: Its background, of the same size.
        known: What was found for the two before, which is not looked for again.

    Returns:
        The aligned background, filled from the source where the warped one does not reach; or
        `bgr` itself, where alignment failed, was not needed or would have made things worse. And
        what happened.
    """
    alignment = known or find_alignment(src, bgr)
    if not alignment.applied or alignment.homography is None:
        return bgr, alignment
    height, width = bgr.shape[:2]
    homography = np.array(alignment.homography).reshape(3, 3)
    warped = cv2.warpPerspective(
        bgr, homography, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    unreached = cv2.bitwise_not(reach(homography, width, height))
    cv2.copyTo(as_type(src, warped.dtype), unreached, warped)
    return clip_to_range(warped), alignment
