"""OpenEXR as what is matted: light in floats, from cameras and film pipelines."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from bgm.data import read_alpha, read_image
from bgm.data.colour import decode as linear_light
from bgm.data.decode import decode
from bgm.errors import DataError

exr = pytest.importorskip("OpenEXR")

ACES = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)
SEEN = np.array([30, 200, 60]) / 255


def write_exr(path, channels, **header):
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.ascontiguousarray(c, np.float32) for name, c in channels.items()}
    compressed = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    exr.File({**compressed, **header}, arrays).write(str(path))
    return path


def flat(colour, size=(8, 12)):
    return {name: np.full(size, value) for name, value in zip("RGB", colour, strict=True)}


def test_light_is_seen_as_in_srgb(tmp_path):
    path = write_exr(tmp_path / "a.exr", flat(linear_light(SEEN)))
    pixels = read_image(path)
    assert (pixels.dtype, pixels.shape) == (np.float32, (8, 12, 3))
    np.testing.assert_allclose(pixels, np.broadcast_to(SEEN, pixels.shape), atol=1e-4)
    layers = {f"beauty.{name}": c for name, c in flat(linear_light(SEEN)).items()}
    depth = {"depth.Z": np.full((8, 12), 9.0)}
    np.testing.assert_allclose(read_image(write_exr(tmp_path / "b.exr", layers | depth)), pixels)
    grey = write_exr(tmp_path / "c.exr", {"Y": np.full((8, 12), linear_light(SEEN)[1])})
    np.testing.assert_allclose(read_image(grey), SEEN[1], atol=1e-4)


def test_chromaticities_count(tmp_path):
    """White of ACES is white of sRGB; its green lies outside of it."""
    grey = write_exr(tmp_path / "grey.exr", flat([0.18] * 3), chromaticities=ACES)
    np.testing.assert_allclose(read_image(grey), read_image(grey)[0, 0, 0], atol=2e-3)
    np.testing.assert_allclose(read_image(grey) * 255, 117.6, atol=0.5)
    green = write_exr(tmp_path / "green.exr", flat([0.1, 0.3, 0.1]), chromaticities=ACES)
    red, _, blue = read_image(green)[0, 0]
    assert max(red, blue) < linear_to_seen(0.1)


def linear_to_seen(value):
    return 1.055 * value ** (1 / 2.4) - 0.055


def test_what_is_stored_lies_where_its_window_says(tmp_path):
    window = ((2, 1), (13, 8))  # of a picture of 16x10
    whole = (np.array([0, 0], np.int32), np.array([15, 9], np.int32))
    corners = tuple(np.array(corner, np.int32) for corner in window)
    path = tmp_path / "a.exr"
    write_exr(path, flat(linear_light(SEEN)), dataWindow=corners, displayWindow=whole)
    pixels = read_image(path)
    assert pixels.shape == (10, 16, 3)
    assert pixels[0].max() == pixels[9].max() == pixels[:, :2].max() == 0
    np.testing.assert_allclose(pixels[1:9, 2:14], np.broadcast_to(SEEN, (8, 12, 3)), atol=1e-4)


def test_what_is_brighter_than_white_is_cut_and_said(tmp_path):
    light = flat([0.5] * 3)
    light["R"][0] = 7
    decoded = decode(write_exr(tmp_path / "a.exr", light))
    assert decoded.pixels[0, 0, 0] == pytest.approx(1)
    assert decoded.remark == "12.5% of a.exr is brighter than white: cut off there"


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ({"R": np.full((4, 4), np.nan), "G": np.ones((4, 4)), "B": np.ones((4, 4))}, "not finite"),
        ({"Z": np.ones((4, 4))}, "it has the channels Z, but neither R, G, B nor Y or A"),
    ],
)
def test_what_is_no_photograph_is_refused_in_words(tmp_path, channels, message):
    path = write_exr(tmp_path / "a.exr", channels)
    with pytest.raises(DataError, match=f"a.exr cannot be decoded: .*{message}"):
        decode(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"a.exr cannot be decoded"):
        decode(path)


def test_the_limit_of_size_holds_before_pixels_are_read(tmp_path):
    path = write_exr(tmp_path / "a.exr", flat(SEEN))
    with pytest.raises(DataError, match=r"a.exr claims to be 12x8, more than"):
        decode(path, max_pixels=50)


def test_mattes(tmp_path):
    ramp = np.linspace(0, 1, 12)[None].repeat(8, 0)
    expected = np.rint(ramp * 255)
    for channels in ({"A": ramp}, {"Y": ramp}, flat(SEEN) | {"A": ramp}):
        path = write_exr(tmp_path / "a.exr", channels)
        assert np.abs(read_alpha(path).astype(int) - expected).max() <= 1
    opaque = flat([0.5] * 3) | {"A": np.ones((8, 12))}  # its brightness, as of other files
    assert (read_alpha(write_exr(tmp_path / "b.exr", opaque)) == 188).all()


@pytest.mark.parametrize("kind", ["folders", "video"])
def test_a_shoot_in_exr_is_matted_as_the_same_in_png(bgm, shoot, tmp_path, kind):
    """Photographs, and frames of a clip; what bgm writes as EXR is read back too."""
    mattes = {}
    for suffix in ("png", "exr"):
        for folder in ("src", "bgr"):
            write_frames(shoot.root / folder / "product/teapot.jpg", tmp_path / suffix / folder)
        photographs, plates = (tmp_path / suffix / folder for folder in ("src", "bgr"))
        plates = plates / f"1.{suffix}" if kind == "video" else plates
        layers = ["outputs.types=[pha]", "outputs.pha.format=exr", f"output_dir={tmp_path / 'out'}"]
        done = bgm(f"data={kind}", f"data.src={photographs}", f"data.bgr={plates}", *layers)
        assert done.code == 0, done.err
        written = sorted((tmp_path / "out").rglob("*.exr"))
        assert len(written) == 2
        mattes[suffix] = read_alpha(written[0]).astype(int)
        shutil.rmtree(tmp_path / "out")
    assert mattes["png"].max() == 255
    assert np.abs(mattes["png"] - mattes["exr"]).max() <= 2


def write_frames(picture, folder):
    """A picture twice, numbered, in the format that the folder above is named after."""
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    folder.mkdir(parents=True)
    light = dict(zip("RGB", np.moveaxis(linear_light(pixels / 255), 2, 0), strict=True))
    for number in (1, 2):
        if folder.parent.name == "png":
            Image.fromarray(pixels).save(folder / f"{number}.png")
        else:
            write_exr(folder / f"{number}.exr", light)
