"""Whether runs differ by more than chance: paired differences, ties, groups, baselines."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bgm.cli import commands as cli
from bgm.comparison.compare import compare_runs
from bgm.comparison.figures import figure
from bgm.comparison.groups import group_images
from bgm.comparison.paired import compare_pair
from bgm.comparison.runs import find_runs
from bgm.errors import ConfigError
from bgm.records.check import Check
from bgm.records.directory import RunDirectory
from bgm.records.figures import figures_of, known_figures
from bgm.records.record import ImageRecord, Timings
from bgm.records.summary import Tally

IMAGES = 12


def store(
    folder: Path, settings: dict, scores: dict[str, float], ms: float = 10.0, weights: str = "ab"
) -> None:
    """The files of a run with these errors, as a run would leave them."""
    directory, tally = RunDirectory(folder), Tally()
    folder.mkdir(parents=True, exist_ok=True)
    directory.begin(len(scores), settings, {"checkpoint": {"sha256": weights}})
    for number, (name, mse) in enumerate(scores.items()):
        timings = Timings(forward_ms=ms + number % 3, total_ms=2 * ms)
        record = ImageRecord(name, scores={"mse": mse}, timings=timings, refined=0.1)
        directory.append(record)
        tally.add(record)
    directory.finish(tally.summarize(len(scores), 1.0))


@pytest.fixture
def runs(tmp_path):
    """Three runs of twelve images: b is better than a on hair and worse on glass, c is best."""
    rng = np.random.default_rng(0)
    names = [f"{'hair' if n < IMAGES // 2 else 'glass'}/{n:02}" for n in range(IMAGES)]
    hard = dict(zip(names, rng.uniform(0.001, 0.1, IMAGES), strict=True))
    noise = rng.uniform(0, 1e-4, (3, IMAGES))
    shifts = {"a": {"hair": 0.0, "glass": 0.0}, "b": {"hair": -5e-4, "glass": 5e-4}}
    shifts["c"] = {"hair": -9e-4, "glass": -9e-4}
    for number, (run, shift) in enumerate(shifts.items()):
        scores = {
            name: error + shift[name.split("/")[0]] + noise[number, at]
            for at, (name, error) in enumerate(hard.items())
        }
        settings = {"refine": {"mode": "sampling", "sample_pixels": 100 * (number + 1)}}
        store(tmp_path / "sweep" / run, settings, scores, ms=10 + 5 * number)
    return tmp_path / "sweep"


def read(folder: Path) -> dict:
    return json.loads((folder / "comparison.json").read_text())


def test_the_best_is_marked_where_it_is_no_tie(runs):
    comparison = compare_runs(find_runs([str(runs)]))
    assert comparison.best["mse"] == {2}  # though images differ by a hundred times that
    assert comparison.best["forward_median_ms"] == {0}
    difference = comparison.differences["mse"][0]
    assert comparison.references["mse"] == 2
    assert difference.verdict == "worse"
    assert difference.low < 0.9 < difference.high  # x1000, as the column
    assert difference.won == 0
    assert difference.worst[0][1] == max(by for _, by in difference.worst)
    assert comparison.differences["mse"][1].images == IMAGES


def test_what_chance_may_have_done_is_a_tie(runs):
    comparison = compare_runs(find_runs([str(runs / "a"), str(runs / "b")]))
    assert comparison.best["mse"] == frozenset()
    assert comparison.tied["mse"] == {0, 1}
    (difference,) = comparison.differences["mse"].values()
    assert difference.verdict == "tie"
    assert difference.low <= 0 <= difference.high


def test_equal_runs_and_too_few_images_have_no_best(tmp_path):
    for run in ("a", "b"):
        store(tmp_path / "equal" / run, {}, {str(n): 0.1 for n in range(9)})
        store(tmp_path / "few" / run, {}, {str(n): 0.1 + (run == "b") for n in range(5)})
    equal = compare_runs(find_runs([str(tmp_path / "equal")]))
    assert (equal.best["mse"], equal.tied["mse"]) == (frozenset(), {0, 1})
    few = compare_runs(find_runs([str(tmp_path / "few")]))
    assert (few.best["mse"], few.tied["mse"]) == (frozenset(), frozenset())
    assert few.differences["mse"][1].verdict == "too few"


def test_a_checkpoint_is_a_setting_unless_its_backbone_tells_which(tmp_path):
    for run, backbone, weights in (("a", "x", "1"), ("b", "y", "2"), ("other/c", "y", "3")):
        store(tmp_path / run, {"backbone": {"name": backbone}}, {"0": 0.1}, weights=weights)
    assert compare_runs(find_runs([str(tmp_path / "?")])).settings == ["backbone.name"]
    together = compare_runs(find_runs([str(tmp_path / "?"), str(tmp_path / "other/c")]))
    assert list(together.settings) == ["backbone.name", "checkpoint.sha256"]


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Skewed differences, as errors are: of 200 intervals about one in twenty may miss."""
    rng, mse = np.random.default_rng(1), figure("mse")
    misses = 0
    for _ in range(200):
        values = {str(n): float(v) for n, v in enumerate(rng.gamma(2, 1, 40))}
        found = compare_pair(mse, values, dict.fromkeys(values, 2.0))
        misses += not found.low <= 0 <= found.high
    assert 2 <= misses <= 22


def test_only_images_that_both_have_are_compared(tmp_path):
    names = [str(n) for n in range(10)]
    store(tmp_path / "all", {}, {n: 0.5 if n == "9" else 0.1 for n in names})
    store(tmp_path / "some", {}, dict.fromkeys(names[:9], 0.11))
    comparison = compare_runs(find_runs([str(tmp_path / "*")]))
    assert comparison.references["mse"] == 0  # it has more images; its mean is the larger one
    assert comparison.differences["mse"][1].images == 9
    assert comparison.best["mse"] == {0}


def test_every_format_tells_differences_and_groups(runs, bgm, tmp_path):
    settings = ["baseline='refine.sample_pixels=200'", "groups=folder", "output_dir=out"]
    outcome = bgm("runs=[sweep]", *settings, command=cli.COMPARE)
    assert outcome.code == 0, outcome.err
    content = read(tmp_path / "out")
    assert content["baseline"] == "b"
    a, b, c = content["runs"]
    assert a["differences"]["mse"]["verdict"] == "tie"
    assert c["differences"]["mse"]["verdict"] == "better"
    assert b["differences"] == {}
    assert "mse" in c["best"]
    groups = {(g["group"], g["run"]): g for g in content["groups"]}
    assert len(groups) == 6
    assert groups["hair", "a"]["differences"]["mse"]["verdict"] == "worse"
    assert groups["glass", "a"]["differences"]["mse"]["verdict"] == "better"
    assert groups["glass", "a"]["images"] == 6

    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/comparison.csv").read_text())))
    assert len(rows) == 9
    assert [row["group"] for row in rows[:3]] == ["", "", ""]
    assert rows[0]["MSE x1000: verdict"] == "tie"
    assert float(rows[2]["MSE x1000: high"]) < 0
    of_group = {(row["group"], row["run"]): row for row in rows[3:]}
    assert of_group["hair", "a"]["MSE x1000: verdict"] == "worse"

    markdown = (tmp_path / "out/comparison.md").read_text()
    assert "difference of each image to b" in markdown.lower()
    assert "| hair | a | 6 |" in markdown
    assert "by group of images" in outcome.out
    assert "[+" in outcome.out
    page = (tmp_path / "out/comparison.html").read_text()
    assert "By group of images" in page


def test_a_baseline_that_is_none_or_several_is_refused(runs, bgm):
    for baseline in ("z", "'refine.mode=sampling'", "'refine.sample_pixels=7'"):
        outcome = bgm("runs=[sweep]", f"baseline={baseline}", command=cli.COMPARE)
        assert outcome.code == 2
        assert "baseline=" in outcome.err
        assert "a, b, c" in outcome.err


def test_groups_of_a_table_of_tags(tmp_path):
    table = tmp_path / "tags.csv"
    table.write_text("name,tags,light,wet\nx/1.jpg,hair; fur,day,1\nx/2,hair,night,0\nx/9,,,\n")
    groups = group_images(["x/1", "x/2", "x/3"], str(table))
    assert groups == {
        "fur": {"x/1"},
        "hair": {"x/1", "x/2"},
        "light=day": {"x/1"},
        "light=night": {"x/2"},
        "wet": {"x/1"},
    }


def test_groups_by_folder_begin_where_the_names_differ():
    assert group_images(["a/b/1", "a/b/2"], "folder") == {}
    groups = group_images(["s/hair/1", "s/hair/x/2", "s/glass/1", "s/3"], "folder")
    assert groups == {"hair": {"s/hair/1", "s/hair/x/2"}, "glass": {"s/glass/1"}, ".": {"s/3"}}


@pytest.mark.parametrize("content", ["", "name\nx\n", None, b"\xff\xfe\x00"])
def test_a_table_that_is_none_is_refused_before_any_work(matte, tmp_path, content):
    path = tmp_path / "tags.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    outcome = matte(f"groups={path}")
    assert outcome.code == 2
    assert f"groups={path}" in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_table_of_other_images_is_refused(runs, bgm, tmp_path):
    (tmp_path / "tags.csv").write_text("name,tag\nelsewhere,hair\n")
    outcome = bgm("runs=[sweep]", "groups=tags.csv", command=cli.COMPARE)
    assert outcome.code == 2
    assert (
        "it has none of the images, which are named like hair/00; it has elsewhere" in outcome.err
    )
    with pytest.raises(ConfigError):
        group_images(["a"], str(tmp_path / "tags.csv"))


def test_figures_of_records_are_found_by_themselves():
    timings = Timings(forward_ms=3.0)
    record = ImageRecord("x", scores={"mse": 0.1, "new": 2.0, "none": None}, timings=timings)
    assert figures_of(record) == {"mse": 0.1, "new": 2.0, "forward_ms": 3.0}
    assert figures_of(record.fail("why")) == {}
    assert {"mse", "fg_mse", "forward_ms", "total_ms", "refined"} <= set(known_figures())


def test_an_unknown_figure_of_the_images_has_a_column(tmp_path):
    for run, value in (("a", 1.0), ("b", 2.0)):
        (tmp_path / run).mkdir()
        summary = {"summary": {"status": "finished", "images": 6}}
        (tmp_path / run / "run.json").write_text(json.dumps(summary))
        lines = [{"name": str(n), "scores": {"fuzz": value + n / 99}} for n in range(6)]
        (tmp_path / run / "images.jsonl").write_text("\n".join(map(json.dumps, lines)))
    comparison = compare_runs(find_runs([str(tmp_path / "*")]))
    assert comparison.metrics[0].key == "fuzz"
    assert comparison.best["fuzz"] == {0}


@pytest.mark.parametrize("has_truth", [True, False])
def test_runs_are_compared_by_what_their_mattes_are_suspected_of(tmp_path, has_truth):
    for number, run in enumerate(("a", "b")):
        directory, tally = RunDirectory(tmp_path / run), Tally()
        directory.path.mkdir()
        directory.begin(8, {}, {})
        for n in range(8):
            check = Check(0.1 + 0.3 * number + 0.01 * n, islands=3)
            scores = {"mse": 0.1} if has_truth else {}
            directory.append(ImageRecord(str(n), check=check, scores=scores))
            tally.add(ImageRecord(str(n), check=check, scores=scores))
        directory.finish(tally.summarize(8, 1.0))
    comparison = compare_runs(find_runs([str(tmp_path / "*")]))
    keys = [metric.key for metric in comparison.metrics]
    assert keys.count("suspicion") == 1
    assert ("mse" in keys) == has_truth
    assert "islands" not in keys  # the suspicion sums it up
    assert comparison.best["suspicion"] == {0}
    assert comparison.differences["suspicion"][1].verdict == "worse"


def test_a_sweep_has_groups_and_a_baseline_too(matte, shoot, tmp_path):
    settings = ["refine.sample_pixels=160,1600", "outputs.types=[pha]", f"data.pha={shoot.pha}"]
    outcome = matte("-m", *settings, "groups=folder", 'baseline="1"')
    assert outcome.code == 0, outcome.err
    content = read(tmp_path / "out")
    assert content["baseline"] == "1"
    assert {g["group"] for g in content["groups"]} == {"product", "tripod"}
    assert "3 images are too few to tell which is best" in outcome.out


def test_comparing_imports_scipy_only_for_intervals_and_torch_never():
    code = (
        "import sys, bgm.comparison.compare, bgm.comparison.page, bgm.comparison.runs;"
        "sys.exit(any(name in sys.modules for name in ('scipy', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
