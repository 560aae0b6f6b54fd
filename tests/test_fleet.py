"""Runs on Ray: the mattes of a local run, whatever happens to the workers and the head."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import NAMES, files, records
from PIL import Image
from sweeps import killing, rows

from bgm.data import find_pairs
from bgm.fleet.manifest import in_blocks

RAY = ["engine=ray", "engine.workers=2", "engine.cpus=1", "threads=1"]
FAST = ["model=base", "tracking=files"]


@pytest.fixture(scope="module")
def cluster(s3_server):
    """One Ray for all tests, whose workers know the storage."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=200 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
    )
    yield ray
    ray.shutdown()


@pytest.fixture
def many(shoot) -> list[str]:
    """A shoot of 19 images, one of which is no picture."""
    for index in range(16):
        for folder in (shoot.src, shoot.bgr):
            data = (folder / "product/teapot.jpg").read_bytes()
            (folder / f"product/copy{index:02}.jpg").write_bytes(data)
    (shoot.src / "product/copy03.jpg").write_bytes(b"no picture")
    return ["data=folders", f"data.src={shoot.src}", f"data.bgr={shoot.bgr}", *FAST]


def assert_once(lines: list[str], count: int) -> dict[str, dict]:
    found = {record["name"]: record for record in map(json.loads, lines)}
    assert len(lines) == len(found) == count  # none lost, none double
    return found


KILLER = """
import os, signal
from pathlib import Path
from bgm.runs import steps
mark = Path({mark!r})
load = steps.load
def deadly(dataset, index):
    name = dataset.pairs[index].name
    for number, victim in enumerate({victims!r}):
        if victim in name and not (mark / str(number)).exists():
            (mark / str(number)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if {poison!r} and {poison!r} in name:
        os.kill(os.getpid(), signal.SIGKILL)
    return load(dataset, index)
steps.load = deadly
"""


@pytest.fixture
def deadly(monkeypatch, tmp_path):
    """Workers that are killed by the pictures with certain names: once each, or always."""
    from bgm.fleet import engine

    def kill(*victims: str, poison: str = "") -> None:
        mark = tmp_path / "killed"
        mark.mkdir(exist_ok=True)
        code = KILLER.format(mark=str(mark), victims=victims, poison=poison)
        base = engine.Worker

        class Deadly(base):
            def __init__(self, job):
                super().__init__(job)
                exec(code, {})

        Deadly.__module__ = "__main__"  # carried to the workers by value
        monkeypatch.setattr(engine, "Worker", Deadly)

    return kill


def test_a_run_from_and_to_s3_with_two_workers_killed_twice(
    cluster, s3, many, shoot, bgm, deadly, tmp_path
):
    aligned = ["threads=1", "data.align=true"]
    assert bgm(*many, *aligned, "output_dir=local").code == 1  # the one that is no picture
    s3.put_folder(shoot.root, "s3://bucket/shoot")
    deadly("copy05", "copy11")
    folders = ["data=folders", "data.src=s3://bucket/shoot/src", "data.bgr=s3://bucket/shoot/bgr"]
    truth = "data.pha=s3://bucket/shoot/pha"
    out = "s3://bucket/out"
    run = [
        *folders,
        *FAST,
        *RAY,
        "data.unmatched=skip",
        truth,
        f"output_dir={out}",
        "data.align=true",
    ]
    outcome = bgm(*run)
    assert outcome.code == 1, outcome.err + outcome.out
    assert len(list((tmp_path / "killed").iterdir())) == 2
    found = assert_once(s3.get(f"{out}/images.jsonl").decode().splitlines(), 19)
    assert [name for name in found if found[name]["status"] != "written"] == ["product/copy03"]
    assert "product/copy03: failed" in outcome.out
    assert "copy03.jpg is not an image" in found["product/copy03"]["error"]
    assert all(found[name]["scores"]["mse"] >= 0 for name in NAMES)
    for path in files(tmp_path / "local"):
        if path.split("/")[0] in ("com", "pha", "fgr"):
            assert s3.get(f"{out}/{path}") == (tmp_path / "local" / path).read_bytes()
    assert not any(key.startswith("records/") for key in s3.keys(out))
    kept = s3.get(f"{out}/alignments.jsonl").splitlines()
    assert len(kept) == len({json.loads(line)["key"] for line in kept}) == len(NAMES)
    summary = json.loads(s3.get(f"{out}/run.json"))["summary"]
    assert (summary["written"], summary["failed"], summary["scored"]) == (18, 1, 3)

    s3.client.delete_object(Bucket="bucket", Key="out/pha/product/copy07.jpg")
    good = (shoot.src / "product/copy04.jpg").read_bytes()
    s3.client.put_object(Bucket="bucket", Key="shoot/src/product/copy03.jpg", Body=good)
    resumed = bgm(*run, "engine.workers=1", "on_existing=resume")
    assert resumed.code == 0, resumed.err
    assert "2 written, 17 skipped" in resumed.out


def test_a_picture_that_kills_its_worker_every_time_fails_alone(
    cluster, many, bgm, deadly, tmp_path
):
    """And sample pictures come from the workers, whatever happens to them."""
    deadly(poison="copy09")
    wandb = ["tracking=wandb", "tracking.samples=3"]
    outcome = bgm(*many, *RAY, "engine.workers=1", *wandb, "output_dir=out")
    assert outcome.code == 1, outcome.err
    found = assert_once((tmp_path / "out/images.jsonl").read_text().splitlines(), 19)
    failed = {
        name: record["error"] for name, record in found.items() if record["status"] == "failed"
    }
    assert set(failed) == {"product/copy03", "product/copy09"}
    assert "its worker died" in failed["product/copy09"]
    assert not (tmp_path / "out/records").exists()
    assert not list((tmp_path / "out").rglob("*.part"))
    pictures = list((tmp_path / "out/wandb").rglob("media/images/samples_*.png"))
    assert len(pictures) == 3
    with Image.open(pictures[0]) as strip:
        assert strip.height == 180


def test_a_job_of_a_sweep_that_ray_begins_again_goes_on(cluster, sweep, tmp_path):
    outcome = sweep("ray", command=killing(tmp_path / "mark"))
    assert outcome.code == 0, outcome.err
    assert {run["status"] for run in rows(tmp_path / "out").values()} == {"finished"}
    assert {r["status"] for r in records(tmp_path / "out/1").values()} == {"skipped"}


def test_the_head_interrupted(many, bgm, tmp_path):
    """In a process of its own, with a Ray of its own, of which nothing is left."""
    own = ["engine.workers=1", "engine.address=local", "output_dir=out"]
    command = [sys.executable, "-m", "bgm", *many, *RAY, *own]
    head = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "RAY_ADDRESS": ""},
    )
    for line in head.stdout:
        if line.startswith("2/19"):
            break
    head.send_signal(signal.SIGINT)
    said = head.stdout.read()
    assert head.wait(60) == 130, said
    assert "what is finished is kept" in said
    lines = (tmp_path / "out/images.jsonl").read_text().splitlines()
    found = assert_once(lines, len(lines))
    assert 2 <= len(found) < 19
    for record in found.values():
        for path in record["files"].values():
            with Image.open(tmp_path / "out" / path) as image:
                image.load()
    deadline = time.monotonic() + 5
    while left := [line for line in _processes() if str(tmp_path) in line]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    written = sum(record["status"] == "written" for record in found.values())
    resumed = bgm(*many, "output_dir=out", "on_existing=resume")  # here: settings are the same
    assert f"{18 - written} written, 1 failed, {written} skipped" in resumed.out


def _processes() -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["engine.address=ray://127.0.0.1:9"], "the cluster cannot be reached: Connection refused"),
        (["engine.address=nonsense"], "no such address"),
        (["engine.workers=0"], "engine.workers=0: must be 1 or more"),
        (["engine=slurm"], "engine=slurm: no such choice; there are local, ray"),
        (["output_dir=memory://box/out"], "memory:// is this process's alone"),
    ],
)
def test_bad_settings_are_a_sentence(many, bgm, settings, said):
    outcome = bgm(*many, "engine=ray", "output_dir=out", *settings)
    assert outcome.code == 2
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_cluster_without_room_and_ray_not_installed(cluster, many, bgm, monkeypatch):
    outcome = bgm(*many, *RAY, "engine.workers=3", "output_dir=out")
    assert (outcome.code, "the cluster has room for 2" in outcome.err) == (2, True), outcome.err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    outcome = bgm(*many, *RAY, "output_dir=out")
    assert (outcome.code, "pip install 'bgm[ray]'" in outcome.err) == (2, True), outcome.err


def test_large_pictures_are_begun_first_and_the_end_is_small(shoot):
    for index in range(300):
        for folder in (shoot.src, shoot.bgr):
            data = b"x" * (5_000_000 if index in (120, 250) else 2000)
            (folder / f"{index:03}.jpg").write_bytes(data)
    pairs = find_pairs(shoot.src, shoot.bgr).pairs
    blocks = [[pair.name for pair in block] for block in in_blocks(pairs, workers=2)]
    assert sorted(name for block in blocks for name in block) == pairs.names
    assert {blocks[0][0], blocks[2][0]} == {"120", "250"}  # a worker gets two blocks at once
    assert [len(block) for block in blocks[:4]] == [1] * 4
    sizes = [len(block) for block in blocks[4:]]
    assert sizes == sorted(sizes, reverse=True)
    assert 20 < max(sizes) <= 32
    assert sizes[-4:] == [1, 1, 1, 1]
