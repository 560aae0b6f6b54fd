"""Sweeps whose jobs run elsewhere: Slurm's launcher; Ray's is tested beside its engine."""

from __future__ import annotations

import os
import stat
import sys

import pytest
from conftest import records
from sweeps import killing, rows


def test_a_lost_job_is_named_and_the_others_are_compared(sweep, tmp_path):
    """Submitit's own executor for one machine."""
    outcome = sweep("submitit_local", command=killing(tmp_path / "mark"))
    assert outcome.code == 1, outcome.err
    assert "a job of the sweep was lost" in outcome.err
    assert "1 of 2 jobs failed" in outcome.err
    assert "  1 (refine.sample_pixels=1000" in outcome.err
    assert "ended without saying how" in outcome.err
    assert "Traceback" not in outcome.err
    assert "ConfigStore schema" not in outcome.err
    assert rows(tmp_path / "out")["0"]["status"] == "finished"
    assert len(records(tmp_path / "out/1")) == 3
    resumed = sweep("basic", "on_existing=resume")
    assert resumed.code == 0, resumed.err
    assert {run["status"] for run in rows(tmp_path / "out").values()} == {"finished"}


SBATCH = """#!{python}
import os, subprocess, sys
script = open(sys.argv[-1]).read()
with open({seen!r}, "w") as file:
    file.write(script)
(array,) = [line for line in script.splitlines() if line.startswith("#SBATCH --array=")]
last = int(array.partition("=")[2].partition("%")[0].partition("-")[2])
for index in range(last + 1):
    alone = dict(SLURM_JOB_NUM_NODES="1", SLURM_NTASKS="1", SLURM_JOB_NODELIST="localhost",
                 SLURM_NODEID="0", SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_JOB_ID=str(7 + index),
                 SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID=str(index))
    subprocess.Popen(["bash", sys.argv[-1]], env={{**os.environ, **alone}}, start_new_session=True,
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("Submitted batch job 7")
"""

SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do
  if [[ "$1" == --output || "$1" == --error ]]; then shift; fi
  shift
done
exec "$@"
"""


def test_the_file_for_slurm_makes_an_array_of_jobs(sweep, tmp_path, monkeypatch):
    """With stand-ins for Slurm's commands, which run the script that it would be given."""
    tools = tmp_path / "tools"
    tools.mkdir()
    seen = tmp_path / "script.sh"
    programs = {
        "sbatch": SBATCH.format(python=sys.executable, seen=str(seen)),
        "srun": SRUN,
        "sacct": "#!/bin/sh\necho 'JobID|State|NodeList'\necho '7_[0-1]|RUNNING|localhost'\n",
        "scontrol": "#!/bin/sh\necho localhost\n",
    }
    for name, text in programs.items():
        path = tools / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    outcome = sweep("submitit_slurm", "hydra.launcher.partition=night")
    assert outcome.code == 0, outcome.err
    script = seen.read_text()
    for line in (
        "#SBATCH --array=0-1%2",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=16GB",
        "#SBATCH --partition=night",
        "#SBATCH --time=240",
        "#SBATCH --signal=USR2@120",
        "#SBATCH --job-name=bgm",
    ):
        assert line in script
    assert {run["status"] for run in rows(tmp_path / "out").values()} == {"finished"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hydra.launcher.time_min=3"], "time_min"),
        (["hydra.launcher.timeout_min=long"], "timeout_min"),
    ],
)
def test_misspelt_settings_of_a_launcher_are_refused(sweep, arguments, said):
    outcome = sweep("submitit_slurm", *arguments)
    assert outcome.code == 2
    assert said in outcome.err


def test_a_launcher_that_is_not_installed_is_named(sweep, monkeypatch):
    from hydra.core.plugins import Plugins

    known = dict(Plugins.instance().class_name_to_class)
    kept = {name: kind for name, kind in known.items() if "submitit" not in name}
    monkeypatch.setattr(Plugins.instance(), "class_name_to_class", kept)
    outcome = sweep("submitit_slurm")
    assert outcome.code == 2
    assert "pip install 'bgm[slurm]'" in outcome.err
