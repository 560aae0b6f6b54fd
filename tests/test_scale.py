"""Which scale the coarse pass has: what suits the picture and the checkpoint."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import records
from PIL import Image
from safetensors.torch import load_file, save_file

import bgm
from bgm.inference.scale import COARSE_SIDE, ScaleRule
from bgm.networks.checkpoints import SHIPPED

AUTO = ScaleRule(None, None)


@pytest.mark.parametrize(
    ("width", "height", "step"),
    [
        (1920, 1080, 4),  # as the authors recommend
        (3840, 2160, 8),
        (1080, 1920, 4),
        (6000, 4000, 12),
        (640, 480, 2),  # never more than half
        (16, 16, 2),
        (24000, 16000, 48),
    ],
)
def test_the_scale_brings_the_coarse_pass_to_what_was_trained(width, height, step):
    chosen = AUTO(height, width)
    assert chosen.scale == pytest.approx(1 / step)
    padded = [side + -side % chosen.multiple for side in (height, width)]
    assert [int(side * chosen.scale) for side in padded] == [side // step for side in padded]
    assert max(padded) // step <= 1.25 * COARSE_SIDE


def test_sample_pixels_follow_the_area():
    assert AUTO(1080, 1920).sample_pixels == 80_000
    assert AUTO(2160, 3840).sample_pixels == 320_000
    assert ScaleRule(0.3, 500)(1080, 1920) == ScaleRule(0.3, 500)(4000, 6000)


@pytest.fixture(scope="module")
def photographs():
    rng = np.random.default_rng(0)
    plate = np.asarray(
        Image.fromarray(rng.integers(0, 255, (34, 50, 3), np.uint8)).resize((1500, 1004))
    )
    src = plate.copy()
    src[300:800, 500:900] = (200, 30, 40)
    return src, plate


def test_a_number_holds_and_auto_is_that_number_for_full_hd(photographs):
    src, plate = (np.pad(image, ((0, 76), (0, 420), (0, 0)), "edge") for image in photographs)
    auto = bgm.load_matting()(src, plate)
    given = bgm.load_matting(backbone_scale=0.25, refine_sample_pixels=80_000)(src, plate)
    assert torch.equal(auto.alpha, given.alpha)


def test_the_fast_path_and_the_plain_one_agree_where_the_picture_is_padded(photographs):
    settings = {"checkpoint": SHIPPED / "mobilenetv2-refine.safetensors"}
    src, plate = (image[:1001, :1499] for image in photographs)
    fast, plain = (
        bgm.load_matting(runtime=runtime, **settings)(src, plate) for runtime in ("eager", None)
    )
    assert fast.coarse_pass == plain.coarse_pass
    assert fast.alpha.shape == (1, 1001, 1499)
    assert (fast.alpha - plain.alpha).abs().max() < 1e-3
    assert fast.error.shape == fast.refined.shape == fast.alpha.shape


def test_a_checkpoint_says_what_it_was_trained_for_and_the_record_what_was_chosen(matte, tmp_path):
    weights = load_file(SHIPPED / "mobilenetv2-refine.safetensors")
    save_file(weights, tmp_path / "small.safetensors", {"coarse_side": "64"})
    settings = [f"checkpoint={tmp_path / 'small.safetensors'}", "outputs.types=[pha]"]
    assert matte(*settings).code == 0
    for record in records(tmp_path / "out").values():
        longest = max(record["width"], record["height"])
        assert longest * record["backbone_scale"] <= 2**0.5 * 64
        area = record["width"] * record["height"]
        assert record["sample_pixels"] == pytest.approx(area * 80_000 / (1920 * 1080), abs=8)
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["checkpoint"]["coarse_side"] == 64
