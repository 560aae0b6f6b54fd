"""Runs from and to remote storage: a real S3 server on the loopback, and memory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fsspec
import pytest
from conftest import NAMES, files, records
from remote import SECRET

from bgm.cli import commands as cli
from bgm.data import align, find_pairs
from bgm.errors import WriteError
from bgm.networks.checkpoints import SHIPPED
from bgm.records.atomic import write_together
from bgm.records.directory import RunDirectory
from bgm.storage import RemotePath, local_copy, locate, remote

FAST = ["tracking=files", "refine.sample_pixels=2000"]


@pytest.fixture
def remote_shoot(s3, shoot, request) -> str:
    return s3.put_folder(shoot.root, f"s3://bucket/{request.node.name[:40]}/shoot")


def folders(url: str) -> list[str]:
    return ["data=folders", f"data.src={url}/src", f"data.bgr={url}/bgr"]


def test_a_run_from_and_to_s3_is_the_local_one(s3, remote_shoot, shoot, bgm, tmp_path):
    weights = (SHIPPED / "mobilenetv2-refine.safetensors").read_bytes()
    s3.client.put_object(Bucket="bucket", Key="weights/mine.safetensors", Body=weights)
    out = "s3://bucket/runs/first"
    truth = [f"data.pha={remote_shoot}/pha", "checkpoint=s3://bucket/weights/mine.safetensors"]
    settings = [*folders(remote_shoot), *truth, *FAST]
    outcome = bgm(*settings, f"output_dir={out}")
    assert outcome.code == 0, outcome.err + outcome.out
    assert f"Files are in {out}" in outcome.out
    local = [*folders(str(shoot.root)), f"data.pha={shoot.pha}", *FAST]
    assert bgm(*local, "output_dir=local").code == 0

    for path in files(tmp_path / "local"):
        if path.split("/")[0] in ("com", "pha", "fgr"):
            assert s3.get(f"{out}/{path}") == (tmp_path / "local" / path).read_bytes()
    there = s3.keys(out)
    assert len(there) == 3 * len(NAMES) + 5, there  # images.jsonl, run.json, three in .hydra
    lines = map(json.loads, s3.get(f"{out}/images.jsonl").decode().splitlines())
    found = {line["name"]: line for line in lines}
    expected = records(tmp_path / "local")
    for name in NAMES:
        assert found[name]["scores"]["mse"] == expected[name]["scores"]["mse"]
        src = found[name]["inputs"]["src"]
        assert src["path"] == f"{remote_shoot}/src/{name}.jpg"
        assert src["sha256"] == expected[name]["inputs"]["src"]["sha256"]
    run = json.loads(s3.get(f"{out}/run.json"))
    assert run["config"]["output_dir"] == out
    assert run["checkpoint"]["path"] == "s3://bucket/weights/mine.safetensors"

    again = bgm(*settings, f"output_dir={out}")
    assert again.code == 2
    assert f"output_dir={out} already has" in again.err
    resumed = bgm(*settings, f"output_dir={out}", "on_existing=resume")
    assert resumed.code == 0
    assert "3 skipped" in resumed.out

    # What another command reads of it.
    assert bgm(f"repeat={out}", "output_dir=repeated", "tracking=files").code == 0
    for path in files(tmp_path / "repeated/pha"):
        assert s3.get(f"{out}/pha/{path}") == (tmp_path / "repeated/pha" / path).read_bytes()
    compared = bgm("runs=[s3://bucket/runs/*]", "output_dir=cmp", command=cli.COMPARE)
    assert compared.code == 0, compared.err
    assert "data:image/webp" in (tmp_path / "cmp/comparison.html").read_text()
    scored = bgm(
        f"pred={out}/pha",
        f"true={remote_shoot}/pha",
        "output_dir=s3://bucket/scores",
        command=cli.EVALUATE,
    )
    assert scored.code == 0, scored.err
    assert json.loads(s3.get("s3://bucket/scores/scores.json"))["failed"] == 0

    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    written += [s3.get(f"{out}/{key}") for key in there]
    assert not any(SECRET.encode() in content for content in written)


def test_a_put_that_fails_twice_an_object_that_vanishes_and_a_run_that_is_killed(
    s3, remote_shoot, bgm, tmp_path
):
    failures = {"/bucket/runs/rough/pha/product/teapot.jpg": 2}

    def trouble(method: str, path: str) -> int | None:
        if method == "GET" and path.endswith("/src/tripod/lemur-brook.jpg"):
            return 404
        if method == "PUT" and failures.get(path, 0):
            failures[path] -= 1
            return 500
        return None

    s3.trouble = trouble
    out = "s3://bucket/runs/rough"
    outcome = bgm(*folders(remote_shoot), *FAST, f"output_dir={out}")
    assert outcome.code == 1, outcome.err
    assert set(failures.values()) == {0}
    assert f"{remote_shoot}/src/tripod/lemur-brook.jpg does not exist (any more)" in outcome.out
    assert not any("lemur-brook" in key for key in s3.keys(out))
    assert sum(key.startswith("pha/") for key in s3.keys(out)) == 2

    # As after a loss of the machine: a part of the records, and no file that holds all of them.
    lines = s3.get(f"{out}/images.jsonl")
    s3.client.delete_object(Bucket="bucket", Key="runs/rough/images.jsonl")
    s3.client.put_object(Bucket="bucket", Key="runs/rough/records/head-1-000000.jsonl", Body=lines)
    (tmp_path / "outputs/remote/s3/bucket/runs/rough/images.jsonl").unlink()
    s3.trouble = lambda method, path: None
    resumed = bgm(*folders(remote_shoot), *FAST, f"output_dir={out}", "on_existing=resume")
    assert resumed.code == 0, resumed.err
    assert "1 written, 2 skipped" in resumed.out
    assert not any(key.startswith("records/") for key in s3.keys(out))
    assert len(s3.get(f"{out}/images.jsonl").splitlines()) == 3


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("data.src=s3://nowhere/photos", "data.src=s3://nowhere/photos: there is no bucket"),
        ("data.src=s3://bucket/nothing", "data.src=s3://bucket/nothing: nothing is stored there"),
        ("checkpoint=s3://bucket/no.pth", "checkpoint=s3://bucket/no.pth does not exist"),
        ("output_dir=s3://nowhere/out", "output_dir=s3://nowhere/out cannot be written"),
        ("data.src=s4://bucket/photos", "data.src=s4://bucket/photos: no such storage; there are"),
        ("data.src=gs://bucket/photos", "pip install 'bgm[gcs]'"),
        ("data.src=s3://", "there is no bucket in it"),
        ("data.src=s3://me:secret@bucket/photos", "credentials in it"),
    ],
)
def test_what_cannot_be_reached_is_refused_in_a_sentence(bgm, s3, shoot, setting, said):
    outcome = bgm(*folders(str(shoot.root)), *FAST, "output_dir=out", setting)
    assert outcome.code == 2
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert "me:secret" not in outcome.err + outcome.out
    assert not Path("out").exists()


def test_a_folder_of_plates_is_a_folder_there_too(bgm, s3, remote_shoot):
    outcome = bgm(*folders(remote_shoot), *FAST, "output_dir=out", "data.plate=folder")
    assert outcome.code == 2
    assert "no background is named like a folder of s3://" in outcome.err


def test_a_door_that_is_shut_and_a_server_that_is_gone_are_named(bgm, s3, shoot, monkeypatch):
    monkeypatch.setattr(remote, "_PAUSES_S", ())
    s3.trouble = lambda method, path: 403
    arguments = [*folders("s3://bucket/shoot"), *FAST, "output_dir=out"]
    outcome = bgm(*arguments)
    assert (outcome.code, "s3://bucket/shoot/src: access denied" in outcome.err) == (2, True)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    remote._file_system.cache_clear()
    outcome = bgm(*arguments)
    assert (outcome.code, "Could not connect" in outcome.err) == (2, True), outcome.err
    remote._file_system.cache_clear()


def test_5000_small_objects_are_listed_by_a_few_requests(s3):
    from moto.backends import get_backend

    backend = get_backend("s3")["123456789012"]["aws"]
    for side in ("src", "bgr"):
        for index in range(5000):
            backend.put_object("bucket", f"many/{side}/{index // 100}/{index:04}.jpg", b"x")
    s3.requests.clear()
    pairing = find_pairs(locate("s3://bucket/many/src"), locate("s3://bucket/many/bgr"))
    assert len(pairing.pairs) == 5000
    assert str(pairing.pairs[42].src) == "s3://bucket/many/src/0/0042.jpg"
    assert pairing.pairs[42].src.stat().st_size == 1
    assert len(s3.requests) < 40  # five pages for each side, and whether these are folders


def test_alignments_are_kept_there_and_read_again(s3, remote_shoot, bgm, tmp_path, monkeypatch):
    looked = []
    find = align.find_alignment
    monkeypatch.setattr(align, "find_alignment", lambda *a: looked.append(a) or find(*a))
    out = "s3://bucket/runs/aligned"
    run = [*folders(remote_shoot), "tracking=files", "model=base", "data.align=true"]
    assert bgm(*run, f"output_dir={out}").code == 0
    assert len(looked) == len(NAMES)
    kept = s3.get(f"{out}/alignments.jsonl")
    assert len(kept.splitlines()) == len(NAMES)

    # As from another machine: what this one has kept is gone.
    shutil.rmtree(tmp_path / "outputs")
    s3.client.delete_object(Bucket="bucket", Key="runs/aligned/pha/product/teapot.jpg")
    looked.clear()
    resumed = bgm(*run, f"output_dir={out}", "on_existing=resume")
    assert "1 written, 2 skipped" in resumed.out, resumed.err
    assert bgm(f"repeat={out}", "output_dir=repeated", "tracking=files").code == 0
    assert not looked
    assert s3.get(f"{out}/alignments.jsonl") == kept


class Unsteady(fsspec.get_filesystem_class("memory")):
    """A storage that does not take some of what is put."""

    def __init__(self, **options):
        super().__init__(**options)
        self.failures, self.reads = {}, []

    def pipe_file(self, path, value, **options):
        if self.failures.get(path, 0):
            self.failures[path] -= 1
            raise ConnectionResetError("the line is down")
        super().pipe_file(path, value, **options)

    def cat_file(self, path, **options):
        self.reads.append(path)
        return super().cat_file(path, **options)


@pytest.fixture
def memory(monkeypatch):
    system = Unsteady(skip_instance_cache=True)
    system.store.clear()
    monkeypatch.setattr(remote, "_PAUSES_S", (0, 0))
    monkeypatch.setattr(remote, "_file_system", lambda scheme: system)
    return system


def test_a_put_is_tried_again_and_what_belongs_together_is_stored_together(memory):
    memory.failures = {"box/a": 2, "box/b": 3}
    write_together({locate("memory://box/a"): b"1"})
    assert locate("memory://box/a").read_bytes() == b"1"
    with pytest.raises(WriteError, match="memory://box/b cannot be written: ConnectionResetError"):
        write_together({locate("memory://box/c"): b"2", locate("memory://box/b"): b"3"})
    assert not locate("memory://box/c").exists()


def test_an_object_is_read_once_for_all_who_need_it(memory):
    path = locate("memory://box/1.jpg")
    memory.pipe_file("box/1.jpg", b"old")
    for _ in range(3):
        with local_copy(path) as file:
            assert (file.name, file.read_bytes()) == ("1.jpg", b"old")
    assert memory.reads == ["box/1.jpg"]
    memory.pipe_file("box/1.jpg", b"newer")
    with local_copy(path) as file:
        assert file.read_bytes() == b"newer"
    others = [locate(f"memory://box/{index}") for index in range(40)]
    for other in others:
        memory.pipe_file(other.key, b"x")
        with local_copy(other) as copied:
            pass
    assert copied.exists()
    assert not file.exists()  # long unused


def test_remote_paths_are_paths_that_no_system_call_takes(memory):
    path = locate("s3://bucket/a b/c.tar.gz")
    assert isinstance(path, RemotePath)
    assert (path.name, path.suffix, str(path.parent)) == ("c.tar.gz", ".gz", "s3://bucket/a b")
    assert path.relative_to(locate("s3://bucket")).as_posix() == "a b/c.tar.gz"
    assert str(locate("s3://bucket/") / "x" / "y.jpg") == "s3://bucket/x/y.jpg"
    with pytest.raises(TypeError, match="is not on this machine"):
        path.open()
    for name in ("x/run.json", "x/0/run.json", "y/1/run.json"):
        memory.pipe_file(f"box/{name}", b"{}")
    found = [str(path) for path in locate("memory://box").glob("*/run.json")]
    assert found == ["memory://box/x/run.json"]
    assert len(list(locate("memory://box").rglob("run.json"))) == 3
    assert RunDirectory(locate("memory://box/x")).read_records() == {}
