"""Ctrl-C, SIGTERM, kill -9, and going on afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import HELD_STORE, NAMES, records
from PIL import Image
from safetensors.torch import load_file, save_file

from bgm.networks.checkpoints import SHIPPED


@pytest.fixture
def many(shoot) -> list[str]:
    """Arguments for a shoot of 27 images."""
    for index in range(24):
        for folder in (shoot.src, shoot.bgr):
            data = (folder / "product/teapot.jpg").read_bytes()
            (folder / f"product/copy{index:02}.jpg").write_bytes(data)
    return ["data=folders", f"data.src={shoot.src}", f"data.bgr={shoot.bgr}", "tracking=files"]


def start(folder: Path, *arguments: str, free: int) -> subprocess.Popen:
    """bgm in a process of its own, which stores `free` pictures and holds the others."""
    code = HELD_STORE.format(free=free)
    return subprocess.Popen(
        [sys.executable, "-c", code, "output_dir=out", "outputs.workers=2", *arguments],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def wait_for(process: subprocess.Popen, beginning: str) -> None:
    for line in process.stdout:
        if line.startswith(beginning):
            return
    raise AssertionError(f"it never said {beginning}")


def assert_whole(folder: Path) -> dict[str, dict]:
    """Every file under a final name is whole, and the records can be read; they are returned."""
    for path in folder.rglob("*.*"):
        if path.suffix in (".png", ".jpg"):
            with Image.open(path) as image:
                image.load()
    found = {}
    for line in (folder / "images.jsonl").read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # at most the last one, cut short
            assert line == (folder / "images.jsonl").read_text().splitlines()[-1]
            continue
        found[record["name"]] = record
        assert all((folder / path).is_file() for path in record["files"].values())
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_what_is_under_way(many, tmp_path, number):
    process = start(tmp_path, *many, free=15)
    wait_for(process, "held")
    process.send_signal(number)
    wait_for(process, "stopping: images under way are finished first")
    process.stdin.close()
    assert "interrupted" in process.stdout.read()
    assert process.wait(60) == 130
    found = assert_whole(tmp_path / "out")
    assert 3 <= len(found) < 27
    assert {record["status"] for record in found.values()} == {"written"}
    summary = json.loads((tmp_path / "out/run.json").read_text())["summary"]
    assert (summary["status"], summary["written"]) == ("interrupted", len(found))
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_second_ctrl_c_stops_at_once(many, tmp_path):
    process = start(tmp_path, *many, free=0)
    wait_for(process, "held")
    process.send_signal(signal.SIGINT)
    wait_for(process, "stopping")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130  # its files are still held
    assert_whole(tmp_path / "out")


@pytest.mark.parametrize("images", [1, 14])
def test_kill_9_loses_nothing_that_was_finished(many, bgm, tmp_path, images):
    """Killed while pictures are on disk, but not yet under their names."""
    process = start(tmp_path, *many, free=3 * (images + 1))
    wait_for(process, f"{images}/27")
    wait_for(process, "held")
    process.kill()
    process.wait()
    assert list((tmp_path / "out").rglob("*.part"))
    before = assert_whole(tmp_path / "out")
    assert images <= len(before) < 27

    outcome = bgm(*many, "output_dir=out", "on_existing=resume")
    assert outcome.code == 0
    assert f"{len(before)} images are done already" in outcome.out
    found = assert_whole(tmp_path / "out")
    assert len(found) == 27
    assert sum(record["status"] == "skipped" for record in found.values()) == len(before)
    assert f"{len(before)} skipped" in outcome.out
    assert not list((tmp_path / "out").rglob("*.part"))


def test_resuming_does_what_is_missing_or_changed(matte, shoot, tmp_path):
    assert matte("on_existing=resume").code == 0
    (tmp_path / "out/pha/product/teapot.jpg").unlink()
    brook = shoot.src / "tripod/lemur-brook.jpg"
    pixels = np.asarray(Image.open(brook)) // 2
    Image.fromarray(pixels).save(brook)
    (shoot.src / "tripod/lemur-mountain.jpg").touch()  # another time, the same content
    assert matte("on_existing=resume").code == 0
    statuses = {name: record["status"] for name, record in records(tmp_path / "out").items()}
    assert statuses == dict(zip(NAMES, ["written", "written", "skipped"], strict=True))
    assert matte("on_existing=resume").code == 0
    assert {r["status"] for r in records(tmp_path / "out").values()} == {"skipped"}
    summary = json.loads((tmp_path / "out/run.json").read_text())["summary"]
    assert summary["images_per_second"] == 0  # what was there already is no work of this run


def test_failed_images_are_done_again(matte, shoot, tmp_path):
    good = (shoot.src / "product/teapot.jpg").read_bytes()
    (shoot.src / "product/teapot.jpg").write_bytes(b"")
    assert matte().code == 1
    (shoot.src / "product/teapot.jpg").write_bytes(good)
    assert matte("on_existing=resume").code == 0
    found = records(tmp_path / "out")
    assert found["product/teapot"]["status"] == "written"
    assert found["tripod/lemur-brook"]["status"] == "skipped"


def test_resuming_with_other_settings_is_refused_and_they_are_named(matte, tmp_path):
    assert matte().code == 0
    before = (tmp_path / "out/images.jsonl").read_text()
    outcome = matte("on_existing=resume", "refine.sample_pixels=5000", "outputs=lossless")
    assert outcome.code == 2
    assert "refine.sample_pixels: was auto, is 5000" in outcome.err
    assert "outputs.pha.format: was jpg, is png" in outcome.err
    assert (tmp_path / "out/images.jsonl").read_text() == before
    same = ["data.workers=1", "threads=1", "tracking.samples=2", "on_error=stop"]
    assert matte("on_existing=resume", *same).code == 0


def test_resuming_with_another_checkpoint_is_refused(matte, tmp_path):
    assert matte().code == 0
    weights = load_file(SHIPPED / "mobilenetv2-refine.safetensors")
    weights["decoder.conv4.bias"] += 0.01
    save_file(weights, tmp_path / "other.safetensors")
    outcome = matte("on_existing=resume", "checkpoint=other.safetensors")
    assert outcome.code == 2
    assert "other.safetensors is not the file that the run had" in outcome.err


def test_a_second_run_into_the_same_directory_is_refused(many, bgm, tmp_path):
    process = start(tmp_path, *many, free=6)
    try:
        wait_for(process, "1/27")
        for existing in ("resume", "overwrite", "error"):
            outcome = bgm(*many, "output_dir=out", f"on_existing={existing}")
            assert outcome.code == 2
            assert "another run is writing there" in outcome.err
    finally:
        process.kill()
        process.wait()
    assert bgm(*many, "output_dir=out", "on_existing=resume").code == 0
