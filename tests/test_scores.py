"""Scores against values of the original evaluation code."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import records
from PIL import Image

from bgm.evaluation import METRICS, alpha_errors, foreground_mse, unknown_band

GOLDEN = Path(__file__).parent / "golden" / "metrics"
CASES = json.loads((GOLDEN / "golden.json").read_text())["cases"]


def read(case, kind, crop):
    pixels = np.asarray(Image.open(GOLDEN / case["files"][kind]))
    if crop:
        pixels = pixels[: pixels.shape[0] // 4 * 4, : pixels.shape[1] // 4 * 4]
    return np.ascontiguousarray(pixels)


@pytest.mark.parametrize("region", ["unknown", "whole", "unknown_crop4", "whole_crop4"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_golden_case(case, region):
    crop = region.endswith("crop4")
    pred, true, trimap = (read(case, kind, crop) for kind in ("pred", "true", "trimap"))
    trimap = trimap if region.startswith("unknown") else None
    golden = case[region]
    errors = alpha_errors(pred, true, trimap)
    assert tuple(errors) == METRICS
    for metric in ("mse", "sad", "grad", "conn"):
        expected = golden[metric]
        if expected is None and metric == "conn":
            expected = case["conn_empty_allowed"][region]
        if expected is None:
            assert errors[metric] is None, metric
        else:
            assert errors[metric] == pytest.approx(expected, rel=1e-5, abs=1e-9), metric
    if golden.get("fg_mse") is not None:
        colours = [read(case, f"fgr_{kind}", crop) for kind in ("pred", "true")]
        found = foreground_mse(*colours, true, trimap)
        assert found == pytest.approx(golden["fg_mse"], rel=1e-5, abs=1e-9)


def test_mad_is_the_mean_absolute_difference():
    pred, true = np.full((4, 4), 51, np.uint8), np.zeros((4, 4), np.uint8)
    assert alpha_errors(pred, true)["mad"] == pytest.approx(0.2)


def test_a_perfect_matte_has_no_error():
    alpha = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    assert set(alpha_errors(alpha, alpha.copy()).values()) == {0}


def test_nothing_to_compare_is_none_not_a_crash():
    alpha = np.zeros((8, 8), np.uint8)
    errors = alpha_errors(alpha, alpha, trimap=alpha)
    assert errors["mse"] is errors["mad"] is None
    assert errors["sad"] == errors["grad"] == errors["conn"] == 0
    colours = np.zeros((8, 8, 3), np.uint8)
    assert foreground_mse(colours, colours, alpha, trimap=alpha) is None


@pytest.mark.parametrize(
    ("pred", "true"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)),
        (np.zeros((4, 4), np.float32), np.zeros((4, 4), np.uint8)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)),
    ],
)
def test_arrays_that_cannot_be_compared(pred, true):
    with pytest.raises(ValueError, match="must be"):
        alpha_errors(pred, true)


def test_the_unknown_band_follows_the_edge():
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, 32:] = 255
    trimap = unknown_band(alpha, 5)
    assert set(np.unique(trimap)) == {0, 128, 255}
    assert (np.flatnonzero(trimap[30] == 128) == np.arange(27, 37)).all()


def test_full_hd_takes_less_than_half_a_second_on_one_core():
    rng = np.random.default_rng(0)
    blobs = cv2.GaussianBlur(rng.random((1080, 1920)).astype(np.float32), (0, 0), 9)
    true = (((blobs - blobs.min()) / np.ptp(blobs) * 3 - 1).clip(0, 1) * 255).astype(np.uint8)
    pred = (true + rng.integers(-20, 20, true.shape)).clip(0, 255).astype(np.uint8)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        times = []
        for _ in range(3):
            started = time.process_time()
            alpha_errors(pred, true)
            times.append(time.process_time() - started)
    finally:
        cv2.setNumThreads(threads)
    assert min(times) < 0.5


def test_an_image_without_a_trimap_is_not_scored_in_another_region(matte, shoot, tmp_path):
    trimap = tmp_path / "trimaps/product/teapot.png"
    trimap.parent.mkdir(parents=True)
    with Image.open(shoot.pha / "product/teapot.png") as alpha:
        Image.new("L", alpha.size, 128).save(trimap)
    scored = [f"data.pha={shoot.pha}", f"data.trimap={tmp_path / 'trimaps'}"]
    assert matte(*scored, "data.unmatched=skip", "outputs.types=[pha]").code == 0
    found = records(tmp_path / "out")
    assert found["product/teapot"]["scores"]["mse"] is not None
    assert found["tripod/lemur-brook"]["scores"] == {}
    assert "no trimap" in found["tripod/lemur-brook"]["error"]
