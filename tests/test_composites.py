"""What composites are made of: truth that fits the pictures, and parameters apart from use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from test_training import cutout

from bgm.config.training import CompositeConfig
from bgm.networks import MattingRefine
from bgm.training.camera import Blur, Look, Shadow, Shot
from bgm.training.composites import Composer, match_colours
from bgm.training.forward import refine_chosen
from bgm.training.geometry import Placement, Shake, warp
from bgm.training.procedural import DRAWN
from bgm.training.schedule import Schedule
from bgm.training.sources import Source, read_background, read_foreground
from bgm.training.store import build_store, premultiply

NOTHING = CompositeConfig(**dict.fromkeys(vars(CompositeConfig()), 0.0))
SIZE = (96, 128)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(cutout(150, (250, 20, 20))).save(folder / f"disc-{number}.png")
        photo = rng.integers(0, 256, (9, 12, 3), np.uint8)
        Image.fromarray(photo).resize((300, 200)).save(folder / f"photo-{number}.jpg")
    parts = []
    for name, read in (("disc", read_foreground), ("photo", read_background)):
        sources = [Source(path, name) for path in sorted(folder.glob(f"{name}-*"))]
        parts.append(build_store(sources, read, folder / "cache", 256, 1))
    return parts


def make(stores, seed=0, only=None, **shares):
    composer = Composer(*stores, replace(NOTHING, **shares), only)
    return composer.make(np.random.default_rng(seed), SIZE)


def test_the_same_random_state_makes_the_same_composite(stores):
    shares = vars(CompositeConfig())
    one, same, other = (make(stores, seed, **shares) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one.src, other.src)


@pytest.mark.parametrize("seed", range(4))
def test_source_is_foreground_over_plate_but_for_noise(stores, seed):
    sample = make(stores, seed)
    alpha = sample.pha / 255.0
    composite = alpha * sample.fgr + (1 - alpha) * sample.bgr
    assert np.median(np.abs(composite - sample.src)) <= 8  # noise, sharpness and JPEG
    assert alpha.max() > 0.9


def test_alpha_keeps_its_soft_edge_at_any_scale(stores):
    foregrounds, _ = stores
    for side in (0.2, 0.5, 1.0):
        placement = Placement(side, 0.5, 0.5, 20, False, 1)
        whole = foregrounds.entries[0].levels[0]
        scale = placement.scale((whole.height, whole.width), SIZE)
        pixels, _ = foregrounds.level(0, scale)
        layer = warp(
            premultiply(pixels), placement.matrix(pixels.shape[:2], SIZE), SIZE, mirror=False
        )
        alpha = layer[:, :, 3]
        assert len(np.unique(alpha.round(2))) > 15
        straight = layer[:, :, :3][alpha > 0.1] / alpha[alpha > 0.1][:, None]
        assert np.abs(straight - np.array([250, 20, 20]) / 255).max() < 0.02  # no dark fringe


def test_nothing_in_the_picture(stores):
    sample = make(stores, empty=1.0, shaken=1.0, exposure=1.0)
    assert not sample.pha.any()
    assert not sample.fgr.any()


@pytest.mark.parametrize("kind", DRAWN)
def test_drawn_subjects_are_partly_there(stores, kind):
    alphas = [make(stores, seed, only=kind, drawn=1.0).pha for seed in range(6)]
    covered = np.array([alpha.mean() / 255 for alpha in alphas])
    assert (covered < 0.95).all()
    assert covered.mean() > 0.01
    if kind in ("glass", "lace"):
        assert np.mean([((a > 20) & (a < 235)).mean() for a in alphas]) > 0.01


def test_a_hard_subject_has_the_colours_behind_it():
    rng = np.random.default_rng(0)
    layer = premultiply(cutout(64, (250, 20, 20)))
    scene = rng.uniform(0.2, 0.5, (64, 64, 3)).astype(np.float32)
    hard = match_colours(layer, scene, 1, 1)
    inside = layer[:, :, 3] > 0.99
    assert np.abs(hard[inside][:, :3].mean(0) - scene[inside].mean(0)).max() < 0.02
    assert np.array_equal(hard[:, :, 3], layer[:, :, 3])


def test_parameters_that_change_nothing_change_nothing():
    rng = np.random.default_rng(0)
    colours = rng.random((48, 64, 3), np.float32)
    assert np.allclose(Look.draw(rng, 0).apply(colours), colours, atol=1e-6)
    assert Blur(0, 0, 0).apply(colours) is colours
    assert np.allclose(Shot(0, 0, 1, 0, 0).apply(colours) / 255, colours, atol=1 / 255)
    still = Shake(0, 0, 0, 1).matrix((48, 64))
    assert np.allclose(warp(colours, still, (48, 64), mirror=True), colours, atol=1e-6)


def test_a_shadow_darkens_the_scene_and_nothing_else():
    alpha = premultiply(cutout(64, (0, 0, 0)))[:, :, 3]
    scene = np.full((64, 64, 3), 0.8, np.float32)
    shaded = Shadow(0.1, 0.05, 1, 0, 0.02, 0.5).apply(scene, alpha)
    assert shaded.min() == pytest.approx(0.4, abs=0.02)
    assert shaded.max() <= scene.max()
    assert np.array_equal(Shadow(0, 0, 1, 0, 0.02, 0.5).apply(scene, alpha * 0), scene)


def test_a_cut_off_subject_stands_at_the_lower_edge():
    placement = Placement(0.5, 0.5, 0.3, 0, False, 1).grounded((100, 100), (100, 100), True)
    assert placement.y * 100 + 0.5 * 100 / 2 >= 100
    assert Placement(0.5, 0.5, 0.3, 0, False, 1).grounded((100, 100), (100, 100), False).y == 0.3


def test_the_rate_rises_stays_and_falls():
    schedule = Schedule(1.0, steps=100, warmup=10, decay=20, floor=0.1)
    rates = [schedule.at(step) for step in range(100)]
    assert rates[0] == 0.1
    assert rates[9:80] == [1.0] * 71
    assert rates[80:] == sorted(rates[80:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)


def test_the_refiner_is_trained_as_it_is_used():
    torch.manual_seed(0)
    refiner = MattingRefine("mobilenetv2", refine_sample_pixels=4000).eval().refiner
    inputs = [torch.rand(2, 6, 128, 96), *(torch.rand(2, c, 32, 24) for c in (4, 1, 32))]
    with torch.no_grad():
        used, trained = refiner(*inputs)[0], refine_chosen(refiner, *inputs)
    assert torch.allclose(used, trained, atol=1e-6)
    assert refiner.mode == "sampling"
