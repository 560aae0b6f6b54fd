"""A run repeated from its snapshot."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from bgm.networks.checkpoints import SHIPPED

SETTINGS = ["refine.sample_pixels=1600", "outputs=lossless", "data.align=true"]


@pytest.fixture
def first(matte, tmp_path):
    assert matte(*SETTINGS).code == 0
    return tmp_path / "out"


def test_a_repeated_run_is_bit_identical(first, bgm, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    outcome = bgm(f"repeat={first}", "output_dir=again", "tracking=files")
    assert outcome.code == 0
    assert torch.get_num_threads() == threads
    for path in sorted(first.rglob("pha/**/*.png")):
        again = elsewhere / "again" / path.relative_to(first)
        old, new = (np.asarray(Image.open(p)) for p in (path, again))
        assert old.dtype == np.uint16
        np.testing.assert_array_equal(old, new)
    settings = json.loads((elsewhere / "again/run.json").read_text())["config"]
    assert settings["refine"]["sample_pixels"] == 1600
    assert settings["repeat"] == str(first)


def test_changed_missing_and_new_inputs_are_named(first, bgm, shoot):
    changed = shoot.src / "product/teapot.jpg"
    changed.write_bytes(changed.read_bytes() + b"\0")
    for folder in (shoot.src, shoot.bgr):
        (folder / "tripod/lemur-brook.jpg").rename(folder / "tripod/new.jpg")
    outcome = bgm(f"repeat={first}", "output_dir=again")
    assert outcome.code == 2
    assert f"product/teapot (src): {changed} has changed" in outcome.err
    assert "tripod/lemur-brook: was part of the run, is not there now" in outcome.err
    assert "tripod/new: is there now" in outcome.err


def test_another_checkpoint_is_named(first, bgm, tmp_path):
    weights = load_file(SHIPPED / "mobilenetv2-refine.safetensors")
    weights["decoder.conv4.bias"] += 1
    save_file(weights, tmp_path / "other.safetensors")
    outcome = bgm(f"repeat={first}", "checkpoint=other.safetensors", "output_dir=again")
    assert outcome.code == 2
    assert "other.safetensors has SHA-256" in outcome.err


def test_moved_inputs_are_found_by_their_paths(first, bgm, shoot, tmp_path):
    shoot.root.rename(tmp_path / "moved")
    assert bgm(f"repeat={first}", "output_dir=again").code == 2
    paths = ["data.src=moved/src", "data.bgr=moved/bgr"]
    assert bgm(f"repeat={first}", *paths, "output_dir=again", "tracking=files").code == 0


def test_other_settings_are_refused(first, bgm):
    outcome = bgm(f"repeat={first}", "refine=full", "output_dir=again")
    assert outcome.code == 2
    assert "refine cannot be given with repeat" in outcome.err
    assert "repeat=" in bgm("repeat=nowhere").err


def test_another_version_is_remarked_on(first, bgm):
    run = json.loads((first / "run.json").read_text())
    run["versions"]["torch"] = "1.0"
    (first / "run.json").write_text(json.dumps(run))
    outcome = bgm(f"repeat={first}", "output_dir=again", "tracking=files")
    assert outcome.code == 0
    assert "torch is" in outcome.out
    assert "the run had 1.0" in outcome.out


def test_a_run_with_a_failure_can_be_repeated(matte, bgm, shoot, tmp_path):
    (shoot.src / "product/teapot.jpg").write_bytes(b"no picture")
    assert matte().code == 1
    outcome = bgm(f"repeat={tmp_path}/out", "output_dir=again", "tracking=files")
    assert outcome.code == 1, outcome.err
    assert "teapot.jpg is not an image" in outcome.out
