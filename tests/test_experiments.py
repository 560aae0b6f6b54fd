"""Experiments as people use them: every shipped one runs, so do presets of one's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bgm.locations import conf_directory

DOCS = Path(__file__).parent.parent / "docs"
EXPERIMENTS = sorted(path.stem for path in (conf_directory() / "experiment").glob("*.yaml"))
LESS = ["data.images=1", "outputs.types=[pha]"]
SMALLER = {
    "sweep_refine": ["model.backbone_scale=0.25"],
    "race_refine": ["model.backbone_scale=0.25", "refine={mode:full},{mode:sampling}"],
    "tune_refine": ["hydra.sweeper.n_trials=2"],
}
"""What makes an experiment quick."""


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_shipped_experiment_runs(matte, shoot, tmp_path, name):
    settings = [f"experiment={name}", f"data.pha={shoot.pha}", *LESS, *SMALLER.get(name, ())]
    outcome = matte(*settings)
    if name == "compare_backbones":  # two of the three checkpoints do not come with the package
        assert outcome.code == 1
        assert "2 of 3 jobs failed" in outcome.err
    else:
        assert outcome.code == 0, outcome.err
    assert list((tmp_path / "out").rglob("pha/**/*.png"))
    if name != "vfx":
        runs = json.loads((tmp_path / "out/comparison.json").read_text())["runs"]
        assert len(runs) >= 2
    if name == "sweep_refine":
        modes = [run["settings"]["refine.mode"] for run in runs]
        assert modes == ["sampling"] * 3 + ["thresholding"] * 2 + ["full"]


@pytest.fixture
def preset(tmp_path):
    """The preset of the docs, in a directory of its own; with the text of its page."""
    page = (DOCS / "configuration.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "settings/experiment/mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return page


def test_the_preset_of_the_docs_runs_and_says_where_it_came_from(matte, bgm, preset, tmp_path):
    mine = ["--config-dir=settings", "experiment=mine"]
    assert matte(*mine, "data.images=1").code == 0
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["config"]["refine"]["sample_pixels"] == 120_000
    assert run["config"]["outputs"]["pha"]["bits"] == 16

    shown, listed, *_ = re.findall(r"```text\n(.*?)```", preset, re.DOTALL)
    assert bgm(*mine, "--cfg=job", "--package=refine").out.strip() == shown.strip()
    sources = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in bgm(*mine, "--info=defaults").out.splitlines()
    ]
    found = [sources.index([c.strip() for c in row.split("|")[1:-1]]) for row in rows_of(listed)]
    assert found == sorted(found)
    assert "settings" in bgm(*mine, "--info=searchpath").out


def rows_of(text: str) -> list[str]:
    """The rows of a table in the docs."""
    return [line for line in text.splitlines() if line.startswith("|")][1:]


def test_tab_completion_in_a_shell(tmp_path):
    """As a shell asks for it, once what the docs say has been evaluated."""
    script = (
        'eval "$(bgm -sc install=bash)"\n'
        "complete -p bgm\n"
        "press() { COMP_LINE=$1; COMP_POINT=${#1}; COMP_WORDS=($1); COMP_CWORD=1; COMPREPLY=();"
        ' hydra_bash_completion; echo "${COMPREPLY[@]}"; }\n'
        "press 'bgm refine=s'\npress 'bgm experiment='\npress 'bgm on_exi'\n"
    )
    installed = tmp_path / "bgm"  # as pip makes it
    installed.write_text(f"#!{sys.executable}\nfrom bgm.cli.commands import main\nmain()\n")
    installed.chmod(0o755)
    said = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert said[0].endswith("-F hydra_bash_completion bgm")
    assert said[1].split() == ["refine=sampling"]
    assert said[2].split() == [f"experiment={name}" for name in EXPERIMENTS]
    assert said[3].split() == ["on_existing="]
