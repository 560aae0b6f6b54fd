"""Settings: what is legal, and what is said about the rest before any work starts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import files
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from bgm import __version__
from bgm.cli import commands as cli
from bgm.cli.help import render
from bgm.config.schema import Config
from bgm.config.training import TrainConfig
from bgm.config.validation import PATHS, parse_config
from bgm.errors import ConfigError
from bgm.layers import LAYERS
from bgm.locations import conf_directory
from bgm.records.directory import flatten
from bgm.runs.interruption import StopRequest

CONF = conf_directory()
NO_GROUPS = ("hydra", "formats")
GROUPS = sorted(
    path.relative_to(CONF) for path in CONF.glob("*/*.yaml") if path.parent.name not in NO_GROUPS
)
OF_TRAINING = ("composites", "pictures", "stage", "validation")

RUN = OmegaConf.to_container(OmegaConf.structured(Config))
PATHS_OF_A_RUN = [key for key in PATHS if key in dict(flatten(RUN))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+model._target_=os.system"], "model._target_: unknown key"),
        (["+data={_target_:os.system,command:touch ran}"], "_target_: unknown key"),
        (["on_error=ask"], "expected one of [continue, stop]"),
        (["device.oom=ask"], "expected one of [cpu, fail]"),
        (["data.max_megapixels=inf"], "data.max_megapixels=inf: must be above 0 and finite"),
        (["seed=3000000000"], "seed=3000000000: must be from 0 to 2147483647"),
        (["data.max_megapixels=0"], "data.max_megapixels=0.0: must be above 0"),
        (["runtime.name=fast"], "runtime.name=fast: must be one of auto, eager"),
        (["threads=0"], "threads=0: must be 1 or more, or null"),
        (["output_dir=/dev/null/out"], "output_dir"),
        (["modle.x=1"], "modle.x: unknown key (did you mean model?)"),
        (["model.backbone_scal=0.5"], "did you mean model.backbone_scale?"),
        (["+model.scael=1"], "model.scael: unknown key; the keys under model are name"),
        (["+extra=1"], "extra: unknown key"),
        (["backbone=vgg"], "backbone=vgg: no such choice; there are mobilenetv2, resnet101"),
        (
            ["model.backbone_scale=0.7"],
            "model.backbone_scale=0.7: must be auto, or above 0 and at most 0.5",
        ),
        (["model.backbone_scale=0"], "must be auto, or above 0"),
        (["model.backbone_scale=big"], "model.backbone_scale=big: must be auto"),
        (
            ["refine.sample_pixels=-1"],
            "refine.sample_pixels=-1: must be auto, or a whole number from 0",
        ),
        (["refine.threshold=1.5"], "refine.threshold=1.5: must be from 0 to 1"),
        (["refine.kernel_size=5"], "refine.kernel_size=5: must be 1 or 3"),
        (["precision=float8"], "expected one of [float32, bfloat16, float16, int8]"),
        (["on_existing=ask"], "expected one of [error, resume, skip, overwrite]"),
        (["data.workers=0"], "data.workers=0: must be 1 or more"),
        (["data.unmatched=drop"], "expected one of [error, skip]"),
        (["outputs.types=[pha,xyz]"], f"expected one of [{', '.join(LAYERS)}]"),
        (["outputs.types=com"], "must be a list, in brackets: outputs.types=[...]"),
        (["outputs.types=[]"], f"must be at least one of {', '.join(LAYERS)}"),
        (["outputs.types=[pha,pha]"], "must be different layers"),
        (["outputs.fgr.format=gif"], "expected one of [png, jpg, webp, tiff, exr"),
        (["outputs.fgr.quality=0"], "outputs.fgr.quality=0: must be from 1 to 100"),
        (["outputs.png_level=10"], "outputs.png_level=10: must be from 0 to 9"),
        (["outputs.pha.bits=12"], "outputs.pha.bits=12: must be 8 or 16"),
        (["outputs.pha.bits=16"], "choose outputs.pha.format=png or tiff"),
        (["outputs.com.format=jpg"], "outputs.com.format=jpg has no alpha"),
        (
            ["outputs.com.alpha=premultiplied", "outputs.com.background=white"],
            "outputs.com.alpha=premultiplied does not fit outputs.com.background",
        ),
        (["outputs.com.background=nocolour"], "neither a colour"),
        (["model=base", "outputs.types=[ref]"], "model=base has no refiner"),
        (["precision=float16", "device=cpu"], "precision=float16 is not for the CPU"),
        (["device.name=toaster"], "device.name=toaster: no such device"),
        (["backbone=resnet50"], "pytorch_resnet50.pth"),
        (["checkpoint=nowhere.pth"], "nowhere.pth does not exist"),
        (["checkpoints_dir=nowhere"], "nowhere: no such directory"),
        (["data.src="], "data.src=: must be a path"),
        (["data.src=nowhere"], "nowhere: no such file or directory"),
        (["data.bgr=nowhere"], "nowhere: no such file or directory"),
        (["outputs.types=[[pha]]"], "outputs.types=[['pha']]: must be a plain list"),
        (["nonsense"], "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_setting_is_refused_before_any_work(matte, tmp_path, arguments, message):
    outcome = matte(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert "Error executing job" not in outcome.err
    assert not [f for f in files(tmp_path) if f.startswith("out/")]


def test_missing_paths_are_asked_for_together(bgm):
    outcome = bgm("data=folders")
    assert outcome.code == 2
    assert "pass data.bgr=... data.src=..." in outcome.err


@pytest.mark.parametrize("where", ["/proc/nowhere/out", "occupied/out"])
def test_an_output_directory_that_cannot_be_made(matte, tmp_path, where):
    (tmp_path / "occupied").touch()
    outcome = matte(f"output_dir={where}")
    assert outcome.code == 2
    assert "output_dir: " in outcome.err
    assert "Traceback" not in outcome.err


def test_the_output_must_not_be_the_input(matte, shoot):
    outcome = matte(f"output_dir={shoot.src}")
    assert outcome.code == 2
    assert "is also data.src" in outcome.err


def test_a_misspelt_key_in_a_file_of_the_user(matte, tmp_path):
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "typo.yaml").write_text("# @package _global_\nrefine: {sample_pixel: 5}\n")
    outcome = matte(f"--config-dir={tmp_path / 'mine'}", "experiment=typo")
    assert outcome.code == 2
    assert "refine.sample_pixel: unknown key (did you mean refine.sample_pixels?)" in outcome.err


def test_a_configuration_cannot_name_code_to_call(matte, tmp_path):
    outcome = matte("+model._target_=os.system")
    assert outcome.code == 2
    assert "model._target_: unknown key" in outcome.err


def compose_config(*overrides, command="bgm", **options):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(command, overrides=list(overrides), **options)


@pytest.mark.parametrize("path", GROUPS, ids=str)
def test_every_shipped_choice_is_valid(path):
    group, choice = path.parent.as_posix(), path.stem
    if group in OF_TRAINING:
        pictures = ["data.foregrounds=[cutouts]", "data.backgrounds=[photos]"]
        raw = compose_config(f"{group}={choice}", *pictures, command="train")
        parse_config(raw, TrainConfig)
        return
    is_video = path.stem == "video"
    extra = ["data.src=src", "data.bgr=bgr"] if is_video or choice == "folders" else []
    extra += ["data.root=set"] if choice == "set" else []
    extra += ["data=video"] if is_video and group != "data" else []
    parse_config(compose_config(f"{group}={choice}", *extra), Config)


def test_the_defaults_are_those_of_the_contract():
    config = parse_config(compose_config(), Config)
    assert config.model.name.name == "refine"
    assert config.model.backbone_scale == "auto"
    refine = config.refine
    assert (refine.sample_pixels, refine.threshold, refine.kernel_size) == ("auto", 0.1, 3)
    assert config.outputs.types == ["com", "pha", "fgr"]
    assert config.outputs.com.format.name == "png"
    assert config.outputs.pha.format.name == config.outputs.fgr.format.name == "jpg"
    assert (config.checkpoint, config.seed, config.precision.name) == ("auto", 0, "float32")


def test_presets_set_scale_and_pixels_together_and_yield_to_the_command_line():
    config = parse_config(compose_config("preset=4k"), Config)
    assert (config.model.backbone_scale, config.refine.sample_pixels) == (0.125, 320_000)
    config = parse_config(compose_config("preset=4k", "refine.sample_pixels=5"), Config)
    assert (config.model.backbone_scale, config.refine.sample_pixels) == (0.125, 5)


def test_every_key_is_explained_where_it_stands():
    """One comment per key in the files that define keys, and none longer than 30 lines."""
    for path in CONF.rglob("*.yaml"):
        text = path.read_text()
        assert len(text.splitlines()) <= 30, path
        assert yaml.safe_load(text) is not None, path
    for line in Path(CONF / "bgm.yaml").read_text().split("hydra:")[0].splitlines():
        if ":" in line and not line.startswith((" ", "#", "defaults")):
            assert "#" in line, line


COMMANDS = {
    "bgm": (cli.MATTE, []),
    "bgm, of clips": (cli.MATTE, ["data=video", "outputs=video", "data.src=a", "data.bgr=b"]),
    "bgm-train": (cli.TRAIN, ["data.foregrounds=[a]", "data.backgrounds=[b]"]),
    "bgm-train, of the refiner": (
        cli.TRAIN,
        ["data.foregrounds=[a]", "data.backgrounds=[b]", "stage=refine"],
    ),
    "bgm-compose": (cli.COMPOSE, ["data.foregrounds=[a]", "data.backgrounds=[b]"]),
    "bgm-export": (cli.EXPORT, []),
    "bgm-benchmark": (cli.BENCHMARK, []),
    "bgm-evaluate": (cli.EVALUATE, ["pred=a", "true=b"]),
    "bgm-compare": (cli.COMPARE, ["runs=[a]"]),
}


@pytest.mark.parametrize(("command", "given"), COMMANDS.values(), ids=COMMANDS)
def test_help_tells_every_setting_its_value_and_its_meaning(command, given):
    raw = compose_config(*given, command=command.config_name, return_hydra_config=True)
    said = render(raw, command.schema, command.config_name, command.purpose)
    meanings = dict(re.findall(r"^  ([\w.]+)=\S*\s+(\S.*)$", said, re.MULTILINE))
    groups = [name for name in ("model", "backbone", "device", "runtime") if name in raw]
    assert all(re.search(rf"^{name}=\w+   \(\w+", said, re.MULTILINE) for name in groups)
    del raw.hydra
    for key, value in flatten(OmegaConf.to_container(raw, resolve=False)):
        if not key.endswith(".name") and value != {}:
            assert len(meanings[key]) > 3, key


def test_help_shows_what_else_is_on_the_command_line(bgm, capsys):
    with pytest.raises(SystemExit, match="0"):
        bgm("--help", "refine=full", "seed=5")
    said = capsys.readouterr().out
    assert said.startswith(f"bgm: {cli.MATTE.purpose}\n")
    assert "\nrefine=full   (full | sampling | thresholding)\n" in said
    assert re.search(r"^  refine.mode=full +every block$", said, re.MULTILINE)
    assert re.search(r"^  seed=5 +for everything random$", said, re.MULTILINE)


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_a_wrong_value_is_answered_with_its_key(step):
    """Whatever the key, and whatever the command."""
    tried = {"data.src"}  # without that of the demo others are asked for
    for command, given in COMMANDS.values():
        raw = compose_config(*given, command=command.config_name)
        plain = OmegaConf.to_container(raw, resolve=True)
        keys = sorted(dict(flatten(plain)).keys() - tried)
        tried.update(keys)
        for key in keys[::step]:
            wrong = OmegaConf.create(plain)
            OmegaConf.update(wrong, key, [[{"wrong": 1}]], merge=False)
            with pytest.raises(ConfigError, match=re.escape(key)):
                parse_config(wrong, command.schema)


def test_what_is_needed_for_help_is_not_imported_by_runs():
    code = "import sys, bgm.cli.commands; sys.exit('bgm.cli.help' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_variable_of_the_environment_that_is_not_set_is_named(bgm, tmp_path, monkeypatch):
    monkeypatch.delenv("SHOOT_DIR", raising=False)
    folder = tmp_path / "mine" / "data"
    folder.mkdir(parents=True)
    (folder / "shoot.yaml").write_text("defaults: [folders]\nsrc: ${oc.env:SHOOT_DIR}\nbgr: b\n")
    outcome = bgm(f"--config-dir={tmp_path / 'mine'}", "data=shoot")
    assert outcome.code == 2
    assert outcome.err == "bgm: data.src: \"Environment variable 'SHOOT_DIR' not found\"\n"


@pytest.mark.parametrize("choice", ["refine=glob(sampel*)", "data.src=glob(*/photos)"])
def test_a_sweep_over_nothing_is_refused(matte, choice):
    outcome = matte("-m", choice)
    assert outcome.code == 2
    assert "the sweep has no jobs" in outcome.err


def test_the_tilde_is_the_home_directory_for_runs_and_sweeps(matte, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert matte("-m", "output_dir='~/mattes'", "refine.threshold=2").code == 2
    assert matte("output_dir='~/single'", "backbone=resnet50").code == 2
    assert (tmp_path / "home/mattes/0/status.json").exists()
    assert not list(tmp_path.glob("~*"))


@pytest.mark.parametrize("key", PATHS_OF_A_RUN)
def test_the_tilde_is_the_home_directory_in_every_path(key, monkeypatch):
    monkeypatch.setenv("HOME", "/home/of/mine")
    monkeypatch.setenv("USERPROFILE", "/home/of/mine")
    given = [f"{key}='~/there'", "data.src=src", "data.bgr=bgr", "data.pha=pha", "output_dir=out"]
    unique = {setting.partition("=")[0]: setting for setting in reversed(given)}
    data = "data=set" if key == "data.root" else "data=folders"
    node = parse_config(compose_config(data, *unique.values()), Config)
    for part in key.split("."):
        node = getattr(node, part)
    assert node == str(Path("/home/of/mine/there"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.src=~/photos", "has ~ in it and needs quotes of its own: \"data.src='~/photos'\""),
        ("data.src=take=2", "has = in it and needs quotes of its own: \"data.src='take=2'\""),
        ("--config-name=studio", "studio: no such configuration"),
    ],
)
def test_what_hydra_cannot_take_is_said_by_name(bgm, setting, message):
    outcome = bgm(setting)
    assert outcome.code == 2
    assert message in outcome.err


def test_relative_paths_are_those_of_the_caller_whatever_hydra_changes_to(bgm, tmp_path):
    settings = ["data=folders", "data.src=photos", "data.bgr=plates", "output_dir=out"]
    outcome = bgm(*settings, "hydra.job.chdir=true")
    assert outcome.code == 2
    assert f"data.src={tmp_path / 'photos'}: no such file" in outcome.err


def test_the_version_is_that_of_bgm(bgm):
    outcome = bgm("--version")
    assert (outcome.code, outcome.out) == (0, f"bgm {__version__}\n")


def test_a_refused_run_leaves_no_empty_directories(matte, tmp_path):
    (tmp_path / "mine").mkdir()
    assert matte("refine.threshold=2", "output_dir=mine/deep/out").code == 2
    assert list((tmp_path / "mine").iterdir()) == []


def test_other_photographs_take_over_nothing_from_the_demo():
    for choice in ("demo", "demo_scored"):
        own = parse_config(compose_config(f"data={choice}", "data.src=a", "data.bgr=b"), Config)
        folders = parse_config(compose_config("data=folders", "data.src=a", "data.bgr=b"), Config)
        assert own.data == folders.data
        with pytest.raises(ConfigError, match=r"missing; pass data\.bgr="):
            parse_config(compose_config(f"data={choice}", "data.src=a"), Config)
        kept = compose_config(f"data={choice}", "data.src=a", "data.bgr=b", "data.align=true")
        assert parse_config(kept, Config).data.align
    demo = parse_config(compose_config("data=demo_scored"), Config)
    assert demo.data.align
    assert demo.data.pha is not None


@pytest.fixture
def unheard(tmp_path):
    """Run bgm with a standard output that nobody reads: `unheard("--help")`."""

    def run(*arguments: str) -> tuple[int, str]:
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-m", "bgm", *arguments]
        done = subprocess.run(
            command, stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path, check=False
        )
        os.close(writer)
        return done.returncode, done.stderr.decode()

    return run


def test_help_that_nobody_reads_to_its_end_leaves_no_trace(unheard):
    assert unheard("--help") == (0, "")


def test_a_run_that_nobody_listens_to_is_whole(unheard, shoot, tmp_path):
    settings = ["data=folders", f"data.src={shoot.src}", f"data.bgr={shoot.bgr}", "tracking=files"]
    code, said = unheard(*settings, "output_dir=out", "outputs.types=[pha]")
    assert (code, said) == (0, "")
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert (run["summary"]["status"], run["summary"]["written"]) == ("finished", 3)
    assert len((tmp_path / "out/images.jsonl").read_text().splitlines()) == 3


def test_a_signal_that_shall_be_ignored_is_ignored():
    """As `nohup` asks for SIGHUP, so that a run outlives its terminal."""
    number = getattr(signal, "SIGHUP", signal.SIGTERM)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(number)
            assert not stop
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_sweeps_are_found_from_any_folder_where_bgm_is_installed_in_place(tmp_path):
    """Hydra looks for plugins in folders, and one that is installed in place has none."""
    command = [sys.executable, "-m", "bgm", "-m", "seed=1,2", "dry_run=true", "output_dir=out"]
    elsewhere = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("**/plates.jsonl"))) == 2
