"""Plates are examined, chosen in several ways, made of stills, and matched in exposure."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta

import cv2
import numpy as np
import pytest
from conftest import DEMO, NAMES, files, records
from PIL import Image
from PIL.ExifTags import IFD, Base

from bgm.data import read_image
from bgm.data.exposure import apply_gain, distance, match_exposure
from bgm.data.median import MOST_STILLS, median_plate

PLATE = DEMO / "bgr/tripod/lemur-mountain.jpg"
OTHER = DEMO / "bgr/product/teapot.jpg"
SIZE = (320, 180)


def small(path, size=SIZE):
    return cv2.resize(read_image(path), size, interpolation=cv2.INTER_AREA)


def save(path, pixels, taken=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if taken is not None:
        exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = taken.strftime("%Y:%m:%d %H:%M:%S")
    Image.fromarray(pixels).save(path, quality=95, exif=exif)


def moved_tripod(shoot, pixels):
    """Somebody knocked against the tripod after the plates were taken."""
    for path in shoot.bgr.rglob("*.jpg"):
        plate = read_image(path)
        shift = np.float32([[1, 0, pixels], [0, 1, pixels / 2]])
        moved = cv2.warpAffine(plate, shift, plate.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
        save(path, moved)


def exposure_drift(shoot, gain):
    """The camera measured the light anew for the plates, and the white too."""
    for path in shoot.bgr.rglob("*.jpg"):
        save(path, apply_gain(read_image(path), gain))


def fixed_camera(root, count, taken=None):
    """Photographs of one camera in which something walks by."""
    plate = small(PLATE)
    for number in range(count):
        photo = plate.copy()
        left = number * (SIZE[0] - 60) // (count - 1)
        photo[60:, left : left + 60] = (200, 30, 90)
        save(root / f"{number}.png", photo, taken and taken + timedelta(minutes=number))
    return plate


def examined(out):
    return {one["name"]: one for one in map(json.loads, (out / "plates.jsonl").open())}


def test_a_dry_run_tells_of_every_pair_and_mattes_nothing(matte, tmp_path):
    outcome = matte("dry_run=true")
    assert outcome.code == 0
    found = examined(tmp_path / "out")
    assert list(found) == NAMES
    for one in found.values():
        assert one["shift_px"] < 0.5
        assert one["agrees"] > 0.5
        assert max(np.abs(np.log(one["gain"]))) < 0.1
    assert not {f for f in files(tmp_path / "out") if f.endswith(("images.jsonl", ".png"))}
    assert "3 pairs: " in outcome.out
    assert matte().code == 0  # the directory is still free for the run itself

    sweep = ["-m", "dry_run=true,false", "model=base", "hydra.sweep.dir=sweep"]
    outcome = matte(*sweep, "output_dir=${hydra:runtime.output_dir}")
    assert outcome.code == 0, outcome.err
    assert examined(tmp_path / "sweep/0") == found
    compared = json.loads((tmp_path / "sweep/comparison.json").read_text())
    assert [run["run"] for run in compared["runs"]] == ["1"]


def test_a_moved_tripod_is_told_and_remedied(matte, shoot, tmp_path):
    moved_tripod(shoot, 6)
    outcome = matte("dry_run=true")
    assert outcome.code == 0
    for one in examined(tmp_path / "out").values():
        assert one["shift_px"] == pytest.approx(np.hypot(6, 3), abs=0.3)
        assert "px off: data.align=true" in one["verdicts"][0]
        assert one["agrees"] > 0.5
    assert "the plate is 6." in outcome.out


def test_a_drift_of_exposure_is_told_and_remedied(matte, shoot, tmp_path):
    exposure_drift(shoot, (0.6, 0.66, 0.7))
    assert matte("dry_run=true", "output_dir=dry").code == 0
    for one in examined(tmp_path / "dry").values():
        assert any("darker than the photograph: data.match" in v for v in one["verdicts"])
    assert matte("output_dir=plain").code == 0
    matched = ["data.match_exposure=true", "suspect_above=1", "output_dir=matched"]
    assert matte(*matched).code == 0
    plain, matched = (records(tmp_path / name) for name in ("plain", "matched"))
    for name, before in examined(tmp_path / "dry").items():
        assert any("data.match_exposure=true" in remark for remark in plain[name]["remarks"])
        assert matched[name]["remarks"] == []
        assert matched[name]["exposure"]["applied"]
        assert matched[name]["exposure"]["gain"] == pytest.approx(before["gain"], rel=0.03)
        gains = np.array(matched[name]["exposure"]["gain"]) * (0.6, 0.66, 0.7)
        assert gains == pytest.approx(gains.mean(), rel=0.02)  # the white balance is undone


def test_another_scene_and_a_damaged_plate_are_hopeless(matte, shoot, tmp_path):
    save(shoot.bgr / "tripod/lemur-mountain.jpg", small(OTHER))
    (shoot.bgr / "product/teapot.jpg").write_bytes(b"no picture")
    outcome = matte("dry_run=true")
    assert outcome.code == 1
    found = examined(tmp_path / "out")
    assert found["tripod/lemur-mountain"]["is_hopeless"]
    assert "another scene" in found["tripod/lemur-mountain"]["verdicts"][0]
    assert "teapot.jpg" in found["product/teapot"]["verdicts"][0]
    assert not found["tripod/lemur-brook"]["is_hopeless"]
    matte("output_dir=run", "suspect_above=1")  # what the check says of the matte is not the point
    (remark,) = records(tmp_path / "run")["tripod/lemur-mountain"]["remarks"]
    assert "another scene" in remark


@pytest.mark.parametrize("blurred", ["plate", "photograph"])
def test_what_is_out_of_focus_is_named(bgm, tmp_path, blurred):
    for kind, what in (("src", "photograph"), ("bgr", "plate")):
        pixels = read_image(DEMO / kind / "product/teapot.jpg")
        pixels = cv2.GaussianBlur(pixels, (0, 0), 2) if what == blurred else pixels
        save(tmp_path / kind / "a.png", pixels)
    folders = ["data=folders", "data.src=src", "data.bgr=bgr"]
    assert bgm(*folders, "dry_run=true", "output_dir=out").code == 0
    one = examined(tmp_path / "out")["a"]
    assert one["blur_px"] == pytest.approx(2 if blurred == "plate" else -2, abs=0.7)
    assert any(f"the {blurred} is softer" in verdict for verdict in one["verdicts"])


def test_matching_exposures_never_makes_worse():
    rng = np.random.default_rng(0)
    plate, other = small(PLATE), small(OTHER)
    noise = rng.integers(0, 255, plate.shape, np.uint8)
    flat = np.full_like(plate, 128)
    for src, bgr in [(plate, plate), (plate, other), (noise, plate), (plate, noise), (flat, plate)]:
        matched, exposure = match_exposure(src, bgr)
        assert distance(src, matched) <= distance(src, bgr)
        assert exposure.applied == (matched is not bgr)
    deep, exposure = match_exposure(plate, apply_gain(plate, (0.8, 0.8, 0.8)) / np.float32(255))
    assert exposure.gain == pytest.approx((1.25,) * 3, rel=0.01)
    assert deep.dtype == np.float32


def test_one_plate_for_each_folder(bgm, shoot, tmp_path):
    plates = tmp_path / "plates"
    for name in ("tripod", "product"):
        source = next(iter(sorted((shoot.bgr / name).glob("*.jpg"))))
        plates.mkdir(exist_ok=True)
        shutil.copy(source, plates / f"{name}.jpg")
    (shoot.src / "tripod/lemur-mountain.jpg").unlink()
    folders = ["data=folders", f"data.src={shoot.src}", "data.bgr=plates", "data.plate=folder"]
    assert bgm(*folders, "output_dir=out", "tracking=files").code == 0
    record = records(tmp_path / "out")["product/teapot"]
    assert record["inputs"]["bgr"]["path"] == str(plates / "product.jpg")
    assert record["plate"] == "of the folder product"
    shutil.copy(shoot.src / "product/teapot.jpg", shoot.src / "loose.jpg")
    refused = bgm(*folders, "output_dir=other")
    assert refused.code == 2
    assert "no background is named like a folder" in refused.err


def test_the_plate_nearest_in_time(bgm, tmp_path):
    noon = datetime(2026, 5, 1, 12)
    plate = small(PLATE)
    for minutes in (0, 30):
        save(tmp_path / f"plates/p{minutes}.jpg", plate, noon + timedelta(minutes=minutes))
    save(tmp_path / "plates/when.jpg", plate)
    for minutes in (1, 14, 16, 40):
        taken = noon + timedelta(minutes=minutes)
        save(tmp_path / f"src/s{minutes}.jpg", small(DEMO / "src/tripod/lemur-mountain.jpg"), taken)
    settings = ["data=folders", "data.src=src", "data.bgr=plates", "data.plate=time"]
    refused = bgm(*settings, "output_dir=refused")
    assert refused.code == 2
    assert "when: background without a capture time" in refused.err
    run = ["data.unmatched=skip", "output_dir=out", "tracking=files", "model=base"]
    assert bgm(*settings, *run).code == 0
    found = records(tmp_path / "out")
    used = {n: r["inputs"]["bgr"]["path"][-7:] for n, r in found.items() if r["inputs"]}
    assert used == {"s1": "/p0.jpg", "s14": "/p0.jpg", "s16": "p30.jpg", "s40": "p30.jpg"}
    assert found["s40"]["plate"] == "nearest in time, 10 min before the photograph"


def test_a_plate_is_made_of_the_photographs_themselves(bgm, tmp_path):
    plate = fixed_camera(tmp_path / "src/a", 7)
    settings = ["data=folders", "data.src=src", "data.bgr=median", "tracking=files", "model=base"]
    assert bgm(*settings, "output_dir=out").code == 0
    made = np.asarray(Image.open(tmp_path / "out/plates/a/median.png"))
    np.testing.assert_array_equal(made, plate)
    record = records(tmp_path / "out")["a/3"]
    assert record["plate"] == "median of 7 photographs in a"
    (stills,) = json.loads((tmp_path / "out/run.json").read_text())["plates"].values()
    assert [still["path"][-5:] for still in stills] == [f"{n}.png" for n in range(7)]
    again = bgm(*settings, "output_dir=out", "on_existing=resume")
    assert again.code == 0
    assert {r["status"] for r in records(tmp_path / "out").values()} == {"skipped"}
    assert "median of" not in again.out  # the plate is kept
    assert bgm("repeat=out", "output_dir=again", "tracking=files").code == 0
    sweep = ["-m", "refine.threshold=0.1,0.2", "hydra.sweep.dir=sweep"]
    swept = bgm(*settings, *sweep)
    assert swept.code == 0, swept.err
    assert "plates/a/median.png: taken from " in swept.out
    told = [json.loads((tmp_path / f"sweep/{job}/run.json").read_text()) for job in "01"]
    assert [list(t["plates"].values()) for t in told] == [[stills]] * 2
    Image.fromarray(plate // 2).save(tmp_path / "src/a/3.png")
    changed = bgm(*settings, "output_dir=out", "on_existing=overwrite")
    assert "plates/a/median.png: median of 7 stills" in changed.out
    save(tmp_path / "src/b/lonely.png", plate)
    refused = bgm(*settings, "output_dir=refused")
    assert refused.code == 2
    assert "needs 3 photographs of one folder, there are 1" in refused.err


def test_a_plate_is_made_of_several_stills(bgm, tmp_path, monkeypatch):
    plate = fixed_camera(tmp_path / "stills", 5)
    save(tmp_path / "stills/small.png", plate[:90])
    (tmp_path / "stills/damaged.jpg").write_bytes(b"no picture")
    save(tmp_path / "src/x.jpg", small(DEMO / "src/tripod/lemur-mountain.jpg"))
    settings = ["data=folders", "data.src=src", "data.bgr=stills", "data.plate=median"]
    outcome = bgm(*settings, "output_dir=out", "tracking=files", "model=base")
    assert outcome.code == 0
    made = np.asarray(Image.open(tmp_path / "out/plates/median.png"))
    np.testing.assert_array_equal(made, plate)
    assert "small.png is of another size" in outcome.out + outcome.err


def test_a_median_takes_no_more_than_so_many_and_keeps_16_bits(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65535, (20, 30, 3), np.uint16)
    for number in range(MOST_STILLS + 9):
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), deep)
    median, used = median_plate(sorted(tmp_path.glob("*.png")), tmp_path)
    assert len(used) == MOST_STILLS
    np.testing.assert_allclose(median[:, :, ::-1], deep, atol=1)
    assert len(list(tmp_path.iterdir())) == MOST_STILLS + 9  # nothing is left of the decoded ones


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data.plate=nearest"], "data.plate"),
        (["data.plate=time", "data.bgr=median"], "data.bgr=median makes"),
        (["data.plate=time", f"data.bgr={PLATE}"], "is one file"),
        (["data.match_exposure=perhaps"], "data.match_exposure"),
        (["dry_run=maybe"], "dry_run"),
        (["dry_run=true", "objective=[total_ms]"], "mattes nothing"),
    ],
    ids=["choice", "both", "file", "exposure", "dry", "objective"],
)
def test_bad_values_are_refused(matte, settings, said, tmp_path):
    outcome = matte(*settings, "output_dir=out")
    assert outcome.code == 2
    assert said in outcome.err
    assert not (tmp_path / "out/images.jsonl").exists()
