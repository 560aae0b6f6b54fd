"""Alignment helps where the camera moved, and does no harm anywhere."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import DEMO
from PIL import Image

from bgm.data import align_background, read_image


@pytest.fixture(scope="module")
def backpack():
    return read_image(DEMO / "src/handheld/backpack.jpg"), read_image(
        DEMO / "bgr/handheld/backpack.jpg"
    )


def offsets(src, bgr, empty):
    """How far, in pixels, each tile of the scene without the subject is from its place."""
    first, second = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).astype(np.float32) for x in (src, bgr))
    side = 128
    window = cv2.createHanningWindow((side, side), cv2.CV_32F)
    found = []
    for top in range(0, src.shape[0] - side, side):
        for left in range(0, src.shape[1] - side, side):
            tile = np.s_[top : top + side, left : left + side]
            if not empty[tile].any():
                shift, _ = cv2.phaseCorrelate(first[tile], second[tile], window)
                found.append(np.hypot(*shift))
    return np.array(found)


def test_the_handheld_pair_is_aligned_within_a_pixel(backpack):
    src, bgr = backpack
    subject = np.asarray(Image.open(DEMO / "pha/handheld/backpack.png"))
    aligned, alignment = align_background(src, bgr)
    assert alignment.applied
    assert alignment.reason == "aligned"
    assert alignment.matches >= alignment.inliers > 100
    assert 5 < alignment.shift_px < 20
    before, after = offsets(src, bgr, subject), offsets(src, aligned, subject)
    assert len(after) > 30
    assert np.median(before) > 5
    assert after.max() < 1


def test_outside_the_warped_background_is_the_source(backpack):
    src, _ = backpack
    shift = np.float32([[1, 0, 40], [0, 1, 0]])
    moved = cv2.warpAffine(src, shift, (src.shape[1], src.shape[0]))
    aligned, alignment = align_background(src, moved)
    assert alignment.applied
    assert alignment.shift_px == pytest.approx(40, abs=0.5)
    np.testing.assert_array_equal(aligned[:, -38:], src[:, -38:])


def test_16_bit_pairs_are_aligned_too(backpack):
    src, bgr = backpack
    aligned, alignment = align_background(src, bgr.astype(np.float32) / 255)
    assert alignment.applied
    assert aligned.dtype == np.float32
    assert 0 <= aligned.min() <= aligned.max() <= 1


def test_a_tripod_pair_is_left_alone():
    name = "tripod/lemur-mountain.jpg"
    bgr = read_image(DEMO / "bgr" / name)
    aligned, alignment = align_background(read_image(DEMO / "src" / name), bgr)
    assert aligned is bgr
    assert alignment.reason == "kept: already aligned"


NOISE = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
FLAT = np.full((480, 640, 3), 128, np.uint8)


@pytest.mark.parametrize(
    ("src", "bgr"),
    [
        (FLAT, FLAT),
        (NOISE, FLAT),
        (FLAT, NOISE),
        (NOISE, np.random.default_rng(1).integers(0, 255, (480, 640, 3), np.uint8)),
        (NOISE, np.ascontiguousarray(NOISE[::-1])),
        (NOISE[:16, :16], NOISE[16:32, :16]),
        (NOISE[:1, :1], NOISE[:1, :1]),
        (NOISE[:3], FLAT[:3]),
    ],
    ids=[
        "flat",
        "flat-background",
        "flat-source",
        "unrelated",
        "mirrored",
        "tiny",
        "one pixel",
        "thin",
    ],
)
def test_hopeless_pairs_keep_their_background(src, bgr):
    aligned, alignment = align_background(src, bgr)
    assert aligned is bgr
    assert not alignment.applied
    assert alignment.reason.startswith("kept: ")


def test_another_scene_keeps_its_background(backpack):
    other = cv2.resize(read_image(DEMO / "bgr/product/teapot.jpg"), backpack[0].shape[1::-1])
    aligned, alignment = align_background(backpack[0], other)
    assert aligned is other
    assert not alignment.applied
