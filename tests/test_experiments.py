"""Experiments as people use them: every shipped one runs, so do presets of one's own."""

from __future__ import annotations

import json
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


def test_the_preset_of_the_docs_runs_and_says_where_it_came_from(matte, tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "experiments.md").read_text(), re.DOTALL)
    path = tmp_path / "settings/experiment/mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    mine = ["--config-dir=settings", "experiment=mine"]
    assert matte(*mine, "data.images=1").code == 0
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["config"]["refine"]["sample_pixels"] == 120_000
    assert run["config"]["outputs"]["pha"]["bits"] == 16
    shown = matte(*mine, "output_dir=other", "--cfg=job", "--package=refine").out
    assert "sample_pixels: 120000" in shown
    assert "experiment/mine" in matte(*mine, "--info=defaults").out
    assert not (tmp_path / "other").exists()


def test_tab_completion_offers_what_there_is():
    """As the shell asks for it, once `bgm -sc install=bash` has been evaluated."""
    code = (
        "import os, sys; os.environ['COMP_LINE'] = 'bgm ' + sys.argv[1]; "
        "os.environ['COMP_POINT'] = '99'; sys.argv = ['bgm', '-sc', 'query=bash']; "
        "from bgm.cli.commands import main; main()"
    )

    def offered(line: str) -> list[str]:
        command = [sys.executable, "-c", code, line]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()

    assert "refine=sampling" in offered("refine=s")
    assert {f"experiment={name}" for name in EXPERIMENTS} <= set(offered("experiment="))
