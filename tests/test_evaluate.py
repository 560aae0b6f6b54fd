"""`bgm-evaluate`, and scores of a run as it goes on."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from conftest import records
from PIL import Image

from bgm.cli import commands as cli
from bgm.evaluation import alpha_errors

NAMES = ["product/teapot", "tripod/lemur-brook", "tripod/lemur-mountain"]


@pytest.fixture
def evaluate(bgm):
    return lambda *arguments: bgm(*arguments, command=cli.EVALUATE)


@pytest.fixture
def other(shoot, tmp_path):
    """Mattes of another tool: cut-outs whose alpha channel is the matte, a little too bright."""
    for name in NAMES:
        alpha = Image.open(shoot.pha / f"{name}.png").point(lambda value: min(255, value + 20))
        cutout = Image.new("RGBA", alpha.size, (200, 30, 30, 0))
        cutout.putalpha(alpha)
        path = tmp_path / "other" / f"{name}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        cutout.save(path, lossless=True)
    return tmp_path / "other"


def test_mattes_of_another_tool_are_scored(evaluate, shoot, other, tmp_path):
    outcome = evaluate(f"pred={other}", f"true={shoot.pha}", "output_dir=scores")
    assert outcome.code == 0
    for heading in ("MSE x1000", "SAD /1000", "Grad /1000", "Conn /1000", "MAD x1000", "mean"):
        assert heading in outcome.out
    stored = json.loads((tmp_path / "scores/scores.json").read_text())
    rows = {row["name"]: row["scores"] for row in stored["rows"]}
    assert sorted(rows) == NAMES
    for name, scores in rows.items():
        true = np.asarray(Image.open(shoot.pha / f"{name}.png"))
        pred = np.asarray(Image.open(other / f"{name}.webp"))[:, :, 3]
        assert scores == pytest.approx(alpha_errors(pred, true))
    assert stored["mean"]["mad"] == pytest.approx(np.mean([s["mad"] for s in rows.values()]))
    with (tmp_path / "scores/scores.csv").open() as file:
        table = {row["name"]: row for row in csv.DictReader(file)}
    teapot = table["product/teapot"]
    assert float(teapot["MAD x1000"]) == pytest.approx(rows["product/teapot"]["mad"] * 1000)
    assert float(teapot["Grad /1000"]) == pytest.approx(rows["product/teapot"]["grad"] / 1000)


def test_a_trimap_restricts_the_comparison(evaluate, shoot, other, tmp_path):
    for name in NAMES:
        path = tmp_path / "trimap" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        trimap = np.zeros(Image.open(shoot.pha / f"{name}.png").size[::-1], np.uint8)
        trimap[:90] = 128
        Image.fromarray(trimap).save(path)
    arguments = [f"pred={other}", f"true={shoot.pha}", f"trimap={tmp_path / 'trimap'}"]
    assert evaluate(*arguments, "output_dir=scores").code == 0
    stored = json.loads((tmp_path / "scores/scores.json").read_text())
    row = next(row for row in stored["rows"] if row["name"] == "product/teapot")
    true = np.asarray(Image.open(shoot.pha / "product/teapot.png"))[:90]
    pred = np.asarray(Image.open(other / "product/teapot.webp"))[:90, :, 3]
    assert row["scores"]["mse"] == pytest.approx(alpha_errors(pred, true)["mse"])


def test_the_unknown_region_is_derived_from_the_truth(evaluate, shoot, other, tmp_path):
    arguments = [f"pred={other}", f"true={shoot.pha}"]
    evaluate(*arguments, "output_dir=whole")
    evaluate(*arguments, "output_dir=band", "scores.region=unknown", "scores.band=4")
    means = [
        json.loads((tmp_path / f"{name}/scores.json").read_text())["mean"]["mse"]
        for name in ("whole", "band")
    ]
    assert means[0] != means[1]


def test_partners_that_are_missing(evaluate, shoot, other, tmp_path):
    (other / "product/teapot.webp").rename(other / "product/kettle.webp")
    arguments = [f"pred={other}", f"true={shoot.pha}"]
    outcome = evaluate(*arguments)
    assert outcome.code == 2
    assert "product/kettle: no pha" in outcome.err
    outcome = evaluate(*arguments, "unmatched=skip", "output_dir=scores")
    assert outcome.code == 0
    assert "2 mattes, 2 unmatched; the worst first" in outcome.out
    assert "product/kettle: matte without a truth" in outcome.out
    assert "product/teapot: truth without a matte" in outcome.out
    stored = json.loads((tmp_path / "scores/scores.json").read_text())
    assert (stored["failed"], stored["unmatched"]) == (0, 2)


def test_no_matte_with_a_partner_is_nothing_to_do(evaluate, shoot, other):
    shoot.pha.rename(shoot.root / "true")
    (shoot.root / "true" / "product").rename(shoot.root / "true" / "elsewhere")
    (other / "tripod").rename(other.parent / "tripod")
    outcome = evaluate(f"pred={other}", f"true={shoot.root / 'true'}", "unmatched=skip")
    assert outcome.code == 2
    assert "no matte in pred=" in outcome.err


def test_a_matte_without_a_trimap_is_not_scored_by_another_region(evaluate, shoot, other, tmp_path):
    trimap = tmp_path / "trimap/product/teapot.png"
    trimap.parent.mkdir(parents=True)
    Image.new("L", Image.open(shoot.pha / "product/teapot.png").size, 128).save(trimap)
    arguments = [f"pred={other}", f"true={shoot.pha}", f"trimap={tmp_path / 'trimap'}"]
    outcome = evaluate(*arguments, "unmatched=skip")
    assert outcome.code == 0
    assert "1 mattes, 2 unmatched" in outcome.out
    assert "tripod/lemur-brook: matte without a trimap" in outcome.out


def test_one_true_matte_does_not_score_several(evaluate, matte, shoot, other, tmp_path):
    """Once it silently scored every matte of its size."""
    one = shoot.pha / "product/teapot.png"
    outcome = evaluate(f"pred={other}", f"true={one}", "unmatched=skip")
    assert outcome.code == 2
    assert "teapot.png is one file (pha), but there are 3 images to compare" in outcome.err
    outcome = matte(f"data.pha={one}", "data.unmatched=skip")
    assert outcome.code == 2
    assert "teapot.png is one file (pha), but there are 3 images to compare" in outcome.err
    outcome = evaluate(f"pred={other / 'product/teapot.webp'}", f"true={one}")
    assert outcome.code == 0


def test_a_matte_of_another_size_is_named(evaluate, shoot, other):
    Image.new("L", (5, 5)).save(other / "product/teapot.webp")
    outcome = evaluate(f"pred={other}", f"true={shoot.pha}")
    assert outcome.code == 1
    assert "the matte is 5x5 but the true pha" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pred=nowhere", "true=nowhere"], "pred="),
        (["pred=."], "missing; pass true=..."),
        (["pred=.", "true=.", "regio=1"], "regio: unknown key; the keys are pred, true"),
        (["pred=.", "true=.", "trimap=.", "scores.region=whole"], "leave one out"),
        (["pred=.", "true=."], "no images"),
        (["pred=.", "true=.", "scores.band=501"], "scores.band=501: must be from 1 to 500"),
    ],
)
def test_bad_settings(evaluate, arguments, message):
    outcome = evaluate(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_a_run_is_scored_as_it_goes_on(matte, shoot, tmp_path):
    fgr = [f"data.fgr={shoot.src}", "outputs=lossless", "outputs.pha.bits=8"]
    outcome = matte(f"data.pha={shoot.pha}", *fgr)
    assert outcome.code == 0
    assert "mean of 3 images" in outcome.out
    found = records(tmp_path / "out")
    for name in NAMES:
        stored = np.asarray(Image.open(tmp_path / f"out/pha/{name}.png"))
        true = np.asarray(Image.open(shoot.pha / f"{name}.png"))
        scores = dict(found[name]["scores"])
        assert 0 < scores.pop("fg_mse") < 1
        assert 0 < scores.pop("com_mse") < 1
        assert scores == pytest.approx(alpha_errors(stored, true))
        assert found[name]["timings"]["score_ms"] > 0
    summary = json.loads((tmp_path / "out/run.json").read_text())["summary"]
    assert summary["scored"] == 3
    mean = np.mean([record["scores"]["mse"] for record in found.values()])
    assert summary["scores"]["mse"] == pytest.approx(mean)


def test_truths_that_are_missing_or_do_not_fit(matte, shoot, tmp_path):
    Image.new("L", (5, 5)).save(shoot.pha / "product/teapot.png")
    (shoot.pha / "tripod/lemur-brook.png").unlink()
    outcome = matte(f"data.pha={shoot.pha}")
    assert outcome.code == 2
    assert "tripod/lemur-brook: no pha" in outcome.err
    outcome = matte(f"data.pha={shoot.pha}", "data.unmatched=skip")
    assert outcome.code == 0
    found = records(tmp_path / "out")
    assert found["product/teapot"]["status"] == "written"
    assert "not scored: the matte is 120x180" in found["product/teapot"]["error"]
    assert found["tripod/lemur-brook"]["scores"] == {}
    assert found["tripod/lemur-mountain"]["scores"]["mse"] > 0


def test_scoring_settings_must_fit_together(matte, shoot):
    outcome = matte(f"data.trimap={shoot.pha}")
    assert outcome.code == 2
    assert "data.trimap is for scoring, which needs data.pha too" in outcome.err
