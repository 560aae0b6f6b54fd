"""The wheel, the sources and the front page: what reaches a user."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import replace
from importlib.metadata import requires
from pathlib import Path

import pytest
from conftest import DEMO, files, shrink
from packaging.requirements import Requirement

from bgm.cli import commands as cli
from bgm.config.validation import parse_config

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # setuptools would pack what has moved since
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run([*command, str(ROOT)], check=True, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert not re.search("deprecat|importable|Package .* is absent", said, re.IGNORECASE), said
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_carries_what_a_run_needs(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "bgm/conf/bgm.yaml",
        "bgm/conf/hydra/job_logging/bgm.yaml",
        "bgm/py.typed",
        "bgm/assets/checkpoints/mobilenetv2-refine.safetensors",
        "bgm/assets/checkpoints/README.md",
        "bgm/assets/demo/README.md",
        "bgm/assets/page/comparison.html.jinja",
        "bgm/assets/demo/src/handheld/backpack.jpg",
    ):
        assert name in names
    assert len([n for n in names if n.endswith(".yaml")]) == len(list(ROOT.glob("conf/**/*.yaml")))
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "bgm").rglob("*.py")}
    assert modules <= set(names)


def test_the_installed_wheel_runs_from_an_empty_directory(wheel, tmp_path):
    """A fresh environment; only the third-party packages are borrowed from this one."""
    venv.create(tmp_path / "env", with_pip=False)
    scheme = {"base": str(tmp_path / "env"), "platbase": str(tmp_path / "env")}
    site = Path(sysconfig.get_path("purelib", "venv", scheme))
    python = Path(sysconfig.get_path("scripts", "venv", scheme)) / Path(sys.executable).name
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--quiet"]
    # What lies on PYTHONPATH is not in the new environment, but pip would take it for that.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([*pip, str(wheel)], check=True, env=environment)
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    script = python.with_name("bgm")
    done = subprocess.run(
        [script, "output_dir=out", "outputs.types=[com]"],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "com/tripod/lemur-brook.png" in files(empty / "out")
    where = [str(python), "-c", "import bgm; print(bgm.__file__)"]
    found = subprocess.run(where, cwd=empty, env=environment, capture_output=True, text=True)
    assert str(site) in found.stdout


def would_run(target: str, folder: Path) -> str:
    """What make would run for a target where nothing is installed yet."""
    command = ["make", "-n", "--no-print-directory", target, f"VENV={folder / 'env'}"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_the_demo_brings_no_tools_and_the_tests_do_not_change_the_system(tmp_path):
    demo, tests = would_run("demo", tmp_path), would_run("test", tmp_path)
    assert demo.rstrip().endswith("bgm data=demo")
    assert "[dev]" not in demo
    assert "[dev]" in tests
    assert "install_browser" not in tests
    assert "install_browser" in would_run("browser", tmp_path)


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_what_is_installed_is_not_installed_again(tmp_path):
    env = tmp_path / "env"
    env.mkdir()
    for stamp in (".runs", ".develops"):
        (env / stamp).touch()
    for target in ("demo", "test"):
        assert "pip" not in would_run(target, tmp_path)


def test_every_dependency_has_a_lowest_version_that_can_be_installed():
    """As `make lowest` pins them; heavy libraries stay out of what running needs."""
    script = [sys.executable, "scripts/lowest.py"]
    said = subprocess.run(script, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    pinned = dict(line.split("==") for line in said.splitlines())
    needed = [Requirement(r) for r in requires("bgm") if Requirement(r).marker is None]
    assert set(pinned) == {requirement.name for requirement in needed}
    assert all(r.specifier.contains(pinned[r.name]) for r in needed)
    assert not set(pinned) & {"joblib", "onnx", "onnxruntime", "openvino", "ray"}


def test_weights_are_never_unpickled_freely():
    for path in (ROOT / "bgm").rglob("*.py"):
        for call in re.findall(r"torch\.load\([^)]*\)", path.read_text()):
            assert "weights_only=True" in call, path


def test_no_prints():
    for path in (ROOT / "bgm").rglob("*.py"):
        assert not re.search(r"(?<!\.)\bprint\(", path.read_text()), path


README = (ROOT / "README.md").read_text()


def test_the_python_example_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, kind in (("photo", "src"), ("plate", "bgr")):
        shrink(DEMO / kind / "product/teapot.jpg", tmp_path / f"{name}.jpg", 120)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(example, {})
    assert (tmp_path / "cutout.png").exists()


COMMANDS = re.findall(r"^(bgm\S*) (.*?)(?:  #.*)?$", README, re.MULTILINE)
APPLICATIONS = {
    "bgm": cli.MATTE,
    "bgm-benchmark": cli.BENCHMARK,
    "bgm-compare": cli.COMPARE,
    "bgm-compose": cli.COMPOSE,
    "bgm-export": cli.EXPORT,
    "bgm-evaluate": cli.EVALUATE,
    "bgm-train": cli.TRAIN,
}


@pytest.mark.parametrize(("name", "line"), COMMANDS)
def test_the_commands_of_the_readme_are_legal(bgm, name, line):
    arguments = [a for a in shlex.split(line) if a != "-m"]
    single = [re.sub(r"=([^\[,]*),.*", r"=\1", argument) for argument in arguments]
    command, checked = APPLICATIONS[name], []

    def check(raw):
        checked.append(parse_config(raw, command.schema))
        return 0

    once = ["hydra.mode=RUN"] if "experiment=" in line else []  # sweeps run in test_experiments.py
    outcome = bgm(*single, *once, command=replace(command, job=check))
    assert outcome.code == 0, outcome.err
    assert checked
