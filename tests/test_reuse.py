"""The jobs of a sweep share pictures and coarse results, and nobody can tell by the files."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from conftest import files, records

from bgm.data.shelf import Shelf

SWEEP = ["-m", "refine.sample_pixels=160,1600", "outputs.types=[pha,com]"]


def summaries(out):
    return [json.loads((out / str(job) / "run.json").read_text())["summary"] for job in (0, 1)]


def test_jobs_that_share_write_the_same_files_and_count_what_was_spared(matte, tmp_path):
    # First, because it also forgets what sweeps before it in this process have left.
    assert matte(*SWEEP, "data.align=true", "sweep_cache_mb=0", "output_dir=alone").code == 0
    assert matte(*SWEEP, "data.align=true").code == 0
    shared, alone = summaries(tmp_path / "out"), summaries(tmp_path / "alone")
    assert [s["spared_seconds"] > 0 for s in shared] == [False, True]
    assert [s["spared_seconds"] for s in alone] == [0, 0]
    for summary in shared:
        as_if = summary["seconds"] + summary["spared_seconds"]
        assert summary["images_per_second"] == pytest.approx(3 / as_if, rel=0.02)
    for job in ("0", "1"):
        names = [n for n in files(tmp_path / "out" / job) if n.startswith(("pha/", "com/"))]
        assert len(names) == 6
        for name in names:
            one, other = (tmp_path / run / job / name for run in ("out", "alone"))
            assert one.read_bytes() == other.read_bytes()
    first, second = (records(tmp_path / "out" / job) for job in ("0", "1"))
    for name, record in second.items():
        # The time of what was not done again is that of when it was done.
        assert record["timings"]["load_ms"] == first[name]["timings"]["load_ms"]
        assert record["timings"]["align_ms"] == first[name]["timings"]["align_ms"]
        assert record["timings"]["total_ms"] >= record["timings"]["load_ms"]


def test_a_photograph_that_changes_is_read_again(matte, shoot, tmp_path):
    sweep = [*SWEEP[:2], "outputs.types=[pha]"]
    assert matte(*sweep).code == 0
    path = shoot.src / "product/teapot.jpg"
    cv2.imwrite(str(path), np.ascontiguousarray(cv2.imread(str(path))[:, ::-1]))
    assert matte(*sweep, "output_dir=changed").code == 0
    for job in ("0", "1"):
        before, after = (
            (tmp_path / run / job / "pha/product/teapot.jpg").read_bytes()
            for run in ("out", "changed")
        )
        assert before != after


def test_other_weights_and_scales_are_other_results(matte, tmp_path):
    sweep = ["-m", "model.backbone_scale=0.25,0.5", "outputs.types=[pha]", "outputs=lossless"]
    assert matte(*sweep).code == 0
    assert matte("model.backbone_scale=0.5", *sweep[2:], "output_dir=alone").code == 0
    name = "pha/product/teapot.png"
    alone = (tmp_path / "alone" / name).read_bytes()
    assert (tmp_path / "out/1" / name).read_bytes() == alone
    assert (tmp_path / "out/0" / name).read_bytes() != alone


def test_a_shelf_keeps_what_fits_and_drops_what_a_whole_job_did_not_want():
    shelf = Shelf(0)
    shelf.begin_job(100)
    for key in "abc":
        shelf.keep(key, key.upper(), 40)
    assert [shelf.get(key) for key in "abc"] == ["A", "B", None]
    assert shelf.size == 80
    shelf.begin_job(100)
    assert shelf.get("a") == "A"
    shelf.begin_job(100)
    assert [shelf.get(key) for key in "ab"] == ["A", None]
    shelf.begin_job(10)
    assert shelf.get("a") is None
    assert shelf.size == 0


def test_memory_below_nothing_is_refused(matte):
    outcome = matte("sweep_cache_mb=-1")
    assert outcome.code == 2
    assert "sweep_cache_mb=-1: must be 0 or more" in outcome.err
