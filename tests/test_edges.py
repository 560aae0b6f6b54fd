"""Edges: each step on small planes whose right answer is known, and the chain through the doors."""

from __future__ import annotations

import json
import sys

import cv2
import numpy as np
import pytest
import torch
from conftest import records
from PIL import Image

from bgm import edit_edges
from bgm.config.edges import EdgesConfig, ForegroundFrom
from bgm.errors import ConfigError
from bgm.evaluation.scores import recomposite_mse
from bgm.inference.matte import Matte
from bgm.outputs.edges import Edges, alpha, colours

KINDS = ("com", "fgr", "pha")


@pytest.fixture
def mixed():
    """A red and blue disc with a soft edge on a green plate: photo, plate, alpha, true colours."""
    rows, columns = np.mgrid[0:120, 0:160].astype(np.float32)
    distance = np.hypot(rows - 60, columns - 80)
    soft = ((45 - distance) / 12 + 0.5).clip(0, 1)
    true = np.zeros((120, 160, 3), np.float32)
    true[:, :80], true[:, 80:] = (0.8, 0.1, 0.1), (0.1, 0.2, 0.7)
    plate = np.full((120, 160, 3), (0.2, 0.7, 0.3), np.float32)
    photo = soft[:, :, None] * true + (1 - soft[:, :, None]) * plate
    return photo, plate, soft, true


def strands() -> np.ndarray:
    """A head with a strand that hangs on by a faint piece; a speck; a faint smudge; a hole."""
    plane = np.zeros((100, 100), np.float32)
    plane[20:60, 20:60] = 1
    plane[30, 60:70], plane[30, 70:80] = 0.05, 0.9
    plane[90:92, 90:92] = 1
    plane[70:95, 5:15] = 0.1
    plane[40:42, 40:42] = 0
    return plane


def test_islands_go_and_what_hangs_on_faintly_stays():
    cleaned = alpha.despeckle(strands(), 0.001, 0.5)
    assert cleaned[90:92, 90:92].max() == 0
    assert cleaned[70:95, 5:15].max() == 0
    np.testing.assert_array_equal(cleaned[:65], strands()[:65])
    np.testing.assert_array_equal(alpha.despeckle(strands(), 0.0002, 0.5)[90:92, 90:92], 1)


def test_holes_are_closed_and_glass_is_none():
    plane = strands()
    plane[50:58, 22:30] = 0.6
    closed = alpha.fill(plane, 0.001, 0.5)
    assert closed[40:42, 40:42].min() == 1
    np.testing.assert_allclose(closed[50:58, 22:30], 0.6)
    np.testing.assert_array_equal(closed[:20], plane[:20])


def test_levels():
    plane = np.linspace(0, 1, 101, dtype=np.float32)[None]
    stretched = alpha.levels(plane, 0.1, 0.9, 1)[0]
    assert stretched[10] == 0
    np.testing.assert_allclose(stretched[90], 1, atol=1e-6)
    np.testing.assert_allclose(stretched[50], 0.5, atol=1e-6)
    np.testing.assert_allclose(alpha.levels(plane, 0, 1, 2)[0, 25], 0.5, atol=1e-6)


@pytest.mark.parametrize("pixels", [-2.5, -1, -0.5, 0.25, 0.5, 1, 1.5, 3])
def test_choke_moves_a_straight_edge_by_what_it_says(pixels):
    plane = np.zeros((40, 60), np.float32)
    plane[:, :30] = 1
    width = alpha.choke(plane, pixels)[20].sum()
    np.testing.assert_allclose(width, 30 - pixels, atol=1e-5)


def test_feather_is_as_wide_as_it_says():
    plane = np.zeros((40, 60), np.float32)
    plane[:, :30] = 1
    slope = -np.diff(alpha.feather(plane, 2)[20])
    at = np.arange(59) - 29
    np.testing.assert_allclose((slope * at**2).sum(), 4, rtol=0.05)


def test_unmixing_with_the_true_alpha_gives_the_true_colours(mixed):
    photo, plate, soft, true = mixed
    found = colours.unmix(photo.copy(), soft, photo, plate, 1e-4)
    seen = soft > 0.1
    assert np.abs(found - true)[seen].max() < 0.02
    assert np.abs(photo - true)[seen].max() > 0.5
    in_bytes = [np.round(x * 255).astype(np.uint8) for x in (photo, plate)]
    deep, shallow = (
        colours.unmix(photo.copy(), soft, *shots, 1e-2) for shots in ((photo, plate), in_bytes)
    )
    np.testing.assert_allclose(shallow, deep, atol=0.03)


@pytest.mark.parametrize("way", ["blur", "ml"])
def test_estimates_come_nearer_to_the_true_colours(mixed, way):
    photo, plate, soft, true = mixed
    if way == "ml":
        pytest.importorskip("pymatting")
        found = colours.multi_level(photo, soft)
    else:
        found = colours.blur_fusion(photo, plate, soft)
    band = (soft > 0.05) & (soft < 0.95)
    assert np.abs(found - true)[band].mean() < 0.35 * np.abs(photo - true)[band].mean()


def test_despill_takes_the_plates_colour_and_no_brightness(mixed):
    photo, plate, soft, _ = mixed
    cleaned = colours.despill(photo.copy(), soft, plate, 1)
    band = (soft > 0.05) & (soft < 0.5)
    green = [(x - x.mean(2, keepdims=True))[band][:, 1].mean() for x in (photo, cleaned)]
    assert green[1] < 0.5 * green[0]
    np.testing.assert_allclose(cleaned[band].mean(1), photo[band].mean(1), atol=0.02)
    np.testing.assert_array_equal(cleaned[soft == 0], photo[soft == 0])
    grey = np.full_like(plate, 0.5)
    np.testing.assert_allclose(colours.despill(photo.copy(), soft, grey, 1), photo, atol=1e-6)


def test_colours_go_on_outside_so_that_scaling_bleeds_nothing(mixed):
    _, _, soft, true = mixed
    black = true * (soft[:, :, None] > 0)
    found = colours.extend(black.copy(), soft)
    np.testing.assert_array_equal(found[soft >= 0.01], black[soft >= 0.01])
    beside = (soft < 0.01) & (cv2.dilate(soft, np.ones((9, 9))) > 0)
    away = np.abs(np.arange(160) - 80) > 20  # there red and blue may mix
    assert np.abs(found - true)[beside & away].mean() < 0.1
    assert found[soft == 0].sum(axis=1).min() > 0.5


def test_nothing_at_all_is_no_trouble():
    nothing = np.zeros((33, 47), np.float32)
    picture = np.full((33, 47, 3), 0.4, np.float32)
    config = EdgesConfig(despeckle=0.1, fill=0.1, choke=1, feather=1, extend=True, despill=1)
    for way in (ForegroundFrom.unmix, ForegroundFrom.blur):
        config.foreground = way
        for level in (nothing, nothing + 1):
            matte = Matte(torch.from_numpy(level)[None], torch.full((3, 33, 47), 0.4))
            image = torch.from_numpy(picture).permute(2, 0, 1)
            edited = Edges(config)(matte, image, image)
            assert edited.foreground.isfinite().all()
            torch.testing.assert_close(edited.alpha, matte.alpha)


def test_edges_none_changes_nothing_and_standard_keeps_colours_outside(matte, shoot, tmp_path):
    flat = ["outputs=lossless", "data.pha=null"]
    for name, extra in (("plain", []), ("none", ["edges=none"]), ("standard", ["edges=standard"])):
        assert matte(*flat, *extra, f"output_dir={name}").code == 0
    for kind in KINDS:
        file = f"{kind}/tripod/lemur-brook.png"
        plain = (tmp_path / "plain" / file).read_bytes()
        assert plain == (tmp_path / "none" / file).read_bytes()
    standard, plain = (
        np.asarray(Image.open(tmp_path / run / "com/tripod/lemur-brook.png"))
        for run in ("standard", "plain")
    )
    outside = (standard[:, :, 3] == 0) & (plain[:, :, 3] == 0)
    assert plain[outside].max() == 0
    assert standard[outside][:, :3].min(axis=0).max() > 0
    timings = records(tmp_path / "standard")["tripod/lemur-brook"]["timings"]
    assert 0 < timings["edges_ms"] <= timings["layers_ms"]
    assert records(tmp_path / "plain")["tripod/lemur-brook"]["timings"]["edges_ms"] is None
    settings = json.loads((tmp_path / "standard/run.json").read_text())["config"]["edges"]
    assert (settings["foreground"], settings["extend"]) == ("unmix", True)
    again = matte(*flat, "output_dir=standard", "on_existing=resume")
    assert again.code == 2
    assert "edges.foreground: was unmix, is network" in again.err


def test_garbage_mattes(matte, shoot, tmp_path):
    masks = tmp_path / "masks/product"
    masks.mkdir(parents=True)
    mask = np.zeros((90, 60), np.uint8)  # half the photograph's size
    mask[:, :30] = 255
    Image.fromarray(mask).save(masks / "teapot.png")
    one = [
        "outputs.types=[pha]",
        "outputs.pha.format=png",
        "edges.garbage=masks/product/teapot.png",
    ]
    product = [f"data.src={shoot.src}/product", f"data.bgr={shoot.bgr}/product"]
    assert matte(*one, *product).code == 0
    stored = np.asarray(Image.open(tmp_path / "out/pha/teapot.png"))
    assert stored[:, 62:].max() == 0
    assert stored[:, :58].max() == 255
    kept = records(tmp_path / "out")["teapot"]["inputs"]["garbage"]
    assert kept["path"].endswith("teapot.png")
    missing = matte("edges.garbage=masks", "output_dir=other")
    assert missing.code == 2
    assert "photograph without a mask" in missing.err
    assert "tripod/lemur-brook" in missing.err
    Image.fromarray(mask.T).save(masks / "teapot.png")
    assert matte(*one, *product, "output_dir=third").code == 1
    assert "of another shape" in records(tmp_path / "third")["teapot"]["error"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("edges.despeckle=2", "edges.despeckle=2.0: must be from 0 to 1"),
        ("edges.black=1", "edges.black=1.0 does not fit edges.white=1.0"),
        ("edges.gamma=0", "edges.gamma=0.0: must be from 0.1 to 10"),
        ("edges.gamma=nan", "edges.gamma=nan: must be"),
        ("edges.choke=-200", "edges.choke=-200.0: must be from -100 to 100"),
        ("edges.feather=-1", "edges.feather=-1.0: must be from 0"),
        ("edges.foreground=magic", "expected one of [network, ml, unmix, blur]"),
        ("edges.pull=0", "edges.pull=0.0: must be above 0"),
        ("edges.seed=0", "edges.seed=0.0: must be above 0"),
        ("edges.garbage=nowhere", "nowhere: no such file or directory"),
        ("edges=hard", "edges=hard: no such choice; there are none, standard"),
        ("edges.chock=1", "did you mean edges.choke?"),
    ],
)
def test_bad_edges_are_refused_before_any_work(matte, tmp_path, setting, message):
    outcome = matte(setting)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "out/images.jsonl").exists()


def test_a_missing_extra_is_said_in_one_sentence(matte, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymatting", None)
    outcome = matte("edges.foreground=ml")
    assert outcome.code == 2
    assert outcome.err.strip() == (
        "bgm: edges.foreground=ml needs pymatting: pip install 'bgm[ml]', or choose unmix"
    )


def test_edges_from_python(mixed):
    photo, plate, soft, true = mixed
    matte = Matte(torch.from_numpy(soft)[None], torch.from_numpy(photo).permute(2, 0, 1))
    edited = edit_edges(matte, photo, plate, pull=0.01)
    band = (soft > 0.1) & (soft < 0.9)
    before, after = (
        np.abs(m.foreground.permute(1, 2, 0).numpy() - true)[band].mean() for m in (matte, edited)
    )
    assert after < 0.3 * before
    torch.testing.assert_close(edited.alpha, matte.alpha)
    for settings, message in (({"chock": 1}, "chock"), ({"foreground": "magic"}, "foreground")):
        with pytest.raises(ConfigError, match=message):
            edit_edges(matte, photo, plate, **settings)
    with pytest.raises(ConfigError, match="there are none, standard"):
        edit_edges(matte, photo, plate, "hard")


def test_the_error_of_a_recomposite():
    true = np.full((4, 6, 3), 200, np.uint8)
    full = np.full((4, 6), 255, np.uint8)
    assert recomposite_mse(true, true, full, full) == 0
    assert recomposite_mse(true - 51, true, full, full) == pytest.approx(0.04)
    # Where alpha is missing, black lets the subject through less, white more.
    half = np.full((4, 6), 51, np.uint8)
    expected = ((0.8 * 200 / 255) ** 2 + (0.8 * (1 - 200 / 255)) ** 2) / 2
    assert recomposite_mse(true, true, half, full) == pytest.approx(expected, rel=1e-5)
    assert recomposite_mse(true, true, full, full, np.zeros((4, 6), np.uint8)) is None


def test_runs_with_true_foregrounds_are_scored_by_their_recomposite(matte, shoot, tmp_path):
    for path in shoot.src.rglob("*.jpg"):
        target = tmp_path / "truth" / path.relative_to(shoot.src).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), cv2.imread(str(path)))
    outcome = matte(f"data.pha={shoot.pha}", "data.fgr=truth", "outputs.types=[pha]")
    assert outcome.code == 0
    assert 0 < records(tmp_path / "out")["product/teapot"]["scores"]["com_mse"] < 0.2
