"""A matte is checked by its photograph and plate, without truth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import DEMO, records
from PIL import Image

from bgm.data import read_alpha, read_image
from bgm.data.residual import CHECK_SIDE, residual
from bgm.data.shrink import shrink
from bgm.evaluation.check import check


@pytest.fixture(scope="module")
def pair():
    src, bgr = (read_image(DEMO / kind / "product/teapot.jpg") for kind in ("src", "bgr"))
    alpha = read_alpha(DEMO / "pha/product/teapot.png")
    return src, bgr, alpha


def matte_of(src, alpha):
    return np.dstack([src, alpha])


def test_a_true_matte_is_less_suspect_than_wrong_ones(pair):
    src, bgr, alpha = pair
    missed = alpha.copy()
    missed[:, alpha.shape[1] // 2 :] = 0
    soft = cv2.GaussianBlur(alpha, (0, 0), 40)

    def examine(alpha):
        return check(*(shrink(picture, CHECK_SIDE) for picture in (src, bgr, matte_of(src, alpha))))

    true = examine(alpha)
    assert examine(soft).suspicion > true.suspicion
    assert examine(missed).missed > 2 * true.missed + 0.01
    assert examine(missed).residual_background > true.residual_background
    assert 0 <= true.suspicion <= 1
    left = residual(src, bgr, matte_of(src, missed))
    assert left[alpha == 0].mean() < 0.1 < left[(alpha == 255) & (missed == 0)].mean()


def test_a_run_checks_every_matte_and_names_those_that_need_eyes(matte, tmp_path):
    outcome = matte("suspect_above=0", "outputs.types=[pha,chk]", "on_suspect=copy")
    assert outcome.code == 0
    found = records(tmp_path / "out")
    assert all(r["check"]["needs_eyes"] for r in found.values())
    assert all("needs eyes: suspicion" in r["remarks"][-1] for r in found.values())
    assert "these 3 of 3 need eyes: " in outcome.out + outcome.err
    for name in found:
        for kind in ("pha", "chk"):
            stored = tmp_path / f"out/{kind}/{name}.jpg"
            copied = tmp_path / f"out/suspects/{kind}/{name}.jpg"
            assert copied.read_bytes() == stored.read_bytes()
    map_ = np.asarray(Image.open(tmp_path / "out/chk/product/teapot.jpg"))
    assert map_.ndim == 2
    assert map_.max() > 100 > map_.mean()
    # Another threshold is no other run: what is there is judged anew.
    kept = ["outputs.types=[pha,chk]", "on_existing=resume"]
    above = sorted(r["check"]["suspicion"] for r in found.values())[-2]
    again = matte(*kept, f"suspect_above={above}", "on_suspect=fail")
    assert again.code == 0, again.err
    assert "these 1 of 3 need eyes: " in again.out + again.err
    judged = records(tmp_path / "out")
    for name, before in found.items():
        needs_eyes = before["check"]["suspicion"] > above
        assert judged[name]["check"] == {**before["check"], "needs_eyes": needs_eyes}
        assert any("needs eyes" in remark for remark in judged[name]["remarks"]) == needs_eyes


def test_suspects_can_fail(matte, tmp_path):
    outcome = matte("suspect_above=0", "on_suspect=fail")
    assert outcome.code == 1
    for record in records(tmp_path / "out").values():
        assert record["status"] == "failed"
        assert "contradicts its photograph: suspicion" in record["error"]
    assert not list((tmp_path / "out").rglob("*.png"))


@pytest.mark.parametrize("setting", ["on_suspect=ask", "suspect_above=2", "suspect_above=-0.1"])
def test_bad_values_are_refused(matte, setting):
    outcome = matte(setting)
    assert outcome.code == 2
    assert setting.partition("=")[0] in outcome.err
