"""Test sets: made of cut-outs and photographs by bgm-compose, read by data=set."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from conftest import files, records
from PIL import Image
from test_training import cutout

from bgm.cli import commands as cli

PARTS = ("src", "bgr", "pha", "fgr")
MADE = ["disc/a", "disc/b", "disc/a~2"]


@pytest.fixture
def compose(bgm, tmp_path):
    """Run `bgm-compose` on two cut-outs and two photographs: three composites into `set`."""
    for name, colour in (("a", (200, 30, 30)), ("b", (30, 200, 30))):
        (tmp_path / "disc").mkdir(exist_ok=True)
        Image.fromarray(cutout(80, colour)).save(tmp_path / f"disc/{name}.png")
        (tmp_path / "photos").mkdir(exist_ok=True)
        noise = np.random.default_rng(len(colour)).integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(noise).resize((160, 120)).save(tmp_path / f"photos/{name}.jpg")

    def run(*arguments):
        own = ["data.foregrounds=[disc]", "data.backgrounds=[photos]", "output_dir=set", "count=3"]
        given = [argument.partition("=")[0] for argument in arguments]
        own = [setting for setting in own if setting.partition("=")[0] not in given]
        return bgm(*own, "width=128", "height=96", *arguments, command=cli.COMPOSE)

    return run


def pictures(root):
    """The pictures of a set, their bytes by their paths."""
    paths = [root / part / f"{name}.png" for part in PARTS for name in MADE]
    assert [p for p in files(root) if p.endswith(".png")] == sorted(
        path.relative_to(root).as_posix() for path in paths
    )
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def read(root, part, name):
    return np.asarray(Image.open(root / part / f"{name}.png"), np.float32) / 255


def test_a_set_follows_from_its_seed_and_is_gone_on_with(compose, tmp_path):
    assert compose().code == 0
    made = pictures(tmp_path / "set")
    assert compose("output_dir=other", "seed=1").code == 0
    assert pictures(tmp_path / "other") != made

    refused = compose()
    assert refused.code == 2
    assert "on_existing=resume" in refused.err
    assert compose("on_existing=resume", "width=64").code == 2
    (tmp_path / "set/pha/disc/b.png").unlink()
    (tmp_path / "set/src/disc/a.png").unlink()
    kept = (tmp_path / "set/pha/disc/a~2.png").stat().st_mtime_ns
    assert compose("on_existing=resume", "workers=1").code == 0
    assert pictures(tmp_path / "set") == made
    assert (tmp_path / "set/pha/disc/a~2.png").stat().st_mtime_ns == kept

    Image.fromarray(cutout(80, (1, 2, 3))).save(tmp_path / "disc/c.png")
    changed = compose("on_existing=resume")
    assert changed.code == 2
    assert "foregrounds" in changed.err


def test_a_composite_is_its_foreground_over_its_plate_and_shows_all_of_it(compose, tmp_path):
    quiet = [f"composites.{key}=0" for key in ("shadow", "exposure", "shaken", "uneven_light")]
    assert compose(*quiet, "seed=5").code == 0
    for name in MADE:
        src, bgr, pha, fgr = (
            read(tmp_path / "set", part, name) for part in ("src", "bgr", "pha", "fgr")
        )
        alpha = pha[:, :, None]
        assert np.median(np.abs(alpha * fgr + (1 - alpha) * bgr - src)) <= 8 / 255
        assert alpha.max() == 1
        assert not max(pha[0].max(), pha[-1].max(), pha[:, 0].max(), pha[:, -1].max())
    facts = json.loads((tmp_path / "set/set.json").read_text())
    assert facts["composites"] == {"disc/a": "a.png", "disc/b": "b.png", "disc/a~2": "a.png"}
    assert facts["settings"]["seed"] == 5


def test_colours_with_mattes_beside_them_and_bad_pictures(compose, tmp_path):
    for folder in ("colours", "mattes"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        rgba = Image.open(tmp_path / f"disc/{name}.png")
        rgba.convert("RGB").save(tmp_path / f"colours/{name}.png")
        rgba.getchannel("A").save(tmp_path / f"mattes/{name}.png")
    assert compose("output_dir=one").code == 0
    pairs = ["data.foregrounds=[colours]", "data.alphas=mattes", "count=2", "output_dir=two"]
    assert compose(*pairs).code == 0
    assert files(tmp_path / "two/pha") == ["colours/a.png", "colours/b.png"]

    (tmp_path / "disc/c.png").write_bytes(b"no picture")
    outcome = compose("output_dir=three", "count=null")
    assert outcome.code == 1  # something that was asked for is not there
    assert "c.png cannot be read" in outcome.out
    assert files(tmp_path / "three/src") == ["disc/a.png", "disc/b.png"]
    shutil.copytree(tmp_path / "disc", tmp_path / "again/disc")
    doubled = compose("data.foregrounds=[disc,again]", "output_dir=four")
    assert doubled.code == 2
    assert "disc/a" in doubled.err
    (tmp_path / "disc").rename(tmp_path / "gone")
    assert compose("output_dir=five").code == 2


def test_a_sheet_shows_what_would_be_made(compose, tmp_path):
    assert compose("preview=2").code == 0
    assert Image.open(tmp_path / "set/preview.png").size == (4 * 192 * 3, 192)
    assert not (tmp_path / "set/src").exists()
    assert compose().code == 0  # into the directory of the sheet


def test_a_set_is_matted_and_scored(bgm, shoot, tmp_path):
    quick = ["data=set", "model=base", "outputs.types=[pha]", "tracking=files"]
    assert bgm(*quick, f"data.root={shoot.root}", "output_dir=out").code == 0
    scored = records(tmp_path / "out")
    assert len(scored) == 3
    assert all(record["scores"]["mse"] < 0.05 for record in scored.values())

    (shoot.root / "src").rename(shoot.root / "shots")
    (shoot.root / "shots/tripod/lemur-mountain.jpg").unlink()
    shutil.rmtree(shoot.pha)
    own = [f"data.root={shoot.root}", "data.folders.src=shots/tripod", "output_dir=again"]
    (shoot.bgr / "tripod/lemur-brook.jpg").rename(shoot.root / "plate.jpg")
    assert bgm(*quick, *own, "data.folders.bgr=plate").code == 0
    plates = {record["inputs"]["bgr"]["path"] for record in records(tmp_path / "again").values()}
    assert plates == {str(shoot.root / "plate.jpg")}
    assert not any(record.get("scores") for record in records(tmp_path / "again").values())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([], "data.root=..."),
        (["data.root=nowhere"], "no such file or directory"),
        (["data.root=shoot", "data.folders.src=photos"], "data.folders.src=..."),
        (["data.root=shoot", "data.folders.pha=alpha"], "data.folders.pha=..."),
    ],
)
def test_what_is_not_in_a_set_is_named(bgm, shoot, settings, said):
    outcome = bgm("data=set", "tracking=files", *settings)
    assert outcome.code == 2
    assert said in outcome.err
