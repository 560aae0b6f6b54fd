"""precision=int8: calibrated with pictures, kept for the next run, close to float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import NAMES, records
from PIL import Image

from bgm import load_matting
from bgm.errors import ConfigError
from bgm.inference import quantize
from bgm.inference.quantize import Calibration
from bgm.inference.runtimes import choose_runtime

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bgm" / "int8"


def test_it_is_close_repeats_and_is_calibrated_once(shoot, matte, cache, monkeypatch, tmp_path):
    calibrated = [f"calibration.{kind}={getattr(shoot, kind)}" for kind in ("src", "bgr")]
    outcome = matte("precision=int8", *calibrated, "data.pha=" + str(shoot.pha))
    assert outcome.code == 0, outcome.err
    assert "calibrating with 3 pictures" in outcome.out + outcome.err
    (kept,) = cache.iterdir()
    assert sorted(records(tmp_path / "out")) == NAMES
    calibration = Calibration(shoot.src, shoot.bgr)
    plain = load_matting(runtime=None)
    worst = {"openvino": 0.0, "onnx": 0.0}
    monkeypatch.setattr(quantize, "quantize", None)  # from here on it is at hand
    by_runtime = {
        name: load_matting(precision="int8", runtime=name, calibration=calibration)
        for name in worst
    }
    for name in NAMES:
        pair = [Image.open(folder / f"{name}.jpg") for folder in (shoot.src, shoot.bgr)]
        expected = plain(*pair).alpha
        for runtime, matting in by_runtime.items():
            alpha = matting(*pair).alpha
            worst[runtime] = max(worst[runtime], float((alpha - expected).abs().mean()))
            assert torch.equal(alpha, matting(*pair).alpha)
        stored = np.asarray(Image.open(tmp_path / "out" / "pha" / f"{name}.jpg"))
        got = by_runtime["openvino"](*pair).alpha[0].numpy() * 255
        assert np.abs(stored - got).mean() < 1.5  # of JPEG
    assert list(cache.iterdir()) == [kept]
    assert all(0 < difference < 2e-3 for difference in worst.values()), worst


def test_other_pictures_are_learned_from_anew(shoot, cache):
    calibration = Calibration(shoot.src / "product", shoot.bgr / "product")
    load_matting(precision="int8", model="base", calibration=calibration)
    calibration = Calibration(shoot.src / "tripod", shoot.bgr / "tripod")
    load_matting(precision="int8", model="base", calibration=calibration)
    assert len(list(cache.iterdir())) == 2


def test_what_cannot_be_is_refused_before_anything_is_written(matte, shoot, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (["runtime=eager"], "runtime=eager has no precision=int8"),
        ([f"calibration.src={tmp_path / 'empty'}"], "empty"),
        (["calibration.bgr=nowhere"], "nowhere"),
    ):
        outcome = matte("precision=int8", *arguments)
        assert outcome.code == 2, arguments
        assert message in outcome.err
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="int8 is for device=cpu"):
        choose_runtime("auto", torch.device("cuda"), "int8")
    monkeypatch.setattr("bgm.inference.runtimes.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install onnxruntime onnx"):
        choose_runtime("auto", CPU, "int8")


def test_a_cache_that_cannot_be_written_costs_only_time(shoot, cache, caplog):
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    calibration = Calibration(shoot.src / "product", shoot.bgr / "product")
    matting = load_matting(precision="int8", model="base", calibration=calibration)
    assert "not kept for the next run" in caplog.text
    pair = [Image.open(folder / "product/teapot.jpg") for folder in (shoot.src, shoot.bgr)]
    assert matting(*pair).alpha.isfinite().all()
