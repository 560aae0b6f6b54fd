"""Full disks, slow disks, little memory, workers that die, trackers that fail."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading

import psutil
import pytest
import torch
from conftest import NAMES, SLOW_STORE, records
from PIL import Image

from bgm.data.datasets import ZipDataset
from bgm.errors import DiskFullError
from bgm.inference.fallback import ON_CPU
from bgm.inference.predictor import Predictor
from bgm.records.atomic import write_together
from bgm.records.directory import RunDirectory
from bgm.tracking.console import ConsoleTracker


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_stops_the_run_and_resuming_works(matte, small_disk):
    (small_disk / "ballast").write_bytes(b"\0" * 100_000)
    outcome = matte(f"output_dir={small_disk}/out", "data.workers=1", "outputs.workers=1")
    assert outcome.code == 1
    assert "the disk is full" in outcome.out
    assert "on_existing=resume" in outcome.out
    written = [r for r in records(small_disk / "out").values() if r["status"] == "written"]
    assert len(written) < 3
    for path in (small_disk / "out").rglob("*.*"):
        if path.suffix in (".png", ".jpg"):
            Image.open(path).load()
    assert not list((small_disk / "out").rglob("*.part"))

    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=5m", str(small_disk)], check=True)
    assert matte(f"output_dir={small_disk}/out", "on_existing=resume").code == 0
    assert sorted(records(small_disk / "out")) == NAMES


def test_no_space_for_one_file_is_no_space_for_the_next(matte, shoot, tmp_path, monkeypatch):
    real = os.replace

    def full(source, target):
        if "pha" in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    copies(shoot, 12)
    monkeypatch.setattr("os.replace", full)
    outcome = matte("data.workers=1", "outputs.workers=1")
    assert outcome.code == 1
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["summary"]["status"] == "failed"
    assert "the disk is full" in run["summary"]["error"]
    assert len(records(tmp_path / "out")) < 10


def test_records_that_cannot_be_written_end_the_run_in_words(matte, tmp_path, monkeypatch):
    def full(record):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("bgm.records.directory.to_line", full)
    outcome = matte()
    assert outcome.code == 1
    assert "images.jsonl cannot be written: the disk is full" in outcome.out
    assert "Traceback" not in outcome.err


def test_little_space_is_warned_of_before_the_start(matte, monkeypatch):
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("bgm.runs.preflight.shutil.disk_usage", lambda path: usage)
    outcome = matte()
    assert outcome.code == 0
    assert "the outputs may need 0.0 GB, of which 0.0 GB are free" in outcome.out


class Short:
    """A predictor whose device has no memory for more than some images at a time."""

    def __init__(self, monkeypatch, most: int) -> None:
        real, self.calls = Predictor.run, []

        def run(predictor, staged):
            self.calls.append(len(staged.photos))
            if len(staged.photos) > most and predictor is self.calls_of:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
            return real(predictor, staged)

        self.calls_of = None
        made = Predictor.__init__

        def remember(predictor, *arguments, **options):
            made(predictor, *arguments, **options)
            self.calls_of = self.calls_of or predictor

        monkeypatch.setattr(Predictor, "__init__", remember)
        monkeypatch.setattr(Predictor, "run", run)


def copies(shoot, count: int) -> None:
    for root in (shoot.src, shoot.bgr):
        for index in range(count):
            data = (root / "product/teapot.jpg").read_bytes()
            (root / f"product/teapot{index}.jpg").write_bytes(data)


def test_a_batch_that_does_not_fit_is_tried_one_by_one(matte, shoot, tmp_path, monkeypatch):
    copies(shoot, 3)
    short = Short(monkeypatch, most=1)
    outcome = matte("data.batch_size=4", "suspect_above=1")
    assert outcome.code == 0
    assert short.calls[:5] == [4, 1, 1, 1, 1]
    assert "out of memory on cpu, trying again" in outcome.out
    assert all(not record["remarks"] for record in records(tmp_path / "out").values())


def test_two_at_a_time_unless_they_are_large(matte, shoot, monkeypatch):
    copies(shoot, 3)
    network = Short(monkeypatch, most=2)
    assert matte().code == 0
    assert sorted(network.calls) == [1, 1, 2, 2]  # two of other sizes, four alike
    for root in (shoot.src, shoot.bgr):
        for path in root.glob("product/*.jpg"):
            Image.open(path).resize((2048, 2048)).save(path)
    network.calls.clear()
    assert matte("on_existing=overwrite").code == 0
    assert network.calls == [1] * 6


def test_an_image_that_does_not_fit_is_computed_on_the_cpu(matte, tmp_path, monkeypatch):
    Short(monkeypatch, most=0)
    assert matte("suspect_above=1").code == 0
    for record in records(tmp_path / "out").values():
        assert record["remarks"] == [ON_CPU]


def test_or_is_recorded_as_failed(matte, tmp_path, monkeypatch):
    Short(monkeypatch, most=0)
    assert matte("device.oom=fail").code == 1
    for record in records(tmp_path / "out").values():
        assert record["status"] == "failed"
        assert "the device has no memory for it (CUDA out of memory" in record["error"]
        assert "device.oom=cpu" in record["error"]


def test_a_decoder_that_dies_costs_its_image_only(matte, tmp_path, monkeypatch):
    real = ZipDataset.__getitem__

    def dying(dataset, index):
        if index == 1:
            raise SystemExit("killed")
        return real(dataset, index)

    monkeypatch.setattr(ZipDataset, "__getitem__", dying)
    assert matte().code == 1
    found = records(tmp_path / "out")
    assert "its decoder was ended" in found["tripod/lemur-brook"]["error"]
    assert [found[name]["status"] for name in (NAMES[0], NAMES[2])] == ["written"] * 2


def reported(monkeypatch, module) -> threading.Event:
    """Set once a module has warned of what takes longer than 0.2 s."""
    event, warning = threading.Event(), module.log.warning

    def warn(*arguments):
        warning(*arguments)
        event.set()

    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    monkeypatch.setattr(module.log, "warning", warn)
    return event


def test_a_decoder_and_a_writer_that_hang_are_reported(matte, tmp_path, monkeypatch):
    prefetch, writer = (sys.modules[f"bgm.{name}"] for name in ("data.prefetch", "outputs.writer"))
    load, store = ZipDataset.__getitem__, write_together
    told = {module: reported(monkeypatch, module) for module in (prefetch, writer)}

    def hung_load(dataset, index):
        assert index or told[prefetch].wait(60)
        return load(dataset, index)

    def hung_store(files):
        assert told[writer].wait(60)
        store(files)

    monkeypatch.setattr(ZipDataset, "__getitem__", hung_load)
    monkeypatch.setattr("bgm.outputs.sinks.write_together", hung_store)
    outcome = matte()
    assert outcome.code == 0
    assert "still reading after 0.2 s: product/teapot" in outcome.out
    assert "still writing after 0.2 s" in outcome.out
    assert sorted(records(tmp_path / "out")) == NAMES


def test_records_are_on_disk_as_images_finish(matte, tmp_path, monkeypatch):
    seen, real = [], ConsoleTracker.image

    def look(tracker, record, preview):
        seen.append(len(records(tmp_path / "out")))
        real(tracker, record, preview)

    monkeypatch.setattr(ConsoleTracker, "image", look)
    assert matte().code == 0
    assert seen == [1, 2, 3]


def test_trackers_without_a_place_to_write_change_nothing_for_the_mattes(
    matte, tmp_path, monkeypatch
):
    (tmp_path / "no-directory").touch()
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "no-directory"))
    assert matte("tracking=wandb").code == 0
    assert len(records(tmp_path / "out")) == 3


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 0.05], ids=["2000 pairs", "a slow writer"])
def test_memory_does_not_grow(tmp_path, shoot, seconds):
    """2,000 pairs at 640x360; 400 with a writer that is slower than the network."""
    count = 2000 if not seconds else 400
    for root in (shoot.src, shoot.bgr):
        folder = tmp_path / root.name
        folder.mkdir()
        image = Image.open(root / "tripod/lemur-mountain.jpg").resize((640, 360))
        image.save(folder / "0.jpg", quality=95)
        data = (folder / "0.jpg").read_bytes()
        for number in range(1, count):
            (folder / f"{number}.jpg").write_bytes(data)
    code = SLOW_STORE.format(seconds=seconds)
    arguments = ["data=folders", "data.src=src", "data.bgr=bgr", "output_dir=out"]
    process = psutil.Popen(
        [sys.executable, "-c", code, *arguments, "tracking=files"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    early = late = 0
    for line in process.stdout:
        done = line.partition("/")[0]
        if done.isdecimal():
            resident = process.memory_info().rss
            early = max(early, resident if int(done) <= 200 else 0)
            late = max(late, resident if int(done) > 200 else 0)
    assert process.wait() == 0
    sys.stderr.write(f"peak MiB: {early / 2**20:.0f} in the first 200, {late / 2**20:.0f} after\n")
    assert late < 1.1 * early


def test_no_memory_even_to_copy_an_image_to_the_device(matte, tmp_path, monkeypatch):
    real, first = Predictor.stage, []

    def stage(predictor, pairs):
        first.append(predictor)
        if predictor is first[0]:
            raise RuntimeError("CUDA error: out of memory")  # as for pinned memory
        return real(predictor, pairs)

    monkeypatch.setattr(Predictor, "stage", stage)
    assert matte("suspect_above=1").code == 0
    assert [r["remarks"] for r in records(tmp_path / "out").values()] == [[ON_CPU]] * 3


def test_an_error_while_staging_costs_its_image_only(matte, tmp_path, monkeypatch):
    real, calls = Predictor.stage, []

    def stage(predictor, pairs):
        calls.append(pairs)
        if len(calls) == 2:
            raise RuntimeError("CUDA error: invalid argument")
        return real(predictor, pairs)

    monkeypatch.setattr(Predictor, "stage", stage)
    assert matte().code == 1
    done = [records(tmp_path / "out")[name] for name in NAMES]
    assert [record["status"] for record in done] == ["written", "failed", "written"]
    assert "CUDA error: invalid argument" in done[1]["error"]


def test_a_summary_that_cannot_be_written_is_no_success(matte, monkeypatch):
    real = RunDirectory._write_run

    def full(directory, summary):
        if summary.status != "running":
            raise DiskFullError("run.json cannot be written: the disk is full")
        real(directory, summary)

    monkeypatch.setattr(RunDirectory, "_write_run", full)
    outcome = matte()
    assert outcome.code == 1
    assert "stopped: run.json cannot be written" in outcome.out


def test_a_terminal_that_cannot_show_a_name_changes_nothing_for_the_mattes(shoot, tmp_path):
    for root in (shoot.src, shoot.bgr):
        (root / "product/teapot.jpg").rename(root / "product/日本.jpg")
    process = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "bgm",
                "data=folders",
                "tracking=files",
                "output_dir='out[/x]'",
            ),
            *(f"data.src={shoot.src}", f"data.bgr={shoot.bgr}"),
        ],
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert process.returncode == 0, process.stderr
    assert b"Traceback" not in process.stderr
    assert b"\\u65e5" in process.stdout
