"""bgm-train: what it trains with, that it resumes exactly, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import files
from PIL import Image
from safetensors.torch import load_file

from bgm.cli import commands as cli
from bgm.networks.checkpoints import SHIPPED
from bgm.records.lock import DirectoryLock
from bgm.training.forward import pass_clamp

QUICK = [
    *("stage.steps=4", "stage.decay=0", "stage.warmup=2", "stage.sizes=[[32,32],[32,48]]"),
    *("stage.pixels=2048", "data.held_out=0", "data.validation=[a,wall]", "data.workers=0"),
    *("validation.every=4", "validation.count=1", "validation.sizes=[[64,64]]"),
    *("precision=float32", "threads=1", "log_seconds=0", "tracking=files"),
    *("data.foregrounds=[cutouts]", "data.backgrounds=[photos]", "data.cache=cache"),
]


def cutout(size: int, colour: tuple[int, int, int]) -> np.ndarray:
    """A disc with a soft edge, straight colour."""
    y, x = np.mgrid[0:size, 0:size] - (size - 1) / 2
    alpha = np.clip((size * 0.4 - np.hypot(x, y)) / 4 + 0.5, 0, 1)
    return np.dstack([np.broadcast_to(colour, (size, size, 3)), alpha * 255]).astype(np.uint8)


@pytest.fixture
def pictures(tmp_path):
    """Three cut-outs and three photographs."""
    (tmp_path / "cutouts").mkdir()
    (tmp_path / "photos").mkdir()
    for name, colour in (("a", (200, 30, 30)), ("b", (30, 200, 30)), ("c", (90, 60, 200))):
        Image.fromarray(cutout(80, colour)).save(tmp_path / f"cutouts/{name}.png")
    for name in ("wall", "tree", "street"):
        noise = np.random.default_rng(len(name)).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC).save(
            tmp_path / f"photos/{name}.jpg"
        )
    return tmp_path


@pytest.fixture
def train(bgm, pictures):
    """Run `bgm-train` on the three cut-outs, for four steps, into `out`."""

    def run(*arguments):
        given = [argument.partition("=")[0] for argument in arguments]
        quick = [s for s in ("output_dir=out", *QUICK) if s.partition("=")[0] not in given]
        return bgm(*quick, *arguments, command=cli.TRAIN)

    return run


def journal(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def curve(folder):
    """Everything that was computed, step by step, without how long it took."""
    losses = {entry["step"]: entry["losses"] for entry in journal(folder) if "losses" in entry}
    scores = {e["step"]: e["validation"] for e in journal(folder) if "validation" in e}
    return losses, scores


def test_a_training_leaves_weights_that_others_can_use(train, bgm, shoot, tmp_path):
    outcome = train("stage=refine", "stage.frozen=false", "stage.sizes=[[32,32]]")
    assert outcome.code == 0, outcome.err
    left = set(files(tmp_path / "out"))
    assert {
        *("best/refine-mobilenetv2.safetensors", "best/README.md", "curves.png", "mattes.png"),
        *("last/refine-mobilenetv2.safetensors", "last/README.md", "metrics.jsonl", "training.pt"),
    } <= left
    weights = load_file(tmp_path / "out/best/refine-mobilenetv2.safetensors")
    assert {t.dtype for t in weights.values() if t.is_floating_point()} == {torch.float16}
    card = (tmp_path / "out/best/README.md").read_text()
    for text in ("bgm-train", "stage=refine", "2 cutouts", "1 cutouts", "torch", "| drawn hair |"):
        assert text in card
    assert "4 steps, 8 composites" in card
    losses, scores = curve(tmp_path / "out")
    assert set(losses) == {1, 2, 3, 4}
    assert {"alpha", "edges", "foreground", "solid", "coarse_error", "total"} <= set(losses[4])
    assert set(scores[4]) >= {"all", "cutouts", "drawn lace", "hard", "empty"}
    assert set(scores[4]["all"]) == {"mad", "mse", "grad", "conn"}
    assert "difference_key" in journal(tmp_path / "out")[0]

    folders = ["data=folders", f"data.src={shoot.src}", f"data.bgr={shoot.bgr}"]
    matted = bgm(*folders, "checkpoints_dir=out/best", "output_dir=mattes", "tracking=files")
    assert matted.code == 0, matted.err
    run = json.loads((tmp_path / "mattes/run.json").read_text())
    assert run["checkpoint"]["path"].endswith("out/best/refine-mobilenetv2.safetensors")


def test_a_resumed_training_is_the_uninterrupted_one(train, tmp_path):
    assert train("output_dir=whole", "stage.steps=6", "validation.every=3").code == 0
    assert train("output_dir=parts", "stage.steps=3", "validation.every=3").code == 0
    resumed = ("output_dir=parts", "stage.steps=6", "validation.every=3", "on_existing=resume")
    assert train(*resumed).code == 0
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")
    whole, parts = (
        torch.load(tmp_path / folder / "training.pt", weights_only=True)
        for folder in ("whole", "parts")
    )
    for part in ("network", "average"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, parts[part][name]), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_can_go_on(train, tmp_path, number):
    def interrupt():
        path = tmp_path / "out/metrics.jsonl"
        while not path.is_file() or '"step": 2' not in path.read_text():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    outcome = train("stage.steps=100000")
    assert outcome.code == 130
    assert "on_existing=resume" in outcome.out
    done = torch.load(tmp_path / "out/training.pt", weights_only=True)["steps_done"]
    assert 2 <= done < 1000
    with (tmp_path / "out/metrics.jsonl").open("a") as file:  # what was not saved, half a line
        file.write(json.dumps({"step": done + 1, "losses": {}}) + '\n{"step"')
    assert train(f"stage.steps={done + 1}", "on_existing=resume").code == 0
    assert list(curve(tmp_path / "out")[0]) == list(range(1, done + 2))


def test_an_existing_training_is_not_touched_unasked(train, tmp_path):
    assert train("stage.steps=1").code == 0
    before = (tmp_path / "out/training.pt").read_bytes()
    outcome = train("stage.steps=2")
    assert outcome.code == 2
    assert "on_existing=resume" in outcome.err
    assert (tmp_path / "out/training.pt").read_bytes() == before
    (tmp_path / "out/training.pt").write_bytes(before[:1000])
    outcome = train("on_existing=resume")
    assert (outcome.code, "cannot be read" in outcome.err) == (2, True)


def test_two_trainings_do_not_share_a_directory(train, tmp_path):
    (tmp_path / "out").mkdir()
    lock = DirectoryLock(tmp_path / "out")
    outcome = train()
    lock.release()
    assert outcome.code == 2
    assert "another run is writing there" in outcome.err


def test_bad_pictures_are_named_and_left_out(train, tmp_path):
    folder = tmp_path / "cutouts"
    Image.fromarray(cutout(80, (9, 9, 9))[:, :, :3]).save(folder / "no-alpha.png")
    Image.fromarray(np.full((50, 50, 4), 255, np.uint8)).save(folder / "opaque.png")
    Image.fromarray(np.zeros((50, 50, 4), np.uint8)).save(folder / "clear.png")
    Image.fromarray(cutout(20, (9, 9, 9))).save(folder / "small.png")
    (folder / "broken.png").write_bytes((folder / "b.png").read_bytes()[:200])
    outcome = train("preview=4")
    assert outcome.code == 0, outcome.err
    for name, why in (
        ("no-alpha.png", "no alpha channel"),
        ("opaque.png", "opaque everywhere"),
        ("clear.png", "transparent everywhere"),
        ("small.png", "tiny"),
        ("broken.png", "cannot be read"),
    ):
        (line,) = [line for line in outcome.out.splitlines() if f"/{name}" in line]
        assert why in line
    sheet = Image.open(tmp_path / "out/preview.png")
    assert sheet.size == (3 * 4 * 192, 2 * 192)
    assert not (tmp_path / "out/training.pt").exists()


def test_nothing_usable_ends_with_2(train, tmp_path):
    Image.fromarray(np.full((50, 50, 4), 255, np.uint8)).save(tmp_path / "opaque.png")
    for setting, message in (
        ("data.foregrounds=[opaque.png]", "data.foregrounds: nothing usable for training"),
        ("data.foregrounds=[nowhere]", "nowhere: there is no picture"),
        ("data.validation=[]", "data.foregrounds: nothing usable for validation"),
        ("data.alphas=photos", "has no alpha matte"),
        ("stage=refine", "needs one that was trained"),
        ("stage.keep_norms=true", "needs a checkpoint"),
        ("stage.sizes=[[33,32]]", "divisible by 16"),
        ("composites.empty=2", "composites.empty=2.0: must be from 0 to 1"),
        ("precision=float16", "float16 trains on CUDA only"),
        ("checkpoint=nowhere.pth", "nowhere.pth does not exist"),
    ):
        outcome = train(setting)
        assert outcome.code == 2, setting
        assert message in outcome.err


def test_colour_and_alpha_may_be_files_of_their_own(train, tmp_path):
    for part in ("colour", "matte"):
        (tmp_path / part).mkdir()
    for path in (tmp_path / "cutouts").iterdir():
        rgba = Image.open(path)
        rgba.convert("RGB").save(tmp_path / "colour" / path.name)
        rgba.getchannel("A").save(tmp_path / "matte" / path.with_suffix(".tif").name)
    kinds = "composites.drawn=0"
    assert train("preview=4", kinds, "output_dir=one").code == 0
    two = ("data.foregrounds=[colour/*.png]", "data.alphas=matte", "output_dir=two")
    assert train("preview=4", kinds, *two).code == 0
    sheets = [np.asarray(Image.open(tmp_path / f / "preview.png")) for f in ("one", "two")]
    assert np.array_equal(*sheets)


def test_composites_are_the_same_wherever_the_pictures_lie(train, tmp_path):
    """Else the validation set of one machine is another's."""
    assert train("preview=6", "composites.drawn=0", "output_dir=one").code == 0
    for name, folder in (("a", "z"), ("b", "m"), ("c", "k")):
        (tmp_path / folder / "cutouts").mkdir(parents=True)
        (tmp_path / f"cutouts/{name}.png").rename(tmp_path / f"{folder}/cutouts/{name}.png")
    spread = f"data.foregrounds=[z/cutouts,{tmp_path}/k/cutouts,m/cutouts/*.png]"
    assert train("preview=6", "composites.drawn=0", spread, "output_dir=two").code == 0
    sheets = [np.asarray(Image.open(tmp_path / f / "preview.png")) for f in ("one", "two")]
    assert np.array_equal(*sheets)


def test_a_frozen_coarse_part_stays_as_it_is(train, tmp_path):
    assert train("output_dir=base").code == 0
    base = load_file(tmp_path / "base/last/base-mobilenetv2.safetensors")
    checkpoint = "checkpoint=base/last/base-mobilenetv2.safetensors"
    outcome = train("stage=refine", checkpoint, "stage.sizes=[[32,32]]", "stage.rate=0.01")
    assert outcome.code == 0, outcome.err
    refined = load_file(tmp_path / "out/last/refine-mobilenetv2.safetensors")
    assert all(torch.equal(tensor, refined[name]) for name, tensor in base.items())
    assert any(name.startswith("refiner.") for name in refined.keys() - base.keys())


def test_finetuning_starts_from_the_shipped_checkpoint(train, tmp_path):
    assert train("stage=finetune", "stage.steps=1", "stage.sizes=[[64,64]]").code == 0
    name = "mobilenetv2.safetensors"
    shipped = load_file(SHIPPED / f"{name.split('.')[0]}-refine.safetensors")
    tuned = load_file(tmp_path / f"out/last/refine-{name}")
    for key in ("aspp.project.0.weight", "decoder.conv4.weight", "refiner.conv4.weight"):
        assert torch.allclose(tuned[key].float(), shipped[key].float(), atol=1e-3), key
    assert not torch.equal(tuned["decoder.conv4.weight"], shipped["decoder.conv4.weight"])
    norms = [key for key in shipped if key.endswith(("running_mean", "running_var"))]
    assert norms  # a few pictures at a time would spoil them
    assert all(torch.equal(tuned[key], shipped[key]) for key in norms)


def test_a_checkpoint_is_scored_beside_a_difference_key(train, tmp_path):
    outcome = train("stage=finetune", "validate_only=true")
    assert outcome.code == 0, outcome.err
    (entry,) = journal(tmp_path / "out")
    assert entry["validation"].keys() == entry["difference_key"].keys()
    assert entry["difference_key"]["empty"]["mad"] < 20
    assert not (tmp_path / "out/training.pt").exists()


def test_workers_make_the_same_batches(train, tmp_path):
    assert train("stage.steps=3", "output_dir=alone").code == 0
    assert train("stage.steps=3", "output_dir=helped", "data.workers=1").code == 0
    assert curve(tmp_path / "alone") == curve(tmp_path / "helped")


def test_processes_train_together(train, pictures):
    program = "from bgm.cli.commands import main_train; main_train()"
    (pictures / "program.py").write_text(program)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "program.py"),
        *QUICK,
        *("output_dir=out", "device=cpu", "stage.steps=2"),
    ]
    done = subprocess.run(command, cwd=pictures, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [e["samples"] for e in journal(pictures / "out") if "samples" in e] == [4, 8]


def test_wandb_hears_of_it(train, tmp_path):
    outcome = train("tracking=wandb", "tracking.mode=offline", "stage.steps=1")
    assert outcome.code == 0, outcome.err
    assert list((tmp_path / "out/wandb").glob("offline-run-*/*.wandb"))
    first = torch.load(tmp_path / "out/training.pt", weights_only=True)["tracker"]
    assert first in str(next((tmp_path / "out/wandb").glob("offline-run-*")))


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="asks Linux what the processor has")
def test_bfloat16_is_chosen_only_where_the_processor_has_it(train):
    # AVX-512 alone lets it be emulated, at 2.5 times the time of float32.
    flags = Path("/proc/cpuinfo").read_text().lower().split()
    has_it = {"avx512_bf16", "amx_bf16", "bf16"} & set(flags)
    said = train("precision=auto", "stage.steps=1", "stage.warmup=0").out
    assert f"training in {'bfloat16' if has_it else 'float32'}" in said


def test_no_gradient_leads_a_clamped_value_further_out():
    x = torch.tensor([-2.0, -2.0, 0.5, 0.5, 3.0, 3.0], requires_grad=True)
    clamped = pass_clamp(x)
    assert clamped.tolist() == [0, 0, 0.5, 0.5, 1, 1]
    (clamped * torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])).sum().backward()
    assert x.grad.tolist() == [0, -1, 1, -1, 1, 0]
