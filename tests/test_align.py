"""Alignment helps where the camera moved, and does no harm anywhere."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import DEMO, records, shrink
from PIL import Image

from bgm.data import align, align_background, read_image
from bgm.data.homography import find_alignment


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


def test_the_handheld_pair_is_aligned_within_a_quarter_of_a_pixel(backpack):
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
    assert after.max() < 0.25


def test_outside_the_warped_background_is_the_source(backpack):
    src, _ = backpack
    shift = np.float32([[1, 0, 40], [0, 1, 0]])
    moved = cv2.warpAffine(src, shift, (src.shape[1], src.shape[0]))
    aligned, alignment = align_background(src, moved)
    assert alignment.applied
    assert alignment.shift_px == pytest.approx(40, abs=0.5)
    np.testing.assert_array_equal(aligned[:, -38:], src[:, -38:])


@pytest.mark.parametrize(
    ("turn", "zoom", "shift"), [(0, 1, 3), (0.4, 1.01, 25), (3, 0.97, -70)], ids=["1", "2", "3"]
)
def test_a_known_movement_is_found_at_any_size(turn, zoom, shift):
    scene = cv2.resize(read_image(DEMO / "bgr/tripod/lemur-brook.jpg"), (2160, 2700))
    height, width = scene.shape[:2]
    true = cv2.getRotationMatrix2D((width / 2, height / 2), turn, zoom)
    true[:, 2] += shift
    moved = cv2.warpAffine(scene, true, (width, height), flags=cv2.INTER_CUBIC)
    scene[600:1800, 500:1500] = 90  # a subject
    _, alignment = align_background(moved, read_noisy(scene))
    assert alignment.applied
    found = np.array(alignment.homography).reshape(3, 3)
    grid = np.stack(np.meshgrid(np.arange(0, width, 200.0), np.arange(0, height, 200.0)), -1)
    there = cv2.perspectiveTransform(grid.reshape(1, -1, 2), found)
    error = np.linalg.norm(there - cv2.transform(grid.reshape(1, -1, 2), true), axis=2)
    assert error.max() < 0.25


def read_noisy(pixels):
    noise = np.random.default_rng(0).normal(0, 2, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def searches(monkeypatch):
    """The pairs that an alignment was looked for."""
    found = []

    def spy(src, bgr):
        found.append(src.shape)
        return find_alignment(src, bgr)

    monkeypatch.setattr(align, "find_alignment", spy)
    return found


@pytest.fixture
def handheld(tmp_path):
    for kind in ("src", "bgr"):
        shrink(DEMO / kind / "handheld/backpack.jpg", tmp_path / f"{kind}/one.jpg", 300)
    return ["data=folders", "data.src=src", "data.bgr=bgr", "data.align=true", "tracking=files"]


def test_the_jobs_of_a_sweep_find_an_alignment_once(bgm, handheld, searches, tmp_path):
    sweep = ["-m", "hydra.sweep.dir=sweep", "refine.sample_pixels=0,1600", *handheld]
    assert bgm(*sweep).code == 0
    assert len(searches) == 1
    first, second = (records(tmp_path / "sweep" / job) for job in "01")
    assert first["one"]["alignment"] == second["one"]["alignment"]
    assert first["one"]["alignment"]["applied"]


def test_a_resumed_and_a_repeated_run_find_no_alignment_again(bgm, handheld, searches, tmp_path):
    assert bgm(*handheld, "output_dir=out").code == 0
    (tmp_path / "out/pha/one.jpg").unlink()
    assert bgm(*handheld, "output_dir=out", "on_existing=resume").code == 0
    assert bgm("repeat=out", "output_dir=again", "tracking=files").code == 0
    assert len(searches) == 1
    resumed, repeated = (records(tmp_path / name)["one"] for name in ("out", "again"))
    assert resumed["alignment"] == repeated["alignment"]
    pictures = [(tmp_path / name / "pha/one.jpg").read_bytes() for name in ("out", "again")]
    assert pictures[0] == pictures[1]
    shrink(DEMO / "bgr/product/teapot.jpg", tmp_path / "bgr/one.jpg", 300)
    shrink(DEMO / "src/product/teapot.jpg", tmp_path / "src/one.jpg", 300)
    assert bgm(*handheld, "output_dir=out", "on_existing=resume").code == 0
    assert len(searches) == 2


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
