"""A whole run, from the command line to the files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest
from conftest import DEMO, NAMES, files, records
from omegaconf import OmegaConf
from PIL import Image

from bgm import load_matting, to_image
from bgm.outputs import Writer
from bgm.records.record import ImageRecord


def test_records_of_every_image(matte, shoot, tmp_path):
    outcome = matte("data.align=true")
    assert outcome.code == 0
    found = records(tmp_path / "out")
    assert sorted(found) == NAMES
    record = found["product/teapot"]
    assert (record["status"], record["error"]) == ("written", None)
    assert (record["width"], record["height"]) == (120, 180)
    assert 0 < record["refined"] <= 1
    assert set(record["alignment"]) == {
        "applied",
        "reason",
        "matches",
        "inliers",
        "shift_px",
        "homography",
    }
    timings = record["timings"]
    for stage in ("load", "align", "forward", "layers", "encode", "write_wait", "total"):
        assert timings[f"{stage}_ms"] >= 0
    assert timings["total_ms"] > timings["forward_ms"] > 0


def test_summary_of_the_run(matte, tmp_path):
    matte()
    run = json.loads((tmp_path / "out/run.json").read_text())
    summary = run["summary"]
    assert (summary["status"], summary["images"], summary["written"]) == ("finished", 3, 3)
    assert summary["failed"] == summary["skipped"] == 0
    times = [record["timings"]["total_ms"] for record in records(tmp_path / "out").values()]
    least = max(times) / 1000  # from the first decode to the last file, so no less than any image
    assert least <= 3 / summary["images_per_second"] * 1.01 <= summary["seconds"] * 1.02
    assert set(summary["stages"]["forward"]) == {"median_ms", "p95_ms"}
    assert len(run["checkpoint"]["sha256"]) == 64
    assert {"bgm", "python", "torch", "hydra-core"} <= set(run["versions"])
    assert run["machine"]["threads"] >= 1
    assert run["config"]["refine"]["sample_pixels"] == "auto"


def test_snapshot_of_the_configuration(matte, shoot, tmp_path):
    matte("refine.sample_pixels=1000")
    snapshot = OmegaConf.load(tmp_path / "out/.hydra/config.yaml")
    assert snapshot.refine.sample_pixels == 1000
    assert snapshot.data.src == str(shoot.src)
    overrides = OmegaConf.load(tmp_path / "out/.hydra/overrides.yaml")
    assert "refine.sample_pixels=1000" in overrides
    assert "hydra" in OmegaConf.load(tmp_path / "out/.hydra/hydra.yaml")


def test_the_command_and_the_python_api_agree(matte, shoot, tmp_path):
    matte("outputs=lossless", "outputs.pha.bits=8")
    images = [Image.open(shoot.root / kind / "tripod/lemur-brook.jpg") for kind in ("src", "bgr")]
    expected = np.asarray(to_image(load_matting()(*images).alpha))
    stored = np.asarray(Image.open(tmp_path / "out/pha/tripod/lemur-brook.png"))
    np.testing.assert_allclose(stored.astype(int), expected, atol=1)


def test_what_the_terminal_shows(matte, tmp_path):
    outcome = matte()
    assert "3/3" in outcome.out
    assert "3 written" in outcome.out
    assert "images/s" in outcome.out
    assert "forward" in outcome.out
    assert str(tmp_path / "out") in outcome.out
    assert "\x1b[" not in outcome.out


def test_a_bad_photograph_does_not_take_the_batch_down(matte, shoot, tmp_path):
    (shoot.src / "product/teapot.jpg").write_bytes(b"")
    outcome = matte()
    assert outcome.code == 1
    found = records(tmp_path / "out")
    assert found["product/teapot"]["status"] == "failed"
    assert "teapot.jpg is empty" in found["product/teapot"]["error"]
    assert [found[name]["status"] for name in NAMES[1:]] == ["written"] * 2
    assert "product/teapot: failed" in outcome.out
    assert "2 written, 1 failed" in outcome.out
    assert not (tmp_path / "out/pha/product").exists()


def test_a_background_of_another_size_is_reported_against_its_image(matte, shoot, tmp_path):
    path = shoot.bgr / "product/teapot.jpg"
    Image.open(path).resize((60, 90)).save(path)
    assert matte().code == 1
    assert "background 60x90" in records(tmp_path / "out")["product/teapot"]["error"]
    assert matte("data.resize_background=true", "output_dir=again").code == 0


def test_a_write_that_fails_is_reported_against_its_image(matte, tmp_path):
    (tmp_path / "out/pha").mkdir(parents=True)
    (tmp_path / "out/pha/product").touch()
    outcome = matte()
    assert outcome.code == 1
    record = records(tmp_path / "out")["product/teapot"]
    assert record["status"] == "failed"
    assert "teapot.jpg cannot be written" in record["error"]
    assert not list((tmp_path / "out").rglob("*.part"))


def test_unmatched_files_are_refused_or_skipped_and_recorded(matte, shoot, tmp_path):
    (shoot.bgr / "product/teapot.jpg").rename(shoot.bgr / "product/kettle.jpg")
    outcome = matte()
    assert outcome.code == 2
    assert "product/teapot: source without a background" in outcome.err
    assert "product/kettle: background without a source" in outcome.err
    assert not (tmp_path / "out/images.jsonl").exists()
    outcome = matte("data.unmatched=skip")
    assert outcome.code == 0
    assert "2 unmatched" in outcome.out
    assert records(tmp_path / "out")["product/kettle"]["status"] == "unmatched"


def test_no_pair_at_all_is_nothing_to_do(matte, shoot):
    shoot.bgr.rename(shoot.root / "bgr-of-old")
    (shoot.bgr / "other").mkdir(parents=True)
    outcome = matte("data.unmatched=skip")
    assert outcome.code == 2
    assert "no photograph has a background" in outcome.err


def test_an_empty_directory_is_nothing_to_do(bgm, tmp_path):
    (tmp_path / "empty").mkdir()
    outcome = bgm("data=folders", "data.src=empty", "data.bgr=empty")
    assert outcome.code == 2
    assert "no images in" in outcome.err


def test_existing_outputs(matte, tmp_path):
    assert matte().code == 0
    snapshot = (tmp_path / "out/.hydra/config.yaml").read_text()
    outcome = matte("seed=7")
    assert outcome.code == 2
    assert "com/product/teapot.png" in outcome.err
    assert "on_existing=skip" in outcome.err
    assert (tmp_path / "out/.hydra/config.yaml").read_text() == snapshot

    teapot = tmp_path / "out/com/product/teapot.png"
    teapot.unlink()
    brook = (tmp_path / "out/com/tripod/lemur-brook.png").stat().st_mtime_ns
    assert matte("on_existing=skip").code == 0
    assert teapot.exists()
    assert (tmp_path / "out/com/tripod/lemur-brook.png").stat().st_mtime_ns == brook
    found = records(tmp_path / "out")
    assert found["tripod/lemur-brook"]["status"] == "skipped"
    assert found["tripod/lemur-brook"]["width"] == 144
    assert found["tripod/lemur-brook"]["timings"]["forward_ms"] > 0
    assert found["product/teapot"]["status"] == "written"

    assert matte("on_existing=overwrite").code == 0
    assert (tmp_path / "out/com/tripod/lemur-brook.png").stat().st_mtime_ns > brook


def test_one_background_for_all_and_single_files(bgm, shoot, tmp_path):
    for name in ("one", "two"):
        source = shoot.src / "tripod/lemur-brook.jpg"
        (tmp_path / "many").mkdir(exist_ok=True)
        (tmp_path / f"many/{name}.jpg").write_bytes(source.read_bytes())
    plate = f"data.bgr={shoot.bgr}/tripod/lemur-brook.jpg"
    assert bgm("data=folders", "data.src=many", plate, "output_dir=a").code == 0
    assert sorted(records(tmp_path / "a")) == ["one", "two"]
    assert bgm("data=folders", "data.src=many/one.jpg", plate, "output_dir=b").code == 0
    assert "com/one.png" in files(tmp_path / "b")


def test_photographs_of_ones_own_need_no_more_than_their_paths(bgm, shoot, tmp_path):
    outcome = bgm(f"data.src={shoot.src}", f"data.bgr={shoot.bgr}", "output_dir=out")
    assert outcome.code == 0
    assert sorted(records(tmp_path / "out")) == NAMES


def test_base_model(matte, tmp_path):
    outcome = matte("model=base", "outputs.types=[pha,err]")
    assert outcome.code == 0
    assert "left out the refiner's 20 tensors" in outcome.out
    assert records(tmp_path / "out")["product/teapot"]["refined"] is None


@pytest.mark.parametrize("mode", ["sampling", "thresholding", "full"])
def test_refinement_modes(matte, tmp_path, mode):
    assert matte(f"refine={mode}", "outputs.types=[pha]").code == 0
    share = records(tmp_path / "out")["product/teapot"]["refined"]
    assert share == 1 if mode == "full" else 0 < share < 1


def test_a_sweep_writes_a_run_per_job(matte, tmp_path):
    outcome = matte("-m", "preset=hd", "refine.sample_pixels=160,1600", "outputs.types=[pha]")
    assert outcome.code == 0
    shares = [records(tmp_path / f"out/{job}")["product/teapot"]["refined"] for job in (0, 1)]
    assert shares == [pytest.approx(10 / 1350, abs=1e-6), pytest.approx(100 / 1350, abs=1e-6)]


def test_a_sweep_with_a_bad_job_goes_on_and_says_so(matte, tmp_path):
    outcome = matte("-m", "refine.threshold=2,0.5", "outputs.types=[pha]")
    assert outcome.code == 1
    assert "refine.threshold=2.0: must be" in outcome.err
    assert "1 of 2 jobs failed:\n  0 (" in outcome.err
    assert len(records(tmp_path / "out/1")) == 3


def test_a_job_that_cannot_start_leaves_its_reason(matte, tmp_path):
    outcome = matte("experiment=compare_backbones", "outputs.types=[pha]", "-m")
    assert outcome.code == 1
    assert "2 of 3 jobs failed" in outcome.err
    for job in (1, 2):
        status = json.loads((tmp_path / f"out/{job}/status.json").read_text())
        assert status["exit_code"] == 2
        assert "no checkpoint for backbone=resnet" in status["error"]
        assert not (tmp_path / f"out/{job}/run.json").exists()  # or it could not be done later
    assert len(records(tmp_path / "out/0")) == 3


def test_a_sweep_that_is_refused_leaves_what_is_there(matte, tmp_path):
    sweep = ["-m", "refine.sample_pixels=160,1600", "outputs.types=[pha]"]
    assert matte(*sweep).code == 0
    before = {job: (tmp_path / f"out/{job}/images.jsonl").read_text() for job in (0, 1)}
    outcome = matte(*sweep)
    assert outcome.code == 2
    assert "on_existing=resume" in outcome.err
    for job, text in before.items():
        assert (tmp_path / f"out/{job}/images.jsonl").read_text() == text
    assert matte(*sweep, "on_existing=resume").code == 0


def test_a_run_that_breaks_says_so_in_its_summary(matte, tmp_path, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr("bgm.runs.engines.prefetch", broken)
    with pytest.raises(RuntimeError, match="nobody foresaw this"):
        matte()
    summary = json.loads((tmp_path / "out/run.json").read_text())["summary"]
    assert summary["status"] == "failed"
    assert "RuntimeError: nobody foresaw this" in summary["error"]


def test_the_demo_runs_from_any_directory_and_aligns_the_handheld_pair(bgm, tmp_path):
    outcome = bgm("outputs=lossless", "outputs.pha.bits=8", "output_dir=demo")
    assert outcome.code == 0
    found = records(tmp_path / "demo")
    assert len(found) == 4
    assert {name for name, r in found.items() if r["alignment"]["applied"]} == {"handheld/backpack"}
    limits = {"tripod/lemur-mountain": 8, "tripod/lemur-brook": 12, "product/teapot": 4}
    for name, limit in {**limits, "handheld/backpack": 2.5}.items():
        alpha = np.asarray(Image.open(tmp_path / f"demo/pha/{name}.png")).astype(float)
        truth = np.asarray(Image.open(DEMO / f"pha/{name}.png")).astype(float)
        assert np.abs(alpha - truth).mean() / 255 * 1000 < limit, name


def test_interrupting_keeps_what_is_finished_and_exits_130(shoot, tmp_path):
    for index in range(40):
        for folder in (shoot.src, shoot.bgr):
            source = (folder / "product/teapot.jpg").read_bytes()
            (folder / f"product/copy{index:02}.jpg").write_bytes(source)
    command = [sys.executable, "-m", "bgm", "data=folders", "output_dir=out"]
    process = subprocess.Popen(
        [*command, f"data.src={shoot.src}", f"data.bgr={shoot.bgr}"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    for line in process.stdout:
        if line.startswith("2/"):
            process.terminate()
            break
    process.stdout.read()
    assert process.wait(60) == 130
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["summary"]["status"] == "interrupted"
    done = records(tmp_path / "out")
    assert 2 <= len(done) < 43
    for record in done.values():
        for path in record["files"].values():
            Image.open(tmp_path / "out" / path).load()
    assert not list((tmp_path / "out").rglob("*.part"))


def test_the_writer_holds_inference_back_when_it_is_full():
    release, running, most = threading.Event(), [], []

    def finish(record):
        running.append(record)
        most.append(len(running))
        release.wait(10)
        running.remove(record)
        return record

    def submit(name):
        record = ImageRecord(name)
        writer.submit(record, partial(finish, record))

    with Writer(workers=2) as writer:
        submit("a")
        submit("b")
        late = threading.Thread(target=submit, args=["c"])
        late.start()
        late.join(0.1)
        assert late.is_alive()  # there is no place for it
        release.set()
        late.join(10)
        assert not late.is_alive()
        assert {record.name for record in writer.drain()} == {"a", "b", "c"}
    assert max(most) == 2
