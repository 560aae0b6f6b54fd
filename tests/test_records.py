"""What a run leaves in its directory, and what it makes of what earlier runs left there."""

from __future__ import annotations

import json
import os
import signal
import time

import cv2
import pytest
from conftest import NAMES, files, records

from bgm.records.directory import RunDirectory
from bgm.records.record import ImageRecord, Timings
from bgm.records.summary import Tally
from bgm.tracking import TRACKERS

ALPHA = "outputs.types=[pha]"


@pytest.fixture
def watch(monkeypatch):
    """Register a tracker of the test's own as `tracking.name=watching`."""

    class Watching:
        def __init__(self, settings):
            self.summary = None
            Watching.last = self

        def start(self, run):
            self.started = time.perf_counter()

        def image(self, record, preview):
            pass

        def finish(self, summary):
            self.summary, self.finished = summary, time.perf_counter()

    monkeypatch.setitem(TRACKERS, "watching", Watching)
    return Watching


def stored(out):
    """The pictures of a run."""
    return [name for name in files(out) if name.split("/")[0] in ("com", "pha", "fgr")]


def test_overwriting_leaves_nothing_of_an_image_that_now_fails(matte, shoot, tmp_path):
    assert matte().code == 0
    (shoot.src / "product/teapot.jpg").write_bytes(b"no picture any more")
    assert matte("on_existing=overwrite").code == 1
    assert not [name for name in stored(tmp_path / "out") if "teapot" in name]
    assert len(stored(tmp_path / "out")) == 6


def test_overwriting_in_another_format_leaves_one_file_of_each(matte, tmp_path):
    assert matte(ALPHA).code == 0
    assert matte(ALPHA, "outputs.pha.format=png", "on_existing=overwrite").code == 0
    assert stored(tmp_path / "out") == [f"pha/{name}.png" for name in NAMES]


def test_a_failed_write_leaves_no_layer_of_its_image(matte, tmp_path):
    (tmp_path / "out/fgr").mkdir(parents=True)
    (tmp_path / "out/fgr/product").touch()  # where a directory must be
    assert matte().code == 1
    assert records(tmp_path / "out")["product/teapot"]["status"] == "failed"
    assert [name for name in stored(tmp_path / "out") if "product" in name] == ["fgr/product"]
    assert len(stored(tmp_path / "out")) == 1 + 6


def test_files_of_other_versions_are_read(tmp_path):
    (tmp_path / "run.json").write_text(
        json.dumps(
            {
                "version": 99,
                "summary": {"status": "finished", "images": 1, "phase_of_the_moon": 0.5},
                "checkpoint": {"sha256": "ab"},
            }
        )
    )
    line = {"name": "a", "status": "written", "timings": {"load_ms": 1.5, "dream_ms": 2}, "new": 1}
    (tmp_path / "images.jsonl").write_text(json.dumps(line) + '\n{"name": "cut o')
    directory = RunDirectory(tmp_path)
    run = directory.read_run()
    assert (run.summary.status, run.config, run.checkpoint_sha256) == ("finished", {}, "ab")
    (record,) = directory.read_records().values()
    assert (record.name, record.timings.load_ms, record.timings.total_ms) == ("a", 1.5, None)


def test_every_file_tells_its_version(matte, tmp_path):
    assert matte("-m", "refine.sample_pixels=160", ALPHA).code == 0
    texts = [(tmp_path / "out/0" / name).read_text() for name in ("run.json", "status.json")]
    texts += (tmp_path / "out/0/images.jsonl").read_text().splitlines()
    assert [json.loads(text)["version"] for text in texts] == [2] * (2 + 3)


def test_resuming_does_not_mind_a_seed_or_a_setting_that_is_new(matte, tmp_path):
    assert matte(ALPHA).code == 0
    path = tmp_path / "out/run.json"
    run = json.loads(path.read_text())
    del run["config"]["outputs"]["png_level"]  # as if an older bgm had not known it
    run["config"]["forgotten"] = 1
    path.write_text(json.dumps(run))
    assert matte(ALPHA, "on_existing=resume", "seed=5").code == 0
    outcome = matte(ALPHA, "on_existing=resume", "outputs.png_level=3")
    assert outcome.code == 2
    assert "outputs.png_level: was 1, is 3" in outcome.err


def test_speed_is_that_of_the_images_that_were_done(matte, tmp_path, watch):
    assert matte(ALPHA).code == 0
    (tmp_path / "out/pha/product/teapot.jpg").unlink()
    assert matte(ALPHA, "on_existing=resume", "tracking.name=watching").code == 0
    summary = watch.last.summary
    assert (summary.written, summary.skipped) == (1, 2)
    assert summary.images_per_second == pytest.approx(1 / summary.seconds, rel=0.05)
    assert summary.seconds <= watch.last.finished - watch.last.started


def test_ctrl_c_while_trackers_start_is_an_interruption(matte, tmp_path, watch, monkeypatch):
    monkeypatch.setattr(watch, "start", lambda self, run: os.kill(os.getpid(), signal.SIGINT))
    assert matte(ALPHA, "tracking.name=watching").code == 130
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert (run["summary"]["status"], run["summary"]["error"]) == ("interrupted", None)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_closed_terminal_is_an_interruption(matte, tmp_path, watch, monkeypatch):
    def hang_up(tracker, record, preview):
        monkeypatch.setattr(watch, "image", lambda *_: None)  # a second one would end it at once
        os.kill(os.getpid(), signal.SIGHUP)

    monkeypatch.setattr(watch, "image", hang_up)
    assert matte(ALPHA, "tracking.name=watching").code == 130
    for record in records(tmp_path / "out").values():
        assert cv2.imread(str(tmp_path / "out" / record["files"]["pha"])) is not None


def test_records_that_cannot_be_begun_are_told_and_lock_nothing(matte, tmp_path):
    (tmp_path / "out/images.jsonl/in the way").mkdir(parents=True)
    outcome = matte(ALPHA, "on_existing=overwrite")
    assert outcome.code == 1
    assert "images.jsonl cannot be written" in outcome.out
    assert stored(tmp_path / "out") == []
    (tmp_path / "out/images.jsonl/in the way").rmdir()
    (tmp_path / "out/images.jsonl").rmdir()
    assert matte(ALPHA, "on_existing=overwrite").code == 0


def test_figures_need_no_more_memory_for_more_images():
    tally = Tally()
    for number in range(25_000):
        timings = Timings(load_ms=float(number))
        tally.add(ImageRecord(str(number), timings=timings, scores={"mse": 1.0}))
    held = tally._stages["load_ms"]._values
    assert len(held) == 10_000
    summary = tally.summarize(25_000, 10.0)
    assert (summary.written, summary.scores) == (25_000, {"mse": 1.0})
    assert summary.stages["load"].median_ms == pytest.approx(12_500, rel=0.05)


def test_what_an_interrupted_overwriting_did_not_reach_is_replaced_by_the_next(
    matte, tmp_path, watch, monkeypatch
):
    out = tmp_path / "out"
    assert matte(ALPHA).code == 0
    overwrite = [ALPHA, "on_existing=overwrite"]
    with monkeypatch.context() as patch:
        patch.setattr(watch, "start", lambda self, run: os.kill(os.getpid(), signal.SIGINT))
        outcome = matte(*overwrite, "outputs.pha.format=webp", "tracking.name=watching")
    assert (outcome.code, stored(out)) == (130, [f"pha/{name}.jpg" for name in NAMES])
    assert matte(*overwrite, "outputs.pha.format=png").code == 0
    assert stored(out) == [f"pha/{name}.png" for name in NAMES]
    assert not (out / "replaced.json").exists()


def test_one_hash_tells_settings_apart_that_make_other_mattes(matte, tmp_path):
    def told(name, *settings):
        assert matte(ALPHA, f"output_dir={tmp_path / name}", *settings).code == 0
        return json.loads((tmp_path / name / "run.json").read_text())["config_sha256"]

    first = told("a")
    assert told("b", "data.workers=1", "seed=3") == first
    assert told("c", "refine.sample_pixels=1600") != first


def test_an_unforeseen_error_at_the_end_locks_nothing(matte, monkeypatch):
    def finish(directory, summary):
        raise KeyError("unforeseen")

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "finish", finish)
        with pytest.raises(KeyError):
            matte(ALPHA)
    assert matte(ALPHA, "on_existing=overwrite").code == 0
