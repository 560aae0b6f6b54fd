"""Clips are read as they are meant to be seen: colours, time, order, size."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import GREEN, SIZE, colour_frame, moving_frames, write_clip
from PIL import Image

from bgm.data.video.clip import Range
from bgm.data.video.colours import Colours, to_srgb
from bgm.data.video.container import VideoFile
from bgm.data.video.find import Reading, find_clips, find_shots
from bgm.data.video.plates import own_plate
from bgm.data.video.points import advance_timecode, parse_point, timecode_to_frame
from bgm.errors import ConfigError, DataError

FLAT = [colour_frame()] * 3


def frames_of(path, wanted=None, **settings):
    return list(VideoFile(path, path.stem, **settings).read(wanted or Range()))


def colour_of(frame, at=(48, 64)):
    """The colour of a pixel, from 0 to 255, with fractions of deep ones."""
    pixels = frame.pixels
    return pixels[at] * (1 if pixels.dtype == np.uint8 else 255)


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("h264.mp4", {}),
        ("full.mp4", {"full": True}),
        ("matrix-601.mp4", {"matrix": 6}),
        ("untagged-sd.mp4", {"matrix": 6, "tag": False}),
        ("h264-422.mkv", {"pixels": "yuv422p"}),
        ("h265-10.mov", {"codec": "libx265", "pixels": "yuv420p10le"}),
        ("prores.mov", {"codec": "prores_ks", "pixels": "yuv422p10le"}),
        ("ffv1-rgb.mkv", {"codec": "ffv1", "pixels": "bgr0", "matrix": 0}),
        ("ffv1-rgb10.mkv", {"codec": "ffv1", "pixels": "gbrp10le", "matrix": 0}),
        ("animation.mov", {"codec": "qtrle", "pixels": "rgb24", "matrix": 0}),
        ("vp9.webm", {"codec": "libvpx-vp9"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_colours_are_read_by_what_the_file_says(tmp_path, file, settings):
    if settings.get("codec") == "libx265":
        settings["options"] = {"x265-params": "log-level=none"}
    path = write_clip(tmp_path / file, FLAT, **settings)
    (first, *_) = frames_of(path)
    assert np.abs(colour_of(first) - GREEN).max() <= 2


def test_untagged_hd_is_bt709(tmp_path):
    path = write_clip(tmp_path / "hd.mp4", [colour_frame(size=(1280, 96))], tag=False)
    assert np.abs(colour_of(frames_of(path)[0]) - GREEN).max() <= 2


def test_depth_is_kept(tmp_path):
    ramp = np.linspace(0, 65535, SIZE[0]).astype(np.uint16)
    frame = np.repeat(np.tile(ramp, (SIZE[1], 1))[..., None], 3, 2)
    path = write_clip(
        tmp_path / "deep.mkv", [frame], codec="ffv1", pixels="yuv444p10le", primaries=1
    )
    pixels = frames_of(path)[0].pixels
    assert pixels.dtype == np.float32
    assert len(np.unique(pixels[0, :, 0])) > 100
    assert np.abs(pixels - frame / 65535).max() < 0.003


def test_wide_primaries_are_converted(tmp_path):
    colour = (90, 180, 110)
    path = write_clip(tmp_path / "p3.mp4", [colour_frame(colour)] * 3, primaries=12)
    expected = to_srgb(np.array(colour) / 255, Colours(1, False, 12, 1, True)) * 255
    assert expected[0] < colour[0] - 20  # the same numbers are a stronger green
    assert np.abs(colour_of(frames_of(path)[0]) - expected).max() <= 3


@pytest.mark.parametrize(("transfer", "white"), [(16, 0.5807), (18, 0.75)], ids=["pq", "hlg"])
def test_hdr_becomes_sdr(tmp_path, transfer, white):
    """Diffuse white, 203 candela per square metre, becomes nearly white; black stays black."""
    grey = np.zeros((SIZE[1], SIZE[0], 3), np.uint16)
    grey[:, 64:] = round(white * 65535)
    path = write_clip(
        tmp_path / "hdr.mkv",
        [grey],
        codec="ffv1",
        pixels="yuv420p10le",
        matrix=9,
        primaries=9,
        transfer=transfer,
    )
    info = VideoFile(path, "hdr").probe()
    assert info.facts["colours"]["transfer"] in ("pq", "hlg")
    (frame,) = frames_of(path)
    assert 0.93 < frame.pixels[40, 100].mean() < 1
    assert np.ptp(frame.pixels[40, 100]) < 0.01
    assert frame.pixels[40, 20].max() < 0.01


def test_colours_that_are_not_converted_are_refused(tmp_path):
    path = write_clip(tmp_path / "ycgco.mkv", FLAT, codec="ffv1", pixels="yuv420p", matrix=8)
    with pytest.raises(DataError, match="YCgCo"):
        VideoFile(path, "x").probe()


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_rotation_is_applied(tmp_path, turned):
    frame = colour_frame()
    frame[:20, :20] = (240, 20, 20)  # marks the upper left
    path = write_clip(tmp_path / "turned.mp4", [frame] * 3, rotation=turned)
    clip = VideoFile(path, "x")
    pixels = frames_of(path)[0].pixels
    expected = np.rot90(frame, turned // 90)
    assert pixels.shape == expected.shape
    assert clip.probe().size == expected.shape[1::-1]
    assert np.abs(pixels.astype(int) - expected).mean() < 6


def test_pixels_that_are_not_square_are_told(tmp_path):
    path = write_clip(tmp_path / "wide.mp4", FLAT, aspect=Fraction(4, 3))
    assert VideoFile(path, "x").probe().aspect == Fraction(4, 3)


def test_every_frame_keeps_its_time(tmp_path):
    times = [0, 512, 1024, 3000, 3100, 7000, 7512]
    path = write_clip(
        tmp_path / "vfr.mp4",
        moving_frames(len(times)),
        times=times,
        time_base=Fraction(1, 12800),
    )
    frames = frames_of(path)
    assert [frame.time for frame in frames] == times
    assert VideoFile(path, "x").probe().time_base == Fraction(1, 12800)


def test_interlaced_frames_become_whole(tmp_path):
    """Fields that show different times leave no comb; the number of frames stays."""
    frames = []
    for number in range(8):
        frame = colour_frame((20, 20, 20))
        frame[0::2, 10 + 8 * number : 40 + 8 * number] = 230
        frame[1::2, 14 + 8 * number : 44 + 8 * number] = 230
        frames.append(frame)
    flags = int(av.codec.context.Flags.interlaced_dct) | int(av.codec.context.Flags.interlaced_me)
    path = write_clip(
        tmp_path / "interlaced.mpg",
        frames,
        codec="mpeg2video",
        flags=flags,
        options={"qscale": "2", "flags": "+ilme+ildct", "b": "8M"},
    )
    combed = frames_of(path, deinterlace="off")
    whole = frames_of(path, deinterlace="on")
    assert len(whole) == len(combed) == 8

    def comb(frame):
        grey = frame.pixels[..., 0].astype(int)
        return np.abs(2 * grey[1:-1] - grey[:-2] - grey[2:]).mean()

    assert comb(whole[4]) < comb(combed[4]) / 2


def test_points_and_stride(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", moving_frames(12), timecode="10:00:00:00")
    clip = VideoFile(path, "clip")
    info = clip.probe()

    def indices(start=None, end=None, stride=1):
        points = [None if p is None else parse_point("data.start", p) for p in (start, end)]
        wanted = Range(points[0], points[1], stride).resolve(info)
        found = [frame.index for frame in clip.read(wanted)]
        assert wanted.expected(info) == len(found)
        return found

    assert indices("3f", "6f") == [3, 4, 5]
    assert indices("0.12", "0.2s") == [3, 4]
    assert indices("00:00:00.4") == [10, 11]
    assert indices("10:00:00:08", stride=2) == [8, 10]
    assert indices(end="100") == list(range(12))
    with pytest.raises(ConfigError, match=r"before the clip's first, 10:00:00:00"):
        indices("09:59:59:00")
    with pytest.raises(ConfigError, match=r"data\.start=tomorrow: must be seconds"):
        indices("tomorrow")


def test_timecodes_that_leave_numbers_out():
    rate = Fraction(30000, 1001)
    assert timecode_to_frame("00:01:00;02", rate) == 1800
    assert timecode_to_frame("00:10:00;00", rate) == 17982
    for frames in (1, 1799, 1800, 17981, 17982, 107892):
        later = advance_timecode("00:00:00;00", frames, rate)
        assert timecode_to_frame(later, rate) == frames


def test_damaged_frames_are_named_in_their_places(tmp_path):
    path = write_clip(
        tmp_path / "clip.mov", moving_frames(12), codec="png", pixels="rgb24", matrix=0
    )
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    data[places[5] + 12 : places[5] + 60] = bytes(48)
    path.write_bytes(data)
    frames = frames_of(path)
    damaged = [frame.index for frame in frames if isinstance(frame.pixels, DataError)]
    assert damaged == [5]
    assert [frame.time for frame in frames] == [512 * number for number in range(12)]


def test_numbered_pictures(tmp_path):
    folder = tmp_path / "shots" / "take"
    folder.mkdir(parents=True)
    for number in (1, 2, 10, 11):
        Image.fromarray(colour_frame((number, 0, 0))).save(folder / f"take_{number}.png")
    with pytest.raises(DataError, match=r"take_%d\.png lacks 3-9 "):
        find_clips(folder, Reading())
    skipping = Reading(skip_gaps=True, rate=Fraction(24))
    for path in (folder, folder / "take_%d.png", folder / "take_#.png", folder / "*.png"):
        ((name, clip),) = find_clips(path, skipping).items()
        assert name == "take"
        frames = list(clip.read(Range()))
        assert [frame.name for frame in frames] == ["1", "2", "10", "11"]
        assert [frame.time for frame in frames] == [0, 1, 9, 10]
        assert [frame.pixels[0, 0, 0] for frame in frames] == [1, 2, 10, 11]
    assert set(find_clips(tmp_path / "shots", skipping)) == {"take"}


def test_pictures_rendered_every_tenth_frame_have_no_gaps(tmp_path):
    for number in (0, 10, 20):
        Image.fromarray(colour_frame()).save(tmp_path / f"{number:04d}.png")
    ((_, clip),) = find_clips(tmp_path, Reading()).items()
    assert [frame.name for frame in clip.read(Range())] == ["0000", "0010", "0020"]
    (tmp_path / "0010.png").unlink()
    Image.fromarray(colour_frame()).save(tmp_path / "0030.png")
    with pytest.raises(DataError, match="lacks 10 "):
        find_clips(tmp_path, Reading())


def test_the_plate_from_the_clip_itself(tmp_path):
    empty = colour_frame((90, 110, 130))
    path = write_clip(tmp_path / "clip.mp4", [empty] * 6 + moving_frames(12))
    for bgr in ("first:0.24s", "range:0f-6f", "median"):
        ((shot,), _) = find_shots(path, bgr, {}, Reading())
        shot.plate.check(shot.clip.probe(), Range())
        plate = next(shot.plate.frames(Range()))
        assert np.abs(plate.astype(int) - empty).max() <= 3, bgr
    with pytest.raises(ConfigError, match=r"must be range:FROM-TO"):
        own_plate("range:2s")


def test_folders_of_clips_find_their_plates(tmp_path):
    for name in ("a/one", "two"):
        write_clip(tmp_path / "src" / f"{name}.mp4", FLAT)
    (tmp_path / "bgr" / "a").mkdir(parents=True)
    Image.fromarray(colour_frame()).save(tmp_path / "bgr" / "a" / "one.png")
    with pytest.raises(DataError, match="two: clip without a background"):
        find_shots(tmp_path / "src", str(tmp_path / "bgr"), {}, Reading())
    shutil.copy(tmp_path / "src" / "two.mp4", tmp_path / "bgr" / "two.mp4")
    shots, leftovers = find_shots(tmp_path / "src", str(tmp_path / "bgr"), {}, Reading())
    assert [(shot.name, shot.plate.moves) for shot in shots] == [("a/one", False), ("two", True)]
    assert not leftovers


def test_what_is_no_clip_is_said(tmp_path):
    (tmp_path / "torn.mp4").write_bytes(b"\0" * 500)
    with pytest.raises(DataError, match=r"torn\.mp4 cannot be opened as a video"):
        VideoFile(tmp_path / "torn.mp4", "x").probe()
    Image.fromarray(colour_frame()).save(tmp_path / "one.png")
    with pytest.raises(DataError, match="one picture, not a clip"):
        find_clips(tmp_path / "one.png", Reading())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no clips in"):
        find_clips(Path(tmp_path / "empty"), Reading())


def test_a_clip_that_was_cut_short_says_so(tmp_path):
    whole = write_clip(
        tmp_path / "whole.mp4",
        moving_frames(12),
        codec="mpeg4",
        options={"b": "4M", "g": "1"},
        container_options={"movflags": "faststart"},
    )
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 2 // 3])
    frames = frames_of(cut)
    good = [frame for frame in frames if not isinstance(frame.pixels, DataError)]
    assert 4 <= len(good) < 12
    assert any("the file ends here" in str(frame.pixels) for frame in frames[len(good) :])
    assert len(frames_of(whole)) == 12
