"""A small shoot to work on, and the commands run as a user would."""

from __future__ import annotations

import io
import json
import logging
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

import bgm
from bgm.cli import commands as cli

# A shell that starts tests in the background lets them ignore Ctrl-C, and they their commands.
signal.signal(signal.SIGINT, signal.default_int_handler)

DEMO = Path(bgm.__file__).parent / "assets" / "demo"

NAMES = ["product/teapot", "tripod/lemur-brook", "tripod/lemur-mountain"]
"""The images of the small shoot."""

SLOW_STORE = """
import time, bgm.outputs.sinks as sinks
write = sinks.write_together
def slow(files):
    time.sleep({seconds} * len(files))
    write(files)
sinks.write_together = slow
from bgm.cli.commands import main
main()
"""
"""A program that is bgm with files that take a while to store."""

HELD_STORE = """
import os
import threading
from pathlib import Path
from bgm.cli.commands import main
free, replace = threading.Semaphore({free}), os.replace
def held(source, target):
    if Path(target).suffix in (".jpg", ".png") and not free.acquire(blocking=False):
        os.write(1, b"held\\n")
        os.read(0, 1)
    replace(source, target)
os.replace = held
main()
"""
"""A program that is bgm; its first pictures get names, the others once its input is closed."""


@dataclass
class Outcome:
    """What a command said and did."""

    code: int
    out: str
    err: str


@dataclass
class Shoot:
    """A directory of photographs with `src`, `bgr` and `pha`."""

    root: Path

    @property
    def src(self) -> Path:
        return self.root / "src"

    @property
    def bgr(self) -> Path:
        return self.root / "bgr"

    @property
    def pha(self) -> Path:
        return self.root / "pha"


def shrink(source: Path, target: Path, height: int) -> None:
    image = Image.open(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    image.resize((round(image.width * height / image.height), height)).save(target, quality=95)


@pytest.fixture
def shoot(tmp_path) -> Shoot:
    """The demo's tripod and product shots at 180 rows, in their sub-folders."""
    return make_shoot(tmp_path / "shoot")


def make_shoot(root: Path) -> Shoot:
    """Make the small shoot."""
    for path in sorted(DEMO.glob("*/*/*.*")):
        if "handheld" not in path.parts:
            shrink(path, root / path.relative_to(DEMO), 180)
    return Shoot(root)


@dataclass
class Swept:
    """A sweep of the small shoot that several tests look at."""

    outcome: Outcome
    shoot: Shoot
    folder: Path


def sweep_once(root: Path, *arguments: str) -> Swept:
    """Make the small shoot in a directory and sweep it into `out` there, scored."""
    shoot = make_shoot(root / "shoot")
    data = ["data=folders", f"data.src={shoot.src}", f"data.bgr={shoot.bgr}"]
    given = [*data, f"data.pha={shoot.pha}", "output_dir=out", "tracking=files", *arguments]
    return Swept(run_in(root, "-m", *given), shoot, root / "out")


def run_in(root: Path, *arguments: str, command=cli.MATTE) -> Outcome:
    """Run a command in a directory, for fixtures that several tests share."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(root)
        patch.setattr(sys, "argv", ["bgm", *arguments])
        GlobalHydra.instance().clear()
        code = cli.run_application(command)
        close_log_files()
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture
def bgm(tmp_path, monkeypatch, capsys):
    """Run a command in an empty working directory: `bgm("data=demo", ...)`."""
    monkeypatch.chdir(tmp_path)
    cv2.setNumThreads(2)

    def run(*arguments: str, command=cli.MATTE) -> Outcome:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["bgm", *map(str, arguments)])
        code = cli.run_application(command)
        close_log_files()
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


def close_log_files() -> None:
    """Let go of the log of a run that has ended, as the end of its process would."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, logging.FileHandler)]:
        root.removeHandler(handler)
        handler.close()


@pytest.fixture(scope="module")
def s3_server():
    """A real S3 server on the loopback, which processes of the tests are let in to."""
    from remote import serving

    from bgm.storage import remote

    with serving() as server:
        yield server
    remote._file_system.cache_clear()


@pytest.fixture
def s3(s3_server):
    """The server, free of what earlier tests had it do."""
    s3_server.trouble = lambda method, path: None
    s3_server.requests.clear()
    return s3_server


@pytest.fixture
def matte(bgm, shoot):
    """Matte the small shoot into `out`: `matte("outputs=lossless")`."""

    def run(*arguments: str) -> Outcome:
        folders = ["data=folders", f"data.src={shoot.src}", f"data.bgr={shoot.bgr}"]
        given = [str(a).partition("=")[0] for a in arguments]
        defaults = {"output_dir": "out", "tracking": "files"}
        settings = [f"{key}={value}" for key, value in defaults.items() if key not in given]
        return bgm(*folders, *settings, *arguments)

    return run


@pytest.fixture
def sweep(bgm, shoot, tmp_path):
    """Sweep two settings over the small shoot into `out`: `sweep("joblib")`."""
    folders = ["data=folders", f"data.src={shoot.src}", f"data.bgr={shoot.bgr}", "tracking=files"]
    settings = ["-m", "refine.sample_pixels=0,1000", "threads=1", *folders]

    def run(launcher: str, *arguments: str, command=cli.MATTE) -> Outcome:
        where = [f"output_dir={tmp_path / 'out'}", f"hydra/launcher={launcher}"]
        return bgm(*settings, *where, *arguments, command=command)

    return run


def records(output_dir: Path) -> dict[str, dict]:
    """The records of a run by name."""
    lines = (output_dir / "images.jsonl").read_text().splitlines()
    return {record["name"]: record for record in map(json.loads, lines)}


def files(root: Path) -> list[str]:
    """Every file under a directory, relative to it."""
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
