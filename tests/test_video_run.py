"""Runs over clips: files, records, damage, interruption, going on."""

from __future__ import annotations

import json
import signal
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import SIZE, colour_frame, moving_frames, write_clip
from conftest import files, records
from PIL import Image

import bgm as package
from bgm import load_matting, matte_video
from bgm.cli.commands import EVALUATE
from bgm.data.exposure import apply_gain
from bgm.data.video.clip import Range
from bgm.data.video.container import VideoFile
from bgm.tracking import TRACKERS

QUICK = ["model=base", "data=video", "output_dir=out", "tracking=files"]
EMPTY = colour_frame((90, 110, 130))
LONG = 40  # frames: many more than are under way at once, so that an interruption leaves some


@pytest.fixture
def plate(tmp_path):
    path = tmp_path / "plate.png"
    Image.fromarray(EMPTY).save(path)
    return path


@pytest.fixture
def clip(tmp_path):
    """A clip of variable rate with sound, a title and a time code."""
    times = [512 * number for number in range(10)] + [6000, 9000]
    return write_clip(
        tmp_path / "clips" / "take.mp4",
        moving_frames(12),
        times=times,
        time_base=Fraction(1, 12800),
        sound="aac",
        timecode="01:00:00:00",
        title="Take",
    )


def shown(path, **settings):
    return list(VideoFile(path, "x", **settings).read(Range()))


def length(path):
    with av.open(str(path)) as container:
        return container.duration / 1e6


def interrupting(after):
    """A tracker that presses Ctrl-C once so many frames are done."""

    class Interrupts:
        def __init__(self, settings):
            self.left = after

        def start(self, run):
            pass

        def image(self, record, preview):
            self.left -= 1
            if not self.left:
                signal.raise_signal(signal.SIGINT)

        def finish(self, summary):
            pass

    return Interrupts


@pytest.fixture
def interrupt(monkeypatch):
    def after(frames):
        monkeypatch.setitem(TRACKERS, "interrupts", interrupting(frames))
        return "tracking.name=interrupts"

    return after


def test_a_clip_becomes_clips(bgm, clip, plate, tmp_path):
    done = bgm(*QUICK, "outputs=video", f"data.src={clip}", f"data.bgr={plate}")
    assert done.code == 0, done.err + done.out
    assert "12 written" in done.out
    out = tmp_path / "out"
    assert {"com/take.mov", "pha/take.mkv"} <= set(files(out))
    source = shown(clip)
    for name in ("com/take.mov", "pha/take.mkv"):
        base = VideoFile(out / name, "x").probe().time_base
        back = shown(out / name)
        assert [float(frame.time * base) for frame in back] == pytest.approx(
            [frame.time / 12800 for frame in source], abs=6e-4
        )
        assert length(out / name) == pytest.approx(length(clip), abs=0.03)
    info = VideoFile(out / "com/take.mov", "x").probe()
    assert (info.timecode, info.audio, info.tags["title"]) == ("01:00:00:00", ("aac",), "Take")
    # The same mattes as of photographs.
    matting = load_matting(model="base")
    for number in (0, 7):
        alpha = matting(source[number].pixels, EMPTY).alpha[0].numpy()
        stored = shown(out / "pha/take.mkv", alpha=True)[number].pixels
        assert np.abs(stored - (alpha * 255).round()).max() <= 1
    found = records(out)
    assert list(found) == [f"take/{number:06d}" for number in range(1, 13)]
    assert found["take/000003"]["files"] == {"com": "com/take.mov", "pha": "pha/take.mkv"}
    (told,) = json.loads((out / "run.json").read_text())["clips"]
    assert (told["whole"], told["frames"], told["codec"]) == (True, 12, "h264")
    assert told["files"]["pha"]["codec"] == "ffv1"

    again = bgm(*QUICK, "outputs=video", f"data.src={clip}", f"data.bgr={plate}")
    assert again.code == 2
    assert "already has images.jsonl, run.json, com/take.mov" in again.err


def test_numbered_pictures_become_numbered_pictures(bgm, plate, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(moving_frames(4), 9):
        Image.fromarray(frame).save(folder / f"{number}.png")
    done = bgm(
        *QUICK,
        f"data.src={folder}/%d.png",
        f"data.bgr={plate}",
        "outputs.types=[com,pha]",
        "outputs.pha={format: png, bits: 16}",
    )
    assert done.code == 0, done.err + done.out
    assert [name for name in files(tmp_path / "out") if name.endswith(".png")] == [
        f"{kind}/frames/{number}.png" for kind in ("com", "pha") for number in (10, 11, 12, 9)
    ]


def test_a_damaged_frame_is_named_and_repeated(bgm, plate, tmp_path):
    path = write_clip(
        tmp_path / "torn.mov", moving_frames(8), codec="png", pixels="rgb24", matrix=0
    )
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    data[places[4] + 12 : places[4] + 60] = bytes(48)
    path.write_bytes(data)
    command = [*QUICK, "outputs=video", "outputs.types=[pha]", f"data.src={path}"]
    done = bgm(*command, f"data.bgr={plate}")
    assert done.code == 1
    assert "torn/000005: failed: a damaged frame" in done.err + done.out
    found = records(tmp_path / "out")
    assert [name for name, record in found.items() if record["status"] == "failed"] == [
        "torn/000005"
    ]
    mattes = [frame.pixels for frame in shown(tmp_path / "out/pha/torn.mkv", alpha=True)]
    assert len(mattes) == 8
    assert np.array_equal(mattes[4], mattes[3])
    assert not np.array_equal(mattes[5], mattes[4])

    batched = bgm(
        *(*command, f"data.bgr={plate}", "data.batch_size=3", "outputs.workers=1"),
        "on_existing=overwrite",
    )
    assert batched.code == 1
    again = [frame.pixels for frame in shown(tmp_path / "out/pha/torn.mkv", alpha=True)]
    assert np.array_equal(again, mattes)

    done = bgm(*command, f"data.bgr={plate}", "on_error=stop", "on_existing=overwrite")
    assert done.code == 1
    assert "pha/torn.unfinished.mkv" in files(tmp_path / "out")


def test_an_interrupted_run_goes_on_with_the_next_clip(bgm, plate, tmp_path, interrupt):
    write_clip(tmp_path / "clips/a/one.mp4", moving_frames(8))
    write_clip(tmp_path / "clips/two.mp4", moving_frames(LONG))
    command = [*QUICK, "outputs=video", f"data.src={tmp_path}/clips", f"data.bgr={plate}"]
    stopped = bgm(*command, interrupt(10))
    assert stopped.code == 130, stopped.out
    out = tmp_path / "out"
    assert {"com/a/one.mov", "com/two.unfinished.mov", "pha/two.unfinished.mkv"} <= set(files(out))
    assert 2 <= len(shown(out / "com/two.unfinished.mov")) < LONG
    before = (out / "com/a/one.mov").stat().st_mtime_ns

    done = bgm(*command, "on_existing=resume")
    assert done.code == 0, done.out + done.err
    assert (out / "com/a/one.mov").stat().st_mtime_ns == before
    assert len(shown(out / "com/two.mov")) == len(shown(out / "pha/two.mkv")) == LONG
    assert not [name for name in files(out) if "unfinished" in name or ".part" in name]
    states = [record["status"] for record in records(out).values()]
    assert (states.count("skipped"), states.count("written")) == (8, LONG)


def test_numbered_pictures_go_on_with_the_next_frame(bgm, plate, tmp_path, interrupt):
    clip = write_clip(tmp_path / "clips/take.mp4", moving_frames(LONG))
    command = [*QUICK, "outputs.types=[pha]", f"data.src={clip}", f"data.bgr={plate}"]
    assert bgm(*command, interrupt(5)).code == 130
    folder = tmp_path / "out/pha/take"
    first = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert 5 <= len(first) < LONG
    done = bgm(*command, "on_existing=resume")
    assert done.code == 0, done.out + done.err
    now = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(now) == LONG
    assert first.items() <= now.items()
    assert len(records(tmp_path / "out")) == LONG


def test_one_bad_clip_fails_alone(bgm, clip, plate, tmp_path):
    (clip.parent / "bad.mp4").write_bytes(b"\0" * 3000)
    command = [*QUICK, "outputs=video", f"data.src={clip.parent}", f"data.bgr={plate}"]
    done = bgm(*command, "data.end=4f")
    assert done.code == 1
    found = records(tmp_path / "out")
    assert found["bad"]["status"] == "failed"
    assert "cannot be opened as a video" in found["bad"]["error"]
    assert sum(record["status"] == "written" for record in found.values()) == 4


def test_parts_of_a_format_are_settings(bgm, clip, plate, tmp_path):
    """What is changed of a format is recorded with the rest of it, and repeats the run."""
    command = [*QUICK, "outputs=video", "outputs.types=[com]", "data.end=2f"]
    command += [f"data.src={clip}", f"data.bgr={plate}", "outputs.com.background=white"]
    done = bgm(*command, "outputs.com.format=mp4", "+outputs.formats.mp4.options.crf=40")
    assert done.code == 0, done.out + done.err
    written = json.loads((tmp_path / "out/run.json").read_text())["config"]["outputs"]["formats"]
    assert written["mp4"]["options"] == {"preset": "veryfast", "crf": "40"}
    assert written["mp4"]["even"] is True
    again = bgm("repeat=out", "output_dir=again")
    assert again.code == 0, again.out + again.err
    both = [tmp_path / name / "com/take.mp4" for name in ("out", "again")]
    assert both[0].read_bytes() == both[1].read_bytes()


def test_a_part_begins_at_nought_with_its_sound(bgm, plate, tmp_path):
    source = write_clip(
        tmp_path / "take.mov", moving_frames(25), sound="pcm_s16le", timecode="01:00:00:00"
    )
    done = bgm(
        *(*QUICK, "outputs=video", "outputs.types=[com]", "data.start=10f", "data.end=0.8"),
        *(f"data.src={source}", f"data.bgr={plate}"),
    )
    assert done.code == 0, done.out + done.err
    path = tmp_path / "out/com/take.mov"
    assert [frame.time for frame in shown(path)] == [512 * number for number in range(10)]
    assert VideoFile(path, "x").probe().timecode == "01:00:00:10"
    assert length(path) == pytest.approx(0.4, abs=0.03)


def test_a_plate_of_another_size_is_said_once(bgm, clip, tmp_path):
    Image.fromarray(colour_frame(size=(64, 48))).save(tmp_path / "small.png")
    command = [*QUICK, "outputs=video", f"data.src={clip}", f"data.bgr={tmp_path}/small.png"]
    done = bgm(*command)
    assert done.code == 1
    ((name, record),) = records(tmp_path / "out").items()
    assert name == "take"
    assert "the source is 128x96 but its background 64x48" in record["error"]
    resized = bgm(*command, "data.resize_background=true", "on_existing=overwrite", "data.end=2f")
    assert resized.code == 0


def test_a_composite_on_a_clip_that_is_looped(bgm, clip, plate, tmp_path):
    """The background of a frame is what the other clip shows at that time."""
    colours = [(200, 30, 30), (30, 200, 60), (20, 20, 220)]
    behind = write_clip(
        tmp_path / "behind.mp4", [colour_frame(c, (64, 48)) for c in colours], rate=Fraction(25)
    )
    done = bgm(
        *QUICK,
        "outputs=video",
        "outputs.types=[com]",
        "outputs.com.format=mp4",
        f"outputs.com.background={behind}",
        f"data.src={clip}",
        f"data.bgr={plate}",
    )
    assert done.code == 0, done.out + done.err
    for frame in shown(tmp_path / "out/com/take.mp4"):
        expected = colours[int(frame.time / 12800 * 25 + 1e-6) % 3]
        assert np.abs(frame.pixels[90, 120].astype(int) - expected).max() <= 12


def test_clips_are_examined_matched_and_checked(bgm, clip, plate, tmp_path):
    dark = apply_gain(np.asarray(Image.open(plate)), (0.6, 0.6, 0.6))
    Image.fromarray(dark).save(plate)
    command = [*QUICK, "outputs=video", "edges=standard", f"data.src={clip}", f"data.bgr={plate}"]
    examined = bgm(*command, "dry_run=true")
    assert examined.code == 0, examined.err
    lines = (tmp_path / "out/plates.jsonl").read_text().splitlines()
    first, middle = map(json.loads, lines)
    assert (first["name"], middle["name"]) == ("take/000001", "take/000007")
    assert any("data.match_exposure=true" in verdict for verdict in middle["verdicts"])
    assert not (tmp_path / "out/images.jsonl").exists()

    done = bgm(*command, "data.match_exposure=true", "outputs.types=[pha,chk]", "suspect_above=0")
    assert done.code == 0, done.err + done.out
    found = records(tmp_path / "out")
    gain = found["take/000001"]["exposure"]["gain"]
    assert gain == pytest.approx([1 / 0.6] * 3, rel=0.03)
    assert all(record["exposure"]["gain"] == gain for record in found.values())
    checked = {name: record["check"] for name, record in found.items() if record["check"]}
    assert list(checked) == ["take/000001", "take/000011"]
    assert "these 2 of 2 need eyes" in done.out + done.err
    (told,) = json.loads((tmp_path / "out/run.json").read_text())["clips"]
    suspicions = [one["suspicion"] for one in checked.values()]
    assert told["suspicion"]["frames"] == 2
    assert told["suspicion"]["mean"] == pytest.approx(np.mean(suspicions), abs=1e-4)
    assert told["suspicion"]["worst"] == max(suspicions)
    assert checked[told["suspicion"]["worst_frame"]]["suspicion"] == max(suspicions)
    assert len(shown(tmp_path / "out/chk/take.mkv")) == 12


def test_scores_of_clips(bgm, clip, plate, tmp_path):
    truth = []
    for number in range(12):
        alpha = np.zeros(SIZE[::-1], np.uint8)
        alpha[20:60, 4 * number : 4 * number + 30] = 255
        truth.append(alpha)
    true = write_clip(
        tmp_path / "true.mkv", truth, codec="ffv1", pixels="gray", matrix=1, full=True
    )
    done = bgm(*QUICK, f"data.src={clip}", f"data.bgr={plate}", f"data.pha={true}", "data.stride=5")
    assert done.code == 0, done.out + done.err
    found = records(tmp_path / "out")
    assert list(found) == ["take/000001", "take/000006", "take/000011"]
    for record in found.values():
        assert record["scores"]["mad"] < 400
        assert record["inputs"]["pha"]["path"] == str(true)

    # The same by the command that scores mattes whatever made them.
    stored = write_clip(
        tmp_path / "stored/take.mkv",
        [np.maximum(alpha, 51) for alpha in truth[:11]],
        codec="ffv1",
        pixels="gray",
        full=True,
    )
    scored = bgm(f"pred={stored}", f"true={true}", "output_dir=scores", command=EVALUATE)
    assert scored.code == 1
    rows = json.loads((tmp_path / "scores/scores.json").read_text())["rows"]
    assert [row["name"] for row in rows] == [f"take/{number:06}" for number in range(1, 13)]
    outside = 1 - 40 * 30 / (SIZE[0] * SIZE[1])
    assert [row["scores"]["mad"] for row in rows[:11]] == pytest.approx([0.2 * outside] * 11)
    assert rows[11]["error"] == "the matte has fewer frames than the truth"
    apart = [f"pred={stored.parent}", f"true={clip.parent}", "output_dir=more"]
    assert bgm(*apart, command=EVALUATE).code == 1
    write_clip(tmp_path / "stored/lonely.mkv", truth[:1], codec="ffv1", pixels="gray", full=True)
    refused = bgm(*apart, command=EVALUATE)
    assert refused.code == 2
    assert "lonely: matte without a truth" in refused.err


def test_python_in_one_call(clip, tmp_path):
    assert "matte_video" in package.__all__
    matted = matte_video(
        clip,
        "first:0.04s",
        tmp_path / "mattes",
        matting=load_matting(model="base"),
        formats={"com": "webm", "pha": "png"},
        end="3f",
        overrides=["model.name=base"],
    )
    assert (matted.frames, matted.failed) == (3, 0)
    assert len(shown(matted.files["com"], alpha=True)) == 3
    assert len(list(matted.files["pha"].iterdir())) == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data=folders", "outputs=video"], "outputs.com.format=prores4444 is for clips"),
        (["data=folders"], "is a video, not a picture; data=video outputs=video mattes clips"),
        (["data=folders", "data.align=frames"], "data.align=frames is for clips"),
        (
            ["outputs=video", "outputs.com.format=mp4"],
            "outputs.com.format=mp4 has no alpha; choose",
        ),
        (["outputs=video", "outputs.pha={format: ffv1, bits: 12}"], "must be 8 or 16"),
        (["outputs=video", "outputs.com.format=avi"], "Invalid value 'avi'"),
        (["data.start=soon"], "data.start=soon: must be seconds"),
        (["data.start=9"], "has no frame between data.start and data.end"),
        (["data.bgr=range:1s"], "data.bgr=range:1s: must be range:FROM-TO"),
        (["data.stride=0"], "data.stride=0: must be 1 or more"),
        (["data.frame_rate=fast"], "data.frame_rate=fast: must be"),
        (["data.src=nowhere.mp4"], "no such file"),
        (["on_suspect=copy"], "on_suspect=copy is for pictures"),
        (["data.plate=time"], "data.plate is for pictures"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_work_is_said_at_once(bgm, clip, plate, tmp_path, settings, said):
    keys = {setting.partition("=")[0] for setting in settings}
    given = [*QUICK, f"data.src={clip}", f"data.bgr={plate}"]
    done = bgm(*(one for one in given if one.partition("=")[0] not in keys), *settings)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out" / "run.json").exists()
