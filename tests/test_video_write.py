"""What is written reads back as it was: colours, alpha, time, sound, tags."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from clips import GREEN, SIZE, colour_frame, moving_frames, write_clip

from bgm.config.video import FORMATS_FOLDER, load_format
from bgm.data.video.clip import ClipInfo, Frame, Range
from bgm.data.video.container import VideoFile
from bgm.errors import ConfigError, DataError, WriteError
from bgm.layers import VIDEO_FORMATS, LayerSpec
from bgm.locations import conf_directory
from bgm.outputs.video.encoder import FilePlan, VideoEncoder
from bgm.outputs.video.sink import ClipPlan, VideoSink
from bgm.outputs.video.sound import SoundSource
from bgm.outputs.video.trial import try_format

SOFTWARE = sorted(VIDEO_FORMATS - {"nvenc"})
BASE = Fraction(1, 12800)
INFO = ClipInfo(SIZE, Fraction(25), BASE)
RAMP = np.tile(np.linspace(0, 255, SIZE[0]).round().astype(np.uint8), (SIZE[1], 1))


def form(name, **given):
    return load_format(name, conf_directory() / FORMATS_FOLDER, given)


def encode(path, chosen, frames, info=INFO, times=None):
    encoder = VideoEncoder(FilePlan(path, chosen, info, None, None))
    times = [512 * number for number in range(len(frames) + 1)] if times is None else times
    for number, pixels in enumerate(frames):
        encoder.write(pixels, times[number], times[number + 1] - times[number])
    encoder.finish_writing(whole=True)
    return encoder.name(whole=True)


def read(path, **settings):
    return [frame.pixels for frame in VideoFile(path, "x", **settings).read(Range())]


@pytest.mark.parametrize("name", SOFTWARE)
def test_colours_and_alpha_come_back(tmp_path, name):
    chosen = form(name)
    path = tmp_path / f"clip.{chosen.extension}"
    has_alpha = chosen.pixels_for(4, 8) is not None
    frame = colour_frame()
    if has_alpha:
        frame = np.dstack([frame, RAMP])
    encode(path, chosen, [frame] * 3)
    colours = read(path)
    assert len(colours) == 3
    for pixels in colours:
        scale = 1 if pixels.dtype == np.uint8 else 255
        assert np.abs(pixels[8:-8, 64:-8] * scale - GREEN).max() <= 2
    if has_alpha:
        # VP9's alpha is there for who decodes it with libvpx, as browsers do.
        for alpha in read(path, alpha=True):
            assert np.abs(alpha.astype(int) - RAMP).max() <= 1
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        tags = context.colorspace, context.color_range, context.color_primaries, context.color_trc
    if chosen.codec != "ffv1":
        assert [int(tag) for tag in tags] == [1, 1, 1, 1]


def test_chroma_is_rounded_alike_in_either_order_of_its_planes(tmp_path):
    """The formats that people add may store the same pixels under another name."""
    noise = np.random.default_rng(0).integers(0, 65536, (SIZE[1], SIZE[0], 3)).astype(np.uint16)
    read_back = []
    for name in ("yuv420p", "nv12"):
        chosen = form("mp4", pixels={"rgb16": name}, options={"qp": "0"})
        read_back += read(encode(tmp_path / f"{name}.mp4", chosen, [noise]))
    assert np.array_equal(*read_back)


def test_grey_is_lossless_by_default(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0]), np.uint8)
    path = encode(tmp_path / "a.mkv", form("ffv1"), [noise])
    assert np.array_equal(read(path, alpha=True)[0], noise)
    deep = noise.astype(np.uint16) * 257 + 3
    path = encode(tmp_path / "b.mkv", form("ffv1"), [deep])
    with av.open(str(path)) as container:
        (frame,) = container.decode(video=0)
        assert np.array_equal(frame.to_ndarray(), deep)


@pytest.mark.parametrize("name", ["mp4", "h265", "av1"])
def test_odd_sizes_are_filled_up_where_they_must_be(tmp_path, name):
    chosen = form(name)
    frame = colour_frame(size=(127, 95))
    path = encode(tmp_path / "odd.mp4", chosen, [frame] * 3)
    pixels = read(path)[0]
    assert pixels.shape == (96, 128, 3)
    assert np.abs(pixels.astype(int) - GREEN).max() <= 4  # the filling is more of the same


@pytest.mark.parametrize("name", ["prores4444", "webm", "ffv1"])
def test_odd_sizes_stay_where_they_can(tmp_path, name):
    frame = np.dstack([colour_frame(size=(127, 95)), np.full((95, 127), 200, np.uint8)])
    path = encode(tmp_path / f"odd.{form(name).extension}", form(name), [frame] * 2)
    assert read(path)[0].shape == (95, 127, 3)


@pytest.mark.parametrize("name", SOFTWARE)
def test_times_of_variable_rate_are_kept(tmp_path, name):
    times = [0, 512, 1024, 3072, 3584, 7168, 7680]
    chosen = form(name)
    frames = moving_frames(6)
    if chosen.pixels_for(3, 8) is None:
        frames = [np.dstack([frame, RAMP]) for frame in frames]
    path = encode(tmp_path / f"vfr.{chosen.extension}", chosen, frames, times=times)
    clip = VideoFile(path, "x")
    base = clip.probe().time_base
    seconds = [float(frame.time * base) for frame in clip.read(Range())]
    # Matroska counts milliseconds.
    assert seconds == pytest.approx([float(time * BASE) for time in times[:-1]], abs=6e-4)
    with av.open(str(path)) as container:
        assert container.duration / 1e6 == pytest.approx(float(7680 * BASE), abs=2e-3)


def test_ntsc_rates_stay_fractions(tmp_path):
    info = ClipInfo(SIZE, Fraction(24000, 1001), Fraction(1001, 24000))
    path = tmp_path / "ntsc.mov"
    encode(path, form("prores"), moving_frames(6), info, times=range(7))
    assert VideoFile(path, "x").probe().rate == Fraction(24000, 1001)


def test_tags_timecode_and_shape_of_pixels_are_kept(tmp_path):
    info = ClipInfo(
        SIZE, Fraction(25), BASE, aspect=Fraction(16, 11), tags={"title": "Lemur", "artist": "Ä"}
    )
    encoder = VideoEncoder(FilePlan(tmp_path / "a.mov", form("prores"), info, "10:20:30:05", None))
    for number, frame in enumerate(moving_frames(3)):
        encoder.write(frame, 512 * number, 512)
    encoder.finish_writing(whole=True)
    back = VideoFile(encoder.name(whole=True), "x").probe()
    assert back.timecode == "10:20:30:05"
    assert back.aspect == Fraction(16, 11)
    assert {"title": "Lemur", "artist": "Ä"}.items() <= back.tags.items()


def test_what_cannot_work_is_refused_before_any_work():
    with pytest.raises(ConfigError, match=r"outputs\.com\.format=x does not work here"):
        try_format("outputs.com.format=x", form("mp4", codec="libnothing"), 3, 8)
    with pytest.raises(ConfigError, match="does not work here"):
        try_format("outputs.com.format=x", form("mp4", pixels={"rgb8": "yuv999p"}), 3, 8)
    said = r"^outputs\.com\.format=x: the hardware encoder no_nvenc is not available here \(.+\); "
    with pytest.raises(ConfigError, match=said):
        try_format("outputs.com.format=x", form("mp4", codec="no_nvenc"), 3, 8)
    with pytest.raises(ConfigError, match="nothing: no such format of videos; there are av1, "):
        form("nothing")
    with pytest.raises(ConfigError, match="is not a format of videos"):
        form("mp4", colour="bt709")


def sink_of(tmp_path, stored, **formats):
    specs = [LayerSpec(kind, name) for kind, name in formats.items()]
    videos = {name: form(name) for name in formats.values() if name in VIDEO_FORMATS}
    return VideoSink(tmp_path, specs, videos, 1, stored.append)


def announce(sink, count, info=INFO, name="clip", **plan):
    sink.begin(ClipPlan(name, info, **plan))
    for number in range(count):
        sink.expect(f"{name}/{number}", Frame(str(number), number, 512 * number, 512, ValueError()))


def test_a_frame_that_failed_is_the_one_before_again(tmp_path):
    stored = []
    sink = sink_of(tmp_path, stored, pha="ffv1", fgr="png")
    announce(sink, 6)
    sink.discard("clip/0")  # before the first one: the first that comes
    sink.discard("clip/3")
    sink.end()
    for number in (1, 2, 4, 5):
        grey = np.full((SIZE[1], SIZE[0]), 10 * number, np.uint8)
        files = sink.store(f"clip/{number}", {"pha": grey, "fgr": colour_frame()})
        assert files == {"pha": "pha/clip.mkv", "fgr": f"fgr/clip/{number}.png"}
    (clip,) = stored
    assert (clip.whole, clip.frames, clip.repeated) == (True, 6, 2)
    values = [alpha[0, 0] for alpha in read(tmp_path / "pha" / "clip.mkv", alpha=True)]
    assert values == [10, 10, 20, 20, 40, 50]
    assert sorted(p.name for p in (tmp_path / "fgr" / "clip").iterdir()) == [
        f"{number}.png" for number in (1, 2, 3, 4, 5)
    ]
    sink.close()


def test_an_interrupted_clip_plays_and_its_name_says_so(tmp_path):
    stored = []
    sink = sink_of(tmp_path, stored, com="prores4444", pha="ffv1")
    announce(sink, 6)
    for number in range(3):
        layers = {"com": np.dstack([colour_frame(), RAMP]), "pha": RAMP}
        sink.store(f"clip/{number}", layers)
    sink.close()
    assert not stored[0].whole
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.m*"))
    assert names == ["com/clip.unfinished.mov", "pha/clip.unfinished.mkv"]
    assert all(len(read(tmp_path / name)) == 3 for name in names)
    assert not list(tmp_path.rglob("*.part"))


def test_a_clip_whose_file_cannot_be_written_is_not_whole(tmp_path):
    stored = []
    (tmp_path / "pha").write_text("in the way")
    sink = sink_of(tmp_path, stored, pha="ffv1")
    announce(sink, 2)
    sink.end()
    for number in range(2):
        with pytest.raises(WriteError, match="pha"):
            sink.store(f"clip/{number}", {"pha": RAMP})
    assert not stored[0].whole
    assert "pha" in stored[0].error
    sink.close()


@pytest.mark.parametrize(
    ("name", "sound", "kept"),
    [
        ("prores4444", "aac", "aac"),
        ("prores4444", "pcm_s16le", "pcm_s16le"),
        ("webm", "aac", "opus"),
        ("webm", "libopus", "opus"),
        ("ffv1", "aac", "aac"),
        ("mp4", "aac", "aac"),
    ],
)
def test_sound_is_copied_where_it_can_be(tmp_path, name, sound, kept):
    source = write_clip(
        tmp_path / ("in.mkv" if sound == "libopus" else "in.mov"), moving_frames(25), sound=sound
    )
    stored = []
    sink = sink_of(tmp_path, stored, com=name)
    info = VideoFile(source, "x").probe()
    sink.begin(ClipPlan("clip", info, sound=SoundSource(source)))
    frame = moving_frames(1)[0]
    if name != "mp4":
        frame = np.dstack([frame, RAMP])
    frames = list(VideoFile(source, "x").read(Range()))
    for one in frames:
        sink.expect(f"clip/{one.name}", one)
        sink.store(f"clip/{one.name}", {"com": frame})
    sink.end()
    path = tmp_path / stored[0].files["com"]["file"]
    with av.open(str(path)) as container:
        (track,) = container.streams.audio
        assert track.codec_context.codec.canonical_name == kept
        samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert len(samples) / 48000 == pytest.approx(1, abs=0.06)
    loud = samples[4000:-4000].astype(float)
    assert np.abs(np.fft.rfft(loud)[1:]).argmax() + 1 == pytest.approx(
        440 * len(loud) / 48000, abs=2
    )
    with av.open(str(path)) as container:
        assert container.duration / 1e6 == pytest.approx(1, abs=0.03)
    assert len(read(path)) == 25


def test_sound_of_a_part_is_of_that_part(tmp_path):
    source = write_clip(tmp_path / "in.mov", moving_frames(50), sound="pcm_s16le")
    stored = []
    sink = sink_of(tmp_path, stored, com="prores")
    info = VideoFile(source, "x").probe()
    sink.begin(ClipPlan("clip", info, sound=SoundSource(source, Fraction(1), is_part=True)))
    for number in range(12):
        one = Frame(str(number), number, 512 * number, 512, DataError("none"))
        sink.expect(f"clip/{number}", one)
        sink.store(f"clip/{number}", {"com": moving_frames(1)[0]})
    sink.end()
    with av.open(str(tmp_path / stored[0].files["com"]["file"])) as container:
        samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
        assert len(samples) / 48000 == pytest.approx(0.5, abs=0.05)
        assert container.streams.audio[0].start_time * container.streams.audio[
            0
        ].time_base == pytest.approx(0, abs=0.03)
