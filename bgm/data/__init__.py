"""From directories to decoded, aligned pairs of tensors."""

from bgm.data.align import align_background
from bgm.data.datasets import ImagesDataset, Sample, ZipDataset, to_unit_float
from bgm.data.decode import leave_limit_to_settings, read_alpha, read_image, to_uint8
from bgm.data.pairs import Pair, Pairing, describe, find_pairs, find_truths, list_images
from bgm.data.prefetch import prefetch

__all__ = [
    "ImagesDataset",
    "Pair",
    "Pairing",
    "Sample",
    "ZipDataset",
    "align_background",
    "describe",
    "find_pairs",
    "find_truths",
    "leave_limit_to_settings",
    "list_images",
    "prefetch",
    "read_alpha",
    "read_image",
    "to_uint8",
    "to_unit_float",
]
