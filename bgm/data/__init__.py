"""From directories to decoded, aligned pairs. What needs torch is in `bgm.data.datasets`."""

from bgm.data.align import align_background
from bgm.data.decode import leave_limit_to_settings, read_alpha, read_image
from bgm.data.pairs import Pair, Pairing, Pairs, describe, find_pairs, find_truths, list_images
from bgm.data.pixels import to_uint8
from bgm.data.prefetch import prefetch, read_ahead

__all__ = [
    "Pair",
    "Pairing",
    "Pairs",
    "align_background",
    "describe",
    "find_pairs",
    "find_truths",
    "leave_limit_to_settings",
    "list_images",
    "prefetch",
    "read_ahead",
    "read_alpha",
    "read_image",
    "to_uint8",
]
