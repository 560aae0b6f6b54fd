"""Runs side by side: after a sweep, and with bgm-compare."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
from conftest import NAMES, sweep_once
from PIL import Image

from bgm.cli import commands as cli
from bgm.comparison.compare import compare_runs
from bgm.comparison.finished import FinishedRun
from bgm.comparison.gallery import make_gallery
from bgm.comparison.runs import find_runs
from bgm.layers import LayerSpec
from bgm.outputs.exr import encode_exr
from bgm.records.fingerprints import fingerprint
from bgm.records.record import ImageRecord
from bgm.records.summary import Summary
from bgm.runs import runner

SWEEP = ["-m", "refine.sample_pixels=160,1600", "outputs.types=[pha,com]"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two scored runs of the small shoot."""
    swept = sweep_once(tmp_path_factory.mktemp("compare"), *SWEEP[1:])
    assert swept.outcome.code == 0, swept.outcome.err
    return swept


@pytest.fixture
def sweep(swept, tmp_path):
    """What the sweep said, and a copy of what it did."""
    folder = tmp_path / "out"
    shutil.copytree(swept.folder, folder)
    said = swept.outcome.out.replace(str(swept.folder), str(folder))
    return replace(swept.outcome, out=said), folder


def read(folder) -> dict:
    return json.loads((folder / "comparison.json").read_text())


def test_a_sweep_ends_with_a_comparison(sweep):
    outcome, folder = sweep
    assert "refine.sample_pixels" in outcome.out
    assert f"The comparison is in {folder}/comparison.html" in outcome.out
    content = read(folder)
    runs = content["runs"]
    assert [run["settings"] for run in runs] == [
        {"refine.sample_pixels": 160},
        {"refine.sample_pixels": 1600},
    ]
    for run, job in zip(runs, (0, 1), strict=True):
        summary = json.loads((folder / f"{job}/run.json").read_text())["summary"]
        figures = run["figures"]
        assert figures["mse"] == pytest.approx(summary["scores"]["mse"] * 1000)
        assert figures["forward_median_ms"] == summary["stages"]["forward"]["median_ms"]
        assert figures["total_p95_ms"] == summary["stages"]["total"]["p95_ms"]
        assert figures["images_per_second"] == summary["images_per_second"]
        assert figures["refined_percent"] == pytest.approx(summary["refined"] * 100)
        assert figures["peak_memory_mib"] > 100
        assert figures["failed"] == 0
    assert content["columns"]["mse"] == "MSE x1000"


def multiply(folder, times: int) -> None:
    """Let a run have had every image several times, under other names."""
    path = folder / "images.jsonl"
    lines = path.read_text().splitlines()
    more = [json.loads(line) for _ in range(times) for line in lines]
    for number, record in enumerate(more):
        record["name"] += f"-{number}"
    path.write_text("".join(json.dumps(record) + "\n" for record in more))


def test_the_tables_agree_and_mark_the_best(sweep, bgm, tmp_path):
    outcome, folder = sweep
    rows = list(csv.DictReader(io.StringIO((folder / "comparison.csv").read_text())))
    runs = read(folder)["runs"]
    assert [float(row["MSE x1000"]) for row in rows] == [run["figures"]["mse"] for run in runs]
    assert runs[0]["best"] == runs[1]["best"] == []  # of three images there is no telling
    for run in ("0", "1"):
        multiply(folder / run, 3)
    outcome = bgm("runs=[out]", "output_dir=again", command=cli.COMPARE)
    runs = read(tmp_path / "again")["runs"]
    best = min(runs, key=lambda run: run["figures"]["grad"])
    assert "grad" in best["best"]
    shown = f"{best['figures']['grad']:.3f}"
    assert f"| **{shown}** |" in (tmp_path / "again/comparison.md").read_text()
    assert f"{shown}*" in outcome.out


def test_failed_jobs_are_rows_with_their_reason(matte, tmp_path):
    outcome = matte("-m", "refine.threshold=2,0.5", "outputs.types=[pha]")
    assert outcome.code == 1
    failed, finished = read(tmp_path / "out")["runs"]
    assert failed["status"] == "failed"
    assert "refine.threshold=2.0: must be from 0 to 1" in failed["error"]
    assert failed["settings"] == {"refine.threshold": 2}
    assert finished["settings"] == {"refine.threshold": 0.5}
    page = (tmp_path / "out/comparison.html").read_text()
    assert "1 failed" in page
    assert 'class="failed"' in page


def test_a_job_that_died_without_a_word_is_a_row_too(sweep, bgm):
    _, folder = sweep
    (folder / "1/run.json").unlink()
    assert bgm("runs=[out]", "output_dir=again", command=cli.COMPARE).code == 0
    died = read(folder.parent / "again")["runs"][1]
    assert died["status"] == "failed"
    assert "ended without saying how" in died["error"]


def test_finished_runs_by_directory_by_sweep_and_by_glob(sweep, bgm, tmp_path):
    for given in ("[out/0,out/1]", "[out]", '["out/*"]', '["o*"]'):
        outcome = bgm(f"runs={given}", "output_dir=again", command=cli.COMPARE)
        assert outcome.code == 0, outcome.err
        assert [run["run"] for run in read(tmp_path / "again")["runs"]] == ["0", "1"]
    outcome = bgm("runs=[nowhere]", command=cli.COMPARE)
    assert outcome.code == 2
    assert "no runs at nowhere" in outcome.err


def test_runs_are_named_as_briefly_as_tells_them_apart(sweep, tmp_path):
    shutil.copytree(tmp_path / "out", tmp_path / "other")
    names = [run.name for run in find_runs([str(tmp_path / "out"), str(tmp_path / "other")])]
    assert names == ["out/0", "out/1", "other/0", "other/1"]


def test_where_runs_differ_most_comes_first(sweep, tmp_path):
    _, folder = sweep
    shutil.copy(folder / "0/pha/tripod/lemur-brook.jpg", folder / "1/pha/product/teapot.jpg")
    shutil.copy(folder / "0/pha/tripod/lemur-brook.jpg", folder / "1/pha/tripod/lemur-brook.jpg")
    runs = find_runs([str(folder)])
    gallery = make_gallery(runs, folder / "comparison.html", page_mb=30)
    assert sorted(image.name for image in gallery) == NAMES
    assert gallery[-1].name == "tripod/lemur-brook"
    assert gallery[-1].difference == 0
    assert [i.difference for i in gallery] == sorted((i.difference for i in gallery), reverse=True)
    assert all({"alpha", "cutout"} == set(layers) for i in gallery for layers in i.panels)
    assert gallery[0].panels[1]["alpha"].file.startswith("1/pha/")


def test_the_pictures_are_scaled_to_a_bounded_page(sweep):
    _, folder = sweep
    run = find_runs([str(folder)])[0]
    record = run.records["tripod/lemur-brook"]
    many = {f"{n:03}": replace(record, name=f"{n:03}") for n in range(40)}
    runs = [replace(run, records=many)] * 8
    gallery = make_gallery(runs, folder / "comparison.html", page_mb=3)
    size = sum(len(p.data) for image in gallery for panels in image.panels for p in panels.values())
    assert len(gallery) == 40
    assert size < 3e6
    assert make_gallery(runs, folder / "comparison.html", page_mb=3, most=0) == []


def test_best_is_not_claimed_where_there_is_nothing_to_compare(sweep):
    _, folder = sweep
    comparison = compare_runs(find_runs([str(folder / "0")]))
    assert not any(comparison.best.values())
    assert comparison.settings == []


def test_jobs_side_by_side_in_processes_of_their_own(matte, tmp_path):
    outcome = matte(*SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "backbone=resnet50")
    assert outcome.code == 2
    assert "2 of 2 jobs failed" in outcome.err
    outcome = matte(*SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "output_dir=two")
    assert outcome.code == 0
    assert [run["status"] for run in read(tmp_path / "two")["runs"]] == ["finished"] * 2


def test_odd_names_do_not_break_the_comparison(bgm, shoot, tmp_path):
    names = ["<script>alert(1)</script>", "a$\\x$", "[bold]", "quote\"'", os.fsdecode(b"\xff")]
    for folder, root in (("photos", shoot.src), ("plates", shoot.bgr)):
        for name in names:
            path = tmp_path / folder / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((root / "product/teapot.jpg").read_bytes())
    options = ["data=folders", "data.src=photos", "data.bgr=plates", "tracking=files"]
    for number in (1, 2):
        settings = [f"refine.threshold=0.{number}", f"output_dir='a$x$/{number}'"]
        assert bgm(*options, *settings).code == 0
    outcome = bgm("runs=['a$x$']", "output_dir=both", command=cli.COMPARE)
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "both/comparison.html").read_text()
    assert "<script>alert" not in page


RUN = {"summary": {"status": "finished", "images": 1}}


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("run.json", "{", "run.json cannot be read"),
        ("run.json", "[]", "run.json is not what bgm writes"),
        ("run.json", json.dumps({"summary": None}), "run.json is not the summary of a run"),
        ("run.json", json.dumps({"summary": {"scores": {}}}), "run.json is not the summary"),
        (
            "run.json",
            json.dumps({"summary": {"status": "finished", "images": 1, "scores": {"mse": "x"}}}),
            "mse is no number",
        ),
        (
            "run.json",
            json.dumps({"summary": {"status": "finished", "images": 1, "stages": {"forward": 3}}}),
            "run.json",
        ),
        (
            "run.json",
            json.dumps({"summary": {"status": "finished", "images": 1, "peak_memory_mib": "x"}}),
            "peak_memory_mib is no number",
        ),
        ("status.json", "{", "status.json cannot be read"),
        ("status.json", json.dumps({"overrides": None}), "its files are damaged"),
    ],
)
def test_a_run_that_cannot_be_read_is_a_row_that_says_so(bgm, tmp_path, name, content, error):
    for folder, file, text in (("good", "run.json", json.dumps(RUN)), ("bad", name, content)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(text)
    outcome = bgm("runs=[good,bad]", "output_dir=both", command=cli.COMPARE)
    assert outcome.code == 0, outcome.err
    good, bad = read(tmp_path / "both")["runs"]
    assert (good["status"], bad["status"]) == ("finished", "failed")
    assert error in bad["error"]


def test_fields_that_are_unknown_and_settings_of_any_kind_are_passed_over(bgm, tmp_path):
    for folder, mode in (("one", ["sampling"]), ("other", {"deep": None})):
        (tmp_path / folder).mkdir()
        config = {"refine": {"mode": mode, "threshold": 0.1}, "future": mode}
        content = {"summary": {**RUN["summary"], "future": 1}, "config": config, "future": 1}
        (tmp_path / folder / "run.json").write_text(json.dumps(content))
        records = [{"name": "x", "files": {"pha": 5}, "inputs": {"src": {"path": 3}}}, 3, "x"]
        lines = [*map(json.dumps, records), "\0\0{"]
        (tmp_path / folder / "images.jsonl").write_text("\n".join(lines))
    outcome = bgm("runs=[one,other]", "output_dir=both", command=cli.COMPARE)
    assert outcome.code == 0, outcome.err
    assert [run["status"] for run in read(tmp_path / "both")["runs"]] == ["finished"] * 2


def test_jobs_are_found_under_any_name_and_left_over_ones_are_not_theirs(matte, bgm, tmp_path):
    settings = ["-m", "hydra.sweep.subdir='${hydra.job.override_dirname}/job_${hydra.job.num}'"]
    assert matte(*settings, "refine.threshold=2,3,4").code == 2
    outcome = matte(*settings, "refine.threshold=2,5")
    assert outcome.code == 2
    assert "2 of 2 jobs failed" in outcome.err
    assert "refine.threshold=5" in outcome.err
    runs = read(tmp_path / "out")["runs"]
    assert [run["settings"] for run in runs] == [
        {"refine.threshold": 2},
        {"refine.threshold": 5},
    ]
    assert bgm("runs=[out]", "output_dir=all", command=cli.COMPARE).code == 0
    assert len(read(tmp_path / "all")["runs"]) == 4


def test_a_job_that_was_refused_can_be_done_later(matte, tmp_path):
    assert matte("-m", "refine.threshold=2,3", "outputs.types=[pha]").code == 2
    assert not (tmp_path / "out/0/run.json").exists()
    settings = ["refine.threshold=0.5", "outputs.types=[pha]"]
    assert matte(*settings, "output_dir=out/0").code == 0
    assert matte(*settings, "output_dir=out/1", "on_existing=resume").code == 0


def test_a_job_that_is_refused_is_not_the_run_that_was_there(matte, bgm, tmp_path):
    (tmp_path / "out/0").mkdir(parents=True)
    (tmp_path / "out/0/run.json").write_text(json.dumps(RUN))
    assert matte("-m", "refine.threshold=2").code == 2
    (run,) = read(tmp_path / "out")["runs"]
    assert "must be from 0 to 1" in run["error"]
    assert bgm("runs=[out]", "output_dir=again", command=cli.COMPARE).code == 0
    assert [run["status"] for run in read(tmp_path / "again")["runs"]] == ["finished"]


def test_a_sweep_whose_process_is_killed_is_an_interrupted_one(bgm, tmp_path):
    def kill(raw):
        os.kill(os.getpid(), signal.SIGKILL)

    command = replace(cli.MATTE, job=kill)
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    # Absolute: processes of an earlier sweep, and their current directory, are used again.
    outcome = bgm("-m", "seed=1,2", *launcher, f"output_dir={tmp_path / 'out'}", command=command)
    assert outcome.code == 130
    assert "was killed from outside" in outcome.err
    assert "Traceback" not in outcome.err
    runs = read(tmp_path / "out")["runs"]
    assert runs
    for run in runs:
        status = json.loads((tmp_path / "out" / run["run"] / "status.json").read_text())
        assert status["exit_code"] == 130
        assert run["status"] == "interrupted"
        assert "was killed" in run["error"]


def test_a_run_that_was_killed_is_not_still_running(tmp_path):
    content = {"summary": {"status": "running", "images": 3}}
    (tmp_path / "run.json").write_text(json.dumps(content))
    status = {"exit_code": 130, "error": "interrupted: a process was killed"}
    (tmp_path / "status.json").write_text(json.dumps(status))
    (run,) = find_runs([str(tmp_path)])
    assert run.summary.status == "interrupted"
    assert "was killed" in run.summary.error


@pytest.fixture
def teapot(shoot, tmp_path):
    """A run of one image as its files would tell it, without the matting."""
    pha = tmp_path / "run/pha/teapot.png"
    com = tmp_path / "run/com/teapot.png"
    (truth,) = shoot.pha.glob("product/teapot.*")
    for path in (pha, com):
        path.parent.mkdir(parents=True)
    shutil.copy(truth, pha)
    with Image.open(truth) as alpha:
        Image.new("RGBA", alpha.size).save(com)
    inputs = {"src": fingerprint(shoot.src / "product/teapot.jpg"), "pha": fingerprint(truth)}
    files = {"pha": "pha/teapot.png", "com": "com/teapot.png"}
    record = ImageRecord("teapot", files=files, inputs=inputs)
    return FinishedRun("run", tmp_path / "run", Summary("finished", 1), {}, {"teapot": record})


def pictures(run, **changes):
    """What the gallery has of the teapot, with its record changed."""
    record = replace(run.records["teapot"], **changes)
    changed = replace(run, records={"teapot": record})
    (image,) = make_gallery([changed], run.path / "page.html", 30)
    return image


def test_only_pictures_of_the_run_are_shown(teapot, tmp_path):
    shown = pictures(teapot)
    assert None not in (shown.source, shown.truth)
    assert shown.panels[0].keys() == {"alpha", "cutout"}
    secret = tmp_path / "secret.png"
    Image.new("RGB", (64, 64)).save(secret)
    (teapot.path / "link.png").symlink_to(secret)
    inputs = teapot.records["teapot"].inputs
    moved = {kind: replace(file, path=str(secret)) for kind, file in inputs.items()}
    for path in ("../secret.png", str(secret), "link.png", "link.png\0", 5):
        image = pictures(teapot, files={"pha": path, "com": path}, inputs=moved)
        assert (image.source, image.truth, image.panels) == (None, None, [{}])


def test_layers_of_film_pipelines_are_shown(teapot):
    """Premultiplied light in half floats: what is seen is what a PNG would show."""
    pytest.importorskip("OpenEXR")
    alpha = np.asarray(Image.open(teapot.path / "pha/teapot.png").convert("L"), np.float32) / 255
    colours = np.dstack([np.full((*alpha.shape, 3), 0.5, np.float32), alpha])
    for kind, pixels, premultiplied in (("pha", alpha, False), ("com", colours, True)):
        spec = LayerSpec(kind, "exr", linear=True, premultiplied=premultiplied)
        (teapot.path / f"{kind}/teapot.exr").write_bytes(encode_exr(pixels, spec))
    shown = pictures(teapot, files={k: f"{k}/teapot.exr" for k in ("pha", "com")}).panels[0]
    assert (shown["alpha"].file, shown["cutout"].file) == (None, None)  # no browser shows them
    reference = pictures(teapot).panels[0]["alpha"]
    difference = np.abs(unpack(shown["alpha"]).astype(int) - unpack(reference))
    assert difference.max() <= 1
    cutout = unpack(shown["cutout"])
    inside = cutout[..., 3] == 255
    assert np.abs(cutout[inside][:, :3].astype(int) - 128).max() <= 3
    (teapot.path / "pha/teapot.exr").write_bytes(b"no picture")
    assert "alpha" not in pictures(teapot, files={"pha": "pha/teapot.exr"}).panels[0]


def unpack(panel) -> np.ndarray:
    """The pixels of a picture in the page."""
    data = base64.b64decode(panel.data.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)))


def test_pictures_that_claim_to_be_huge_are_not_decoded(teapot, monkeypatch):
    monkeypatch.setattr("bgm.comparison.pictures.MAX_PIXELS", 100)
    assert pictures(teapot, files={"com": "com/teapot.png"}).panels == [{}]


def test_an_interrupted_sweep_compares_what_is_finished(matte, tmp_path, monkeypatch):
    real, done = runner.execute, []

    def interrupted_at_the_second(*arguments):
        summary = real(*arguments)
        done.append(summary)
        return replace(summary, status="interrupted") if len(done) == 2 else summary

    monkeypatch.setattr("bgm.runs.runner.execute", interrupted_at_the_second)
    outcome = matte("-m", "refine.sample_pixels=160,320,640", "outputs.types=[pha]")
    assert outcome.code == 130
    assert len(read(tmp_path / "out")["runs"]) == 2
