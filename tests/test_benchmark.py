"""bgm-benchmark measures, reports and leaves its figures; not how fast this machine is."""

from __future__ import annotations

import csv
import json

import pytest

from bgm.cli import commands as cli

QUICK = ["width=320", "height=180", "images=2", "rounds=1"]


@pytest.fixture
def benchmark(bgm):
    def run(*arguments):
        return bgm(*QUICK, "output_dir=bench", *arguments, command=cli.BENCHMARK)

    return run


def test_every_part_is_measured_on_both_sides(benchmark, tmp_path):
    outcome = benchmark("tracking.mode=disabled")
    assert outcome.code == 0, outcome.err
    for text in ("network alone", "files to files", "network free", "encode PNG level 1, bgm"):
        assert text in outcome.out
    assert "one image, alone" in outcome.out
    content = json.loads((tmp_path / "bench/benchmark.json").read_text())
    figures = {(figure["part"], figure["side"]): figure for figure in content["figures"]}
    assert len(figures) == 6
    for figure in figures.values():
        assert 0 < figure["low_ms"] <= figure["median_ms"] <= figure["high_ms"]
        assert figure["peak_mib"] > 0
    ours, theirs = figures["pipeline", "bgm"], figures["pipeline", "reference"]
    assert ours["speedup"] == pytest.approx(theirs["median_ms"] / ours["median_ms"], rel=0.05)
    assert theirs["speedup"] == 1
    steps = {step["step"]: step for step in content["steps"]}
    assert list(steps) == ["decode", "copies", "network", "layers", "encode"]
    for step in steps.values():
        assert 0 <= step["low_ms"] <= step["median_ms"] <= step["high_ms"]
    assert min(steps[name]["low_ms"] for name in ("decode", "network", "layers", "encode")) > 0
    assert {"torch", "bgm"} <= set(content["versions"])
    assert content["machine"]["threads"] >= 1
    rows = list(csv.DictReader((tmp_path / "bench/benchmark.csv").open()))
    assert [float(row["median_ms"]) for row in rows] == [f["median_ms"] for f in content["figures"]]
    run = json.loads((tmp_path / "bench/run.json").read_text())
    assert run["summary"]["figures"]["network/bgm"] == figures["network", "bgm"]
    assert run["summary"]["figures"]["steps/network"] == steps["network"]
    assert not list((tmp_path / "bench").glob("scratch-*"))


def test_a_backbone_without_a_checkpoint_is_measured_with_random_weights(benchmark, tmp_path):
    outcome = benchmark("backbone=resnet50", "parts=[network]", "reference=false")
    assert outcome.code == 0, outcome.err
    (figure,) = json.loads((tmp_path / "bench/benchmark.json").read_text())["figures"]
    assert (figure["part"], figure["side"], figure["speedup"]) == ("network", "bgm", None)


def test_settings_are_checked_before_anything_is_measured(benchmark, tmp_path):
    for argument, message in (
        ("width=1921", "width=1921: must be 16 or more, divisible by 4"),
        ("parts=[]", "at least one part"),
        ("rounds=0", "rounds=0: must be 1 or more"),
        ("checkpoint=nowhere.pth", "nowhere.pth does not exist"),
        ("device=cuda", "no CUDA device"),
    ):
        outcome = benchmark(argument)
        assert outcome.code == 2, argument
        assert message in outcome.err
    assert not (tmp_path / "bench/benchmark.json").exists()


def test_it_sweeps(benchmark, tmp_path):
    outcome = benchmark("-m", "threads=1,2", "parts=[codecs]")
    assert outcome.code == 0
    assert (tmp_path / "bench/1/benchmark.json").exists()
