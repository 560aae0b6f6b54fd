"""Sweeps that look where they go: searches with Optuna, races."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import run_in
from hydra.core.hydra_config import HydraConfig

from bgm.cli import commands as cli
from bgm.comparison.objective import objective_values
from bgm.comparison.race import Race
from bgm.comparison.runs import find_runs
from bgm.records.directory import RunDirectory
from bgm.records.record import ImageRecord, Timings
from bgm.records.summary import Tally

IMAGES = 40
SCALES, PIXELS = (0.125, 0.25, 0.5), (100, 1000, 10000, 100000)
GRID = [f"model.backbone_scale={','.join(map(str, SCALES))}"]
GRID += [f"refine.sample_pixels={','.join(map(str, PIXELS))}"]
ORDER = np.random.default_rng(5).permutation(IMAGES)


def errors(scale: float, pixels: int) -> np.ndarray:
    """Errors like those of refining: images differ a lot, settings by a part of that."""
    hard = np.random.default_rng(3).gamma(1.5, 2e-3, IMAGES)
    noise = np.random.default_rng([int(scale * 1000), pixels]).normal(0, 0.15, IMAGES)
    return hard * (2.2 - 2 * scale - 0.1 * np.log10(pixels) + noise)


def pretend(raw) -> int:
    """A job that matted nothing, but knows what would have come of it; it resumes as a run does."""
    count = min(raw.data.images or IMAGES, IMAGES)
    folder = Path(HydraConfig.get().runtime.output_dir)
    directory, tally = RunDirectory(folder), Tally()
    before = directory.read_records()
    with (Path.cwd() / "matted.txt").open("a") as file:
        file.write("x" * (count - len(before)))
    records = []
    scale, pixels = raw.model.backbone_scale, raw.refine.sample_pixels
    scale, pixels = 0.25 if scale == "auto" else scale, 80_000 if pixels == "auto" else pixels
    for image in ORDER[:count]:
        timings = Timings(forward_ms=10 + 100 * scale + 1e-4 * pixels + 0.1 * (image % 3))
        mse = float(errors(scale, pixels)[image])
        name = f"{image:02}"
        status = "skipped" if name in before else "written"
        records.append(ImageRecord(name, status, scores={"mse": mse}, timings=timings))
    directory.begin(count, cli.to_plain(raw), {}, [])
    for record in records:
        directory.append(record)
        tally.add(record)
    directory.finish(tally.summarize(count, 1.0))
    return 0


PRETENDED = replace(cli.MATTE, job=pretend)


SETTINGS = ["data.pha=truth", "tracking=files", "output_dir=out"]


@pytest.fixture
def pretended(bgm):
    def run(*arguments):
        return bgm(*SETTINGS, *arguments, command=PRETENDED)

    return run


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Where the whole grid was matted."""
    root = tmp_path_factory.mktemp("grid")
    outcome = run_in(root, "-m", *SETTINGS, *GRID, command=PRETENDED)
    assert outcome.code == 0, outcome.err
    return root


def read(folder: Path) -> list[dict]:
    return json.loads((folder / "comparison.json").read_text())["runs"]


def test_a_race_finds_what_the_whole_sweep_finds_for_half_the_work(full, pretended, tmp_path):
    assert len((full / "matted.txt").read_text()) == 12 * IMAGES
    outcome = pretended("-m", *GRID, "race=true")
    assert outcome.code == 0, outcome.err
    matted = len((tmp_path / "matted.txt").read_text())
    assert matted <= 12 * IMAGES / 2
    assert f"race: {matted} images were matted" in outcome.out

    grid, race = read(full / "out"), read(tmp_path / "out")
    best = min(grid, key=lambda run: run["figures"]["mse"])
    dropped = [run for run in race if run["note"].startswith("dropped after")]
    left = [run for run in race if run not in dropped]
    assert len(left) <= 3
    assert best["settings"] in [run["settings"] for run in left]
    assert all("is better by" in run["note"] for run in dropped)
    assert [run["run"] for run in race] == [str(number) for number in range(12)]
    assert len({run["figures"]["images"] for run in race}) > 1
    assert "dropped after 8 images" in (tmp_path / "out/comparison.csv").read_text()


def test_a_race_for_several_figures_leaves_a_front(pretended, tmp_path):
    settings = ["model.backbone_scale=0.125,0.5", "refine.sample_pixels=100,100000"]
    outcome = pretended("-m", *settings, "race=true", "objective=[mse,forward_ms]")
    assert outcome.code == 0, outcome.err
    runs = read(tmp_path / "out")
    left = [run for run in runs if "front of the race" in run["note"]]
    assert {run["settings"]["model.backbone_scale"] for run in left} == {0.125, 0.5}
    for run in runs:  # nothing that another is better than in both ways is left
        if run in left:
            assert not any(
                other["figures"]["mse"] < run["figures"]["mse"]
                and other["figures"]["forward_median_ms"] < run["figures"]["forward_median_ms"]
                for other in left
            )


def test_settings_that_cannot_be_told_apart_stay_in_the_race(pretended, tmp_path):
    outcome = pretended("-m", "seed=1,2,3", "race=true")
    assert outcome.code == 0, outcome.err
    notes = [run["note"] for run in read(tmp_path / "out")]
    assert notes == [f"left at the end of the race, after {IMAGES} images"] * 3


def test_a_race_keeps_its_false_losers_rare():
    """Five settings as good as the best: it rarely drops out at first sight."""
    rng, dropped = np.random.default_rng(0), 0
    for _ in range(20):
        hard = rng.gamma(1.5, 2, 8)
        runs = []
        for number in range(6):
            records = {
                str(n): ImageRecord(str(n), scores={"mse": float(v)})
                for n, v in enumerate(hard * rng.lognormal(0, 0.1, 8))
            }
            summary = Tally().summarize(8, 1.0)
            runs.append(cli_run(str(number), summary, records))
        dropped += 0 in Race(["mse"], 6).losers(runs)
    assert dropped <= 5


def cli_run(name, summary, records):
    from bgm.comparison.finished import FinishedRun

    return FinishedRun(name, Path(name), summary, {}, records)


def test_a_race_needs_something_to_race_by(bgm, tmp_path):
    outcome = bgm("-m", "seed=1,2", "race=true", "tracking=files", command=PRETENDED)
    assert outcome.code == 2
    assert "race=true needs something to race by" in outcome.err


def test_a_search_comes_near_the_best_of_the_grid(full, pretended, tmp_path):
    space = ["model.backbone_scale=interval(0.1,0.5)"]
    space += ["refine.sample_pixels=tag(log,interval(100,100000))"]
    budget = ["hydra.sweeper.n_trials=12"]
    outcome = pretended("-m", "hydra/sweeper=optuna", *space, *budget, "objective=[mse]")
    assert outcome.code == 0, outcome.err
    grid, search = read(full / "out"), read(tmp_path / "out")
    assert len(search) == 12
    errors_of = [run["figures"]["mse"] for run in search]
    worst, best = (f(run["figures"]["mse"] for run in grid) for f in (max, min))
    assert min(errors_of) < best + 0.3 * (worst - best)
    (noted,) = [run for run in search if run["note"]]
    assert noted["note"].startswith("best of the search: mse")
    assert noted["figures"]["mse"] == min(errors_of)


def test_a_ready_made_search_ends_with_a_front_within_its_budget(pretended, tmp_path):
    outcome = pretended("experiment=tune_refine", "hydra.sweeper.n_trials=8")
    assert outcome.code == 0, outcome.err
    runs = read(tmp_path / "out")
    assert len(runs) == 8
    front = [run for run in runs if "on the front of the search" in (run["note"] or "")]
    assert 1 < len(front) < 8


def test_a_budget_of_minutes_ends_a_search(pretended, tmp_path):
    budget = ["hydra.sweeper.n_trials=50", "hydra.sweeper.minutes=1e-6"]
    outcome = pretended("experiment=tune_refine", *budget)
    assert outcome.code == 0
    assert "no more trials" in outcome.out
    assert len(read(tmp_path / "out")) == 1


def test_a_space_that_is_used_up_ends_a_search(pretended, tmp_path):
    search = ["hydra/sweeper=optuna", "objective=[mse]", "refine.sample_pixels=100,1000,auto"]
    outcome = pretended("-m", *search)
    assert outcome.code == 0
    assert "every combination has been tried" in outcome.out
    tried = [run["settings"]["refine.sample_pixels"] for run in read(tmp_path / "out")]
    assert tried[0] == "auto"  # what the setting is without the search
    assert sorted(map(str, tried)) == ["100", "1000", "auto"]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (["hydra/sweeper=optuna", "seed=1,2"], "needs to know what to search for"),
        (["hydra/sweeper=optuna", "objective=[forward_ms]"], "nothing to search over"),
        (
            ["hydra/sweeper=optuna", "objective=[forward_ms]", "race=true", "seed=1,2"],
            "leave out one of the two",
        ),
        (
            ["hydra/sweeper=optuna", "objective=[forward_ms]", "hydra.sweeper.sampler=best"],
            "hydra.sweeper.sampler=best: there are tpe",
        ),
        (
            ["hydra/sweeper=optuna", "objective=[forward_ms]", "seed=tag(log,interval(0,9))"],
            "seed=tag(log,interval(0,9)):",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_any_work(bgm, tmp_path, settings, error):
    outcome = bgm("-m", "tracking=files", "output_dir=out", *settings, command=PRETENDED)
    assert outcome.code == 2
    assert error in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "out/0").exists()


def test_a_missing_optuna_is_named(bgm, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    outcome = bgm("-m", "hydra/sweeper=optuna", "objective=[forward_ms]", "seed=1,2")
    assert outcome.code == 2
    assert "pip install 'bgm[optuna]'" in outcome.err


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ("objective=[msee]", "objective=msee: no such figure (did you mean mse?)"),
        ("objective=[mse]", "objective=mse is a comparison with the truth: give data.pha"),
        ("objective=[]", "objective=[]: must be at least one figure, or null"),
        ("data.images=0", "data.images=0: must be 1 or more, or null"),
    ],
)
def test_an_objective_that_is_none_is_refused(matte, settings, error):
    outcome = matte(settings)
    assert outcome.code == 2
    assert error in outcome.err


def test_a_trial_that_lost_images_is_worth_nothing(tmp_path):
    directory, tally = RunDirectory(tmp_path), Tally()
    directory.begin(2, {}, {})
    for record in (ImageRecord("a", scores={"mse": 0.5}), ImageRecord("b").fail("no memory")):
        directory.append(record)
        tally.add(record)
    directory.finish(tally.summarize(2, 1.0))
    (run,) = find_runs([str(tmp_path)])
    assert objective_values(run, ["mse"]) is None


def test_a_real_race_on_real_images(matte, shoot, tmp_path):
    for number in range(9):
        for part in ("src", "bgr", "pha"):
            (source,) = (shoot.root / part).glob("product/teapot.*")
            (source.parent / f"more{number}{source.suffix}").write_bytes(source.read_bytes())
    settings = ["model.backbone_scale=0.05,0.5", "outputs.types=[pha]", f"data.pha={shoot.pha}"]
    outcome = matte("-m", *settings, "race=true", "hydra.sweep.subdir='j o/${hydra.job.num}'")
    assert outcome.code == 0, outcome.err
    worse, better = read(tmp_path / "out")
    assert worse["note"].startswith("dropped after 8 images: 1 is better by")
    assert better["note"] == "won the race, after 8 images"
    assert worse["figures"]["failed"] == better["figures"]["failed"] == 0


def test_some_of_the_images_are_part_of_more_of_them(matte, tmp_path):
    assert matte("data.images=1", "outputs.types=[pha]").code == 0
    first = set((tmp_path / "out/pha").rglob("*.jpg"))
    assert len(first) == 1
    assert matte("data.images=2", "outputs.types=[pha]", "on_existing=resume").code == 0
    assert first < set((tmp_path / "out/pha").rglob("*.jpg"))
    # What is there already is not forgotten, though fewer are asked for now.
    outcome = matte("data.images=1", "outputs.types=[pha]", "on_existing=resume")
    assert outcome.code == 0
    assert len((tmp_path / "out/images.jsonl").read_text().splitlines()) == 2
