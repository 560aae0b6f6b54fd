"""What Weights & Biases stores of a run, read back from its own files."""

from __future__ import annotations

import json
import os
import shlex
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import wandb
from conftest import NAMES, records
from PIL import Image
from wandb.proto import wandb_internal_pb2
from wandb_server import serve

from bgm.records.record import ImageRecord
from bgm.records.summary import Summary
from bgm.tracking import TRACKERS, RunInfo, TrackerSettings
from bgm.tracking.wandb_sync import command, unsent_runs

BLOCK = 32768


def scan(path: Path):
    """The records of a `.wandb` file, which is a LevelDB log behind a header of seven bytes."""
    data, at, parts = path.read_bytes(), 7, []
    while at + 7 <= len(data):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        if kind == 0:
            break
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(b"".join(parts))
            parts = []
            yield record


class Stored:
    """The newest offline run as W&B stored it; of two within a second, names do not tell which."""

    def __init__(self, root: Path) -> None:
        self.folder = (root / "wandb/latest-run").resolve(strict=True)
        (log,) = self.folder.glob("*.wandb")
        self.records = list(scan(log))
        if not any(record.WhichOneof("record_type") == "exit" for record in self.records):
            wandb.teardown()  # returns once W&B's own process has written everything
            self.records = list(scan(log))
        (self.run,) = [r.run for r in self.records if r.WhichOneof("record_type") == "run"]
        (self.exit_code,) = [
            r.exit.exit_code for r in self.records if r.WhichOneof("record_type") == "exit"
        ]

    @property
    def config(self) -> dict:
        return {item.key: json.loads(item.value_json) for item in self.run.config.update}

    def history(self, key: str) -> list:
        return [
            json.loads(item.value_json)
            for record in self.records
            if record.WhichOneof("record_type") == "history"
            for item in record.history.item
            if "/".join(item.nested_key) == key or item.key == key
        ]

    @property
    def summary(self) -> dict:
        found = {}
        for record in self.records:
            if record.WhichOneof("record_type") == "summary":
                for item in record.summary.update:
                    found[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        return found

    @property
    def metrics(self) -> dict:
        kinds = [r.metric for r in self.records if r.WhichOneof("record_type") == "metric"]
        return {metric.name or metric.glob_name: metric for metric in kinds}

    @property
    def artifacts(self) -> dict:
        kinds = [r.artifact for r in self.records if r.WhichOneof("record_type") == "artifact"]
        return {artifact.type: artifact for artifact in kinds}

    def table(self, key: str = "table") -> list[dict]:
        """The rows of all parts, in their order."""
        parts = self.folder.glob(f"files/media/table/{key}_*.json")
        rows = []
        for path in sorted(parts, key=lambda path: int(path.name.split("_")[1])):
            stored = json.loads(path.read_text())
            rows += [dict(zip(stored["columns"], row, strict=True)) for row in stored["data"]]
        return rows

    def pictures(self, key: str) -> list[Path]:
        return sorted(self.folder.glob(f"files/media/images/{key}_*.png"))


@pytest.fixture(autouse=True)
def no_wandb_environment(monkeypatch):
    given = ("MODE", "PROJECT", "NAME", "RUN_GROUP", "JOB_TYPE", "TAGS", "DIR", "RUN_ID", "RESUME")
    for name in given:
        monkeypatch.delenv(f"WANDB_{name}", raising=False)


@pytest.fixture
def scored(matte, shoot):
    """Matte with truth, two samples, and W&B."""
    return partial(matte, "tracking=wandb", f"data.pha={shoot.pha}", "tracking.samples=2")


def test_a_run_is_stored_with_settings_table_samples_and_summary(scored, shoot, tmp_path):
    outcome = scored()
    assert outcome.code == 0
    stored = Stored(tmp_path / "out")
    assert stored.run.project == "bgm"
    assert stored.exit_code == 0
    assert stored.config["refine"]["sample_pixels"] == "auto"
    assert stored.config["data"]["src"] == str(shoot.src)
    assert len(stored.config["checkpoint_sha256"]) == 64
    noise = ("tracking", "output_dir", "on_existing", "facts", "page_mb", "checkpoints_dir")
    assert not stored.config.keys() & set(noise)
    assert stored.config["outputs"].keys() >= {"types", "com", "pha", "fgr"}
    assert not {"err", "ref", "workers"} & stored.config["outputs"].keys()
    assert any(r.WhichOneof("record_type") == "stats" for r in stored.records), "of the system"

    found = records(tmp_path / "out")
    rows = {row["name"]: row for row in stored.table()}
    assert rows.keys() == found.keys()
    for name, row in rows.items():
        assert row["status"] == "written"
        assert row["width"] == found[name]["width"]
        assert row["score/mse"] == pytest.approx(found[name]["scores"]["mse"])
        assert row["time/forward_ms"] == found[name]["timings"]["forward_ms"]
        assert row["suspicion"] == found[name]["check"]["suspicion"] is not None
    assert len(stored.history("time/forward_ms")) == 3
    assert all(value > 0 for value in stored.history("images_per_second"))
    assert len(stored.history("images_per_second")) == 3
    assert stored.summary["written"] == 3
    assert stored.summary["stages"]["forward"]["median_ms"] > 0
    assert stored.summary["scores"]["mad"] > 0

    assert stored.history("score/mse") == [
        pytest.approx(found[name]["scores"]["mse"]) for name in rows
    ]
    for key in ("time/*", "score/*", "suspicion", "images_per_second", "final/mse"):
        assert stored.metrics[key].step_metric == "images", key
    assert stored.metrics["final/mse"].summary.min
    assert stored.metrics["final/images_per_second"].summary.max
    assert stored.history("final/mse") == [stored.summary["scores"]["mse"]]

    strips = stored.pictures("samples")
    assert len(strips) == 2
    with Image.open(strips[0]) as picture:
        assert picture.height == 180
        assert picture.width in (5 * 120, 5 * 144, 5 * 320)
    name = stored.history("mattes/caption")[0]
    photograph, mask = (
        np.asarray(Image.open(stored.folder / "files" / stored.history(f"mattes/{path}")[0]))
        for path in ("path", "masks/alpha/path")
    )
    with Image.open(next(shoot.src.glob(f"{name}.*"))) as source:
        assert photograph.shape == (source.height, source.width, 3)
        assert np.abs(photograph - np.asarray(source).astype(int)).max() <= 1
    with Image.open(next((tmp_path / "out/pha").glob(f"{name}.*"))) as alpha:
        high = np.asarray(alpha) > 132  # a JPEG
        assert np.mean((mask >= 2) == high) > 0.98
    assert set(np.unique(mask)) <= set(range(4))

    (part,) = (tmp_path / "out/wandb").glob("offline-run-*")
    (said,) = [line for line in outcome.out.splitlines() if "to send it:" in line]
    assert said == outcome.out.splitlines()[-1]
    command = said.partition("to send it: ")[2]
    assert command.endswith(f" sync {part.relative_to(tmp_path)}")
    shown = subprocess.run(
        f"{command} --dry-run", shell=True, cwd=tmp_path, capture_output=True, check=True
    )
    assert f"{part.name}/run-{stored.run.run_id}.wandb" in shown.stderr.decode()


def test_a_run_that_goes_on_is_the_same_run(scored, shoot, tmp_path):
    assert scored("data.images=2").code == 0
    first = Stored(tmp_path / "out")
    outcome = scored("on_existing=resume")
    assert outcome.code == 0
    parts = sorted((tmp_path / "out/wandb").glob("offline-run-*"))
    assert len(parts) == 2
    second = Stored(tmp_path / "out")
    assert second.run.run_id == first.run.run_id
    assert {row["name"]: row["status"] for row in second.table()} == {
        name: record["status"] for name, record in records(tmp_path / "out").items()
    }
    assert second.history("images") == [3, 3]  # the third image, and the final figures
    command = outcome.out.splitlines()[-1].partition("to send it: ")[2]
    assert all(part.name in command for part in parts)
    scored("data.images=1", "on_existing=overwrite")
    assert Stored(tmp_path / "out").run.run_id != first.run.run_id


def test_parts_of_a_run_that_began_within_a_second_are_all_named(tmp_path, caplog):
    caplog.set_level("INFO", logger="bgm")
    for _ in range(3):
        tracker = TRACKERS["wandb"](TrackerSettings())
        tracker.start(RunInfo(tmp_path, 0, {}, {}, identity="quick"))
        tracker.finish(Summary("finished", 0))
    parts = list(tmp_path.glob("wandb/offline-run-*"))
    assert len(parts) == 3
    assert set(shlex.split(caplog.messages[-1])) >= set(map(str, parts))


@pytest.fixture
def server(monkeypatch):
    """A W&B server, logged in to; W&B's own process looks at its environment only once."""
    with serve() as (told, address):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        wandb.teardown()
        yield told
        wandb.teardown()


SMALL = ("tracking=wandb", "tracking.samples=0", "model=base", "outputs.types=[pha]")


def test_online_a_run_goes_on_where_it_was(matte, server):
    assert matte(*SMALL, "tracking.mode=online", "data.images=1").code == 0
    ((run, lines),) = server.history.items()
    begun = len(lines)
    assert matte(*SMALL, "tracking.mode=online", "on_existing=resume").code == 0
    assert server.history.keys() == {run}
    assert server.ended == [(run, 0)] * 2
    assert [line["_step"] for line in lines.values()] == list(range(len(lines))), "none replaced"
    assert [line["images"] for line in lines.values() if "time/forward_ms" in line] == [1, 2, 3]
    assert len(lines) > begun


def test_what_was_kept_offline_is_sent_in_the_end_or_by_hand(matte, server, tmp_path):
    outcome = matte(*SMALL, "tracking.sync=end", "data.images=1")
    assert outcome.code == 0
    assert "W&B has this run" in outcome.out
    ((run, lines),) = server.history.items()
    outcome = matte(*SMALL, "on_existing=resume")
    command = outcome.out.splitlines()[-1].partition("to send it: ")[2]
    assert command.count("offline-run-") == 1, "the other part was sent already"
    subprocess.run(command, shell=True, cwd=tmp_path, check=True, capture_output=True)
    assert server.ended == [(run, 0)] * 2
    assert [line["images"] for line in lines.values() if "time/forward_ms" in line] == [1, 2, 3]


def test_what_cannot_be_sent_costs_nothing_but_a_warning(matte, server, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", "/dev/null/home")
    outcome = matte(*SMALL, "tracking.sync=end", "data.images=1")
    assert outcome.code == 0
    assert "W&B did not take this run (is this machine logged in?); try: " in outcome.out
    assert not server.history


def test_many_runs_are_named_by_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "two words"
    for number in ("", *"012345"):
        part = root / number / f"wandb/offline-run-20261125_100000-{number or 'sweep'}"
        part.mkdir(parents=True)
        (part / "run.wandb").touch()
    parts = [*unsent_runs([root]), *unsent_runs([root / number for number in "012345"])]
    said = command(parts)
    assert said.endswith(" sync 'two words/wandb' 'two words'/*/wandb")
    shown = subprocess.run(f"{said} --dry-run", shell=True, capture_output=True, check=True)
    assert b"Would sync 7 run(s)" in shown.stderr


def test_what_no_run_needs_is_not_imported_for_it(tmp_path):
    """W&B looks for tables of pandas in every figure, and at its start for jobs of its own."""
    code = (
        "import sys; from pathlib import Path; from bgm.records.record import ImageRecord; "
        "from bgm.tracking import TRACKERS, RunInfo, TrackerSettings; "
        "tracker = TRACKERS['wandb'](TrackerSettings()); "
        "tracker.start(RunInfo(Path(sys.argv[1]), 1, {}, {})); "
        "tracker.image(ImageRecord('one', scores={'mse': 0.5}), None); "
        "print(*sorted({'pandas', 'torch', 'wandb.sdk.launch'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], check=True, capture_output=True)
    assert done.stdout.split() == []


def test_offline_nothing_is_sent_not_even_about_w_and_b_itself(server, tmp_path):
    code = (
        "import sys; from pathlib import Path; from bgm.records.summary import Summary; "
        "from bgm.tracking import TRACKERS, RunInfo, TrackerSettings; "
        "tracker = TRACKERS['wandb'](TrackerSettings()); "
        "tracker.start(RunInfo(Path(sys.argv[1]), 0, {}, {})); "
        "tracker.finish(Summary('finished', 0))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
    assert Stored(tmp_path).exit_code == 0
    assert server.asked == []


def test_the_table_goes_in_parts_and_is_forgotten(tmp_path):
    """A run of many images must not keep their rows in memory."""
    tracker = TRACKERS["wandb"](TrackerSettings())
    begun = [ImageRecord(f"begun/{number}", status="skipped") for number in range(30)]
    tracker.start(RunInfo(tmp_path, 330, {}, {}, begun, identity="many"))
    for number in range(300):
        tracker.image(ImageRecord(f"{number}", scores={"mse": number / 300}), None)
    held = [row for row in tracker._table._table.data if row]
    tracker.finish(Summary("finished", 330, written=300))
    stored = Stored(tmp_path)
    assert len(held) < 80
    assert [row["name"] for row in stored.table()] == [
        *(record.name for record in begun),
        *map(str, range(300)),
    ]
    assert 1 < len(list(stored.folder.glob("files/media/table/*.json"))) <= 7
    assert stored.artifacts.keys() == {"wandb-run-incremental-table"}


def test_the_jobs_of_a_sweep_are_runs_of_one_group_tagged_with_their_overrides(matte, tmp_path):
    outcome = matte(
        "tracking=wandb", "-m", "refine.sample_pixels=160,1600", "outputs.types=[pha,fgr]"
    )
    assert outcome.code == 0
    runs = [Stored(tmp_path / f"out/{job}") for job in (0, 1)]
    compared = Stored(tmp_path / "out")
    assert (compared.run.job_type, compared.run.run_group) == ("comparison", "out")
    assert compared.exit_code == 0
    assert [row["run"] for row in compared.table("comparison")] == ["0", "1"]
    assert [row["refine.sample_pixels"] for row in compared.table("comparison")] == [160, 1600]
    files = compared.artifacts["comparison"].manifest.contents
    assert [file.path for file in files] == [
        f"comparison.{kind}" for kind in ("csv", "html", "json", "md")
    ]
    (page,) = compared.folder.glob("files/media/html/*.html")
    assert page.read_bytes() == (tmp_path / "out/comparison.html").read_bytes()
    command = outcome.out.splitlines()[-1].partition("to send it: ")[2]
    assert command.count("offline-run-") == 3
    assert [run.run.run_group for run in runs] == ["out", "out"]
    assert len({run.run.run_id for run in runs}) == 2
    for run, pixels in zip(runs, (160, 1600), strict=True):
        assert {f"refine.sample_pixels={pixels}", "outputs.types=[pha,fgr]"} <= set(run.run.tags)
        assert run.config["refine"]["sample_pixels"] == pixels


def test_a_job_that_fails_is_marked_failed_and_a_refused_one_never_was(matte, shoot, tmp_path):
    (shoot.src / "product/teapot.jpg").write_bytes(b"no picture")
    jobs = ["backbone=mobilenetv2,resnet50", "on_error=stop", "outputs.types=[pha]"]
    assert matte("tracking=wandb", "-m", *jobs).code == 1
    failed = Stored(tmp_path / "out/0")
    assert failed.exit_code == 1
    assert "product/teapot" in failed.summary["error"]
    assert not (tmp_path / "out/1/wandb").exists()


def test_names_and_tags_are_settings_and_the_environment_wins(matte, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "from-the-environment")
    options = ["tracking.project=mine", "tracking.run_name=first", "tracking.tags=[a,b]"]
    matte("tracking=wandb", *options, "tracking.job_type=trial", "tracking.group=all")
    run = Stored(tmp_path / "out").run
    assert run.project == "from-the-environment"
    assert (run.display_name, run.job_type, run.run_group) == ("first", "trial", "all")
    assert list(run.tags) == ["a", "b"]


def test_disabled_stores_nothing(matte, tmp_path):
    assert matte("tracking=wandb", "tracking.mode=disabled").code == 0
    assert not list(tmp_path.rglob("*.wandb"))


def test_a_tracker_that_cannot_start_does_not_stop_the_mattes(matte, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    outcome = matte("tracking=wandb")
    assert outcome.code == 0
    assert outcome.out.count("WandbTracker stopped working, the run goes on without it") == 1
    assert len(records(tmp_path / "out")) == 3


def test_a_tracker_that_breaks_on_the_way_does_not_stop_the_mattes(matte, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise OSError("the disk of W&B is gone")

    monkeypatch.setattr("wandb.Image", broken)
    outcome = matte("tracking=wandb")
    assert outcome.code == 0
    assert outcome.out.count("the disk of W&B is gone") == 1
    assert len(records(tmp_path / "out")) == 3


def test_a_hiccup_costs_no_more_than_what_it_was_about(matte, monkeypatch):
    told = []

    class Hiccups:
        def __init__(self, settings):
            pass

        def start(self, run):
            told.append("start")

        def image(self, record, preview):
            told.append(record.name)
            if len(told) < 4:
                raise OSError("the line is busy")

        def finish(self, summary):
            told.append("finish")

    monkeypatch.setitem(TRACKERS, "hiccups", Hiccups)
    outcome = matte("tracking=wandb", "tracking.name=hiccups", "outputs.types=[pha]")
    assert outcome.code == 0
    assert outcome.out.count("the line is busy") == 1
    assert (told[0], sorted(told[1:4]), told[4]) == ("start", NAMES, "finish")


def test_online_without_a_key_is_offline_and_nobody_is_asked(matte, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    outcome = matte("tracking=wandb", "tracking.mode=online", "outputs.types=[pha]")
    assert outcome.code == 0
    assert outcome.out.count("no API key of W&B") == 1
    assert "`wandb login`" in outcome.out
    assert Stored(tmp_path / "out").exit_code == 0


def test_everything_is_inside_the_run_and_empty_variables_are_not_set(matte, tmp_path, monkeypatch):
    for name in ("MODE", "PROJECT", "NAME", "TAGS", "DIR"):
        monkeypatch.setenv(f"WANDB_{name}", "")
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, "/dev/null/home")
    outcome = matte("tracking=wandb", "outputs.types=[pha]", "tracking.tags=[a]")
    assert outcome.code == 0
    assert "Tracker" not in outcome.out
    stored = Stored(tmp_path / "out")
    assert len(stored.table()) == 3
    assert (stored.run.project, list(stored.run.tags)) == ("bgm", ["a"])
    assert [path.name for path in (tmp_path / "out").rglob("staging")] == ["staging"]
    assert "WANDB_DATA_DIR" not in os.environ


def test_files_keeps_to_files(matte, tmp_path):
    assert matte("tracking=files").code == 0
    assert not (tmp_path / "out/wandb").exists()
    assert (tmp_path / "out/run.json").exists()


def test_a_tracker_of_ones_own_is_a_class_and_its_name(matte, monkeypatch):
    told = []

    class Mine:
        def __init__(self, settings):
            told.append(settings.options)

        def start(self, run):
            told.append(run.images)

        def image(self, record, preview):
            told.append((record.name, preview is not None))

        def finish(self, summary):
            told.append(summary.written)

    monkeypatch.setitem(TRACKERS, "mine", Mine)
    options = ["tracking.name=mine", "+tracking.options.uri=there", "tracking.samples=1"]
    assert matte("tracking=wandb", *options).code == 0
    assert told[:2] == [{"uri": "there"}, 3]
    assert sorted(name for name, _ in told[2:5]) == NAMES
    assert sum(sampled for _, sampled in told[2:5]) == 1
    assert told[5] == 3


def test_an_unknown_tracker_is_refused(matte):
    outcome = matte("tracking=wandb", "tracking.name=mlflow")
    assert outcome.code == 2
    assert "tracking.name=mlflow: no such tracker; there are files, wandb" in outcome.err
