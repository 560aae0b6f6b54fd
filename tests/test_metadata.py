"""What layers keep of what a photograph says of itself."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

from bgm.data.metadata import Metadata, read_metadata
from bgm.outputs import LayerSpec, encode
from bgm.outputs.metadata import srgb_profile

FORMATS = ("png", "jpg", "webp", "tiff")
AUTHOR, DATE = "Zoë Müller", "2026:11:25 10:00:00"


def picture(channels, kind="uint8"):
    rng = np.random.default_rng(0)
    shape = (20, 35) if channels == 1 else (20, 35, channels)
    return rng.integers(0, np.iinfo(kind).max, shape, endpoint=True).astype(kind)


def exif_of(orientation=6):
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    exif[Base.Make], exif[Base.DateTime] = "Camera", DATE
    exif[Base.Artist], exif[Base.Copyright] = AUTHOR.encode(), f"(c) {AUTHOR}".encode()
    exif[IFD.Exif] = {
        Base.DateTimeOriginal: DATE,
        Base.FNumber: 2.8,
        Base.ColorSpace: 2,
        Base.ExifImageWidth: 4000,
        Base.MakerNote: b"offsets that hold nowhere else",
    }
    exif[IFD.GPSInfo] = {1: "N", 2: (48.0, 8.0, 0.0)}
    return exif


@pytest.fixture
def photograph(tmp_path):
    """A photograph that lies on its side, with all there is to keep."""
    path = tmp_path / "1.jpg"
    adobe = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(picture(3)).save(path, exif=exif_of(), dpi=(300, 200), icc_profile=adobe)
    return path


def stored(pixels, spec, metadata, level=1):
    image = Image.open(io.BytesIO(encode(pixels, spec, level, metadata)))
    image.load()
    return image


def text(value):
    return value.encode("latin-1").decode() if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("kind", "channels", "level"),
    [(kind, channels, 1) for kind in FORMATS for channels in (1, 3)]
    + [(kind, 4, 1) for kind in FORMATS if kind != "jpg"]
    + [("png", channels, 9) for channels in (1, 3, 4)],
)
def test_every_format_keeps_author_camera_date_and_resolution(photograph, kind, channels, level):
    pixels = picture(channels)
    image = stored(pixels, LayerSpec("com", kind), read_metadata(photograph), level)
    exif = image.getexif()
    assert exif[Base.Make] == "Camera"
    assert exif[Base.DateTime] == DATE
    assert text(exif[Base.Artist]) == AUTHOR
    assert text(exif[Base.Copyright]) == f"(c) {AUTHOR}"
    assert exif.get(Base.Orientation) == 1
    inside = exif.get_ifd(IFD.Exif)
    assert inside[Base.DateTimeOriginal] == DATE
    assert float(inside[Base.FNumber]) == pytest.approx(2.8)
    assert inside[Base.ColorSpace] == 1
    assert not {Base.MakerNote, Base.ExifImageWidth} & inside.keys()
    assert exif.get_ifd(IFD.GPSInfo)[1] == "N"
    assert not exif.get_ifd(IFD.IFD1)
    if kind == "webp":  # which has no other place for it
        resolution = exif[Base.XResolution], exif[Base.YResolution]
    else:
        resolution = image.info["dpi"]
    assert [float(value) for value in resolution] == pytest.approx([200, 300], abs=0.02)
    if kind in ("png", "tiff"):
        np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_colour_file_says_that_it_is_srgb(kind):
    image = stored(picture(3), LayerSpec("fgr", kind), Metadata())
    if kind == "png":
        assert image.info["srgb"] == 0
        return
    assert image.info["icc_profile"] == srgb_profile()
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    values = Image.new("RGB", (1, 1), (128, 64, 32))
    same = ImageCms.profileToProfile(values, profile, ImageCms.createProfile("sRGB"))
    assert same.getpixel((0, 0)) == (128, 64, 32)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_without_metadata_nothing_is_said(kind, channels):
    image = stored(picture(channels), LayerSpec("fgr", kind), None)
    assert not dict(image.getexif()).keys() & {Base.Artist, Base.ExifOffset}
    assert not image.info.keys() & {"icc_profile", "srgb", "exif"}


def test_two_runs_write_the_same_bytes(photograph):
    for kind in FORMATS:
        one, other = (
            encode(picture(3), LayerSpec("fgr", kind), 1, read_metadata(photograph))
            for _ in range(2)
        )
        assert one == other


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
def test_metadata_is_read_from_every_format(tmp_path, kind):
    path = tmp_path / f"1.{kind}"
    Image.fromarray(picture(3)).save(path, exif=exif_of(1).tobytes(), dpi=(300, 300))
    exif = Image.Exif()
    exif.load(read_metadata(path).exif)
    assert exif[Base.Make] == "Camera"
    if kind != "tif":  # where Pillow, which wrote it here, put question marks for accents
        assert text(exif[Base.Artist]) == AUTHOR
    if kind != "webp":
        assert read_metadata(path).dpi == pytest.approx((300, 300), abs=0.02)


@pytest.mark.parametrize("place", range(4, 200, 12))
def test_damaged_exif_is_left_out(tmp_path, place):
    """Whatever is damaged: what is kept can be stored in every format."""
    whole = exif_of().tobytes()
    damaged = whole[:place] + b"\xff\xfe\xff" + whole[place + 3 :]
    path = tmp_path / "1.jpg"
    Image.fromarray(picture(3)).save(path, exif=damaged)
    metadata = read_metadata(path)
    for kind in FORMATS:
        assert stored(picture(3), LayerSpec("fgr", kind), metadata).size == (35, 20)


def test_what_is_no_picture_has_no_metadata(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"II*\0")
    assert read_metadata(tmp_path / "1.jpg") == read_metadata(tmp_path / "2.jpg") == Metadata()


def test_exif_too_large_for_jpeg_is_cut(tmp_path):
    exif = exif_of()
    exif[Base.ImageDescription] = "x" * 20_000
    exif[IFD.Exif] = dict.fromkeys(range(0xB000, 0xB009), "x" * 4_000)
    path = tmp_path / "1.jpg"
    Image.fromarray(picture(3)).save(path, exif=exif)
    image = stored(picture(3), LayerSpec("fgr", "jpg"), read_metadata(path))
    assert image.getexif()[Base.Make] == "Camera"


@pytest.mark.parametrize(("premultiplied", "tag"), [(False, 2), (True, 1)])
@pytest.mark.parametrize("metadata", [None, Metadata()])
def test_a_tiff_cutout_says_what_its_alpha_is(premultiplied, tag, metadata):
    spec = LayerSpec("com", "tiff", premultiplied=premultiplied)
    image = stored(picture(4), spec, metadata)
    assert image.tag_v2[338] == (tag,)
    if not premultiplied:
        np.testing.assert_array_equal(np.asarray(image), picture(4))


def test_deep_alpha_keeps_its_depth(photograph):
    for kind in ("png", "tiff"):
        pixels = picture(1, "uint16")
        image = stored(pixels, LayerSpec("pha", kind, bits=16), read_metadata(photograph))
        np.testing.assert_array_equal(np.asarray(image).astype(np.uint16), pixels)
        assert image.getexif()[Base.Make] == "Camera"


def with_metadata(shoot):
    for path in shoot.src.rglob("*.jpg"):
        Image.open(path).save(path, quality=95, exif=exif_of(1), dpi=(300, 300))


def said(root) -> dict[str, tuple]:
    found = {}
    for kind in ("com", "fgr", "pha"):
        (path,) = (root / kind).glob("product/teapot.*")
        with Image.open(path) as image:
            found[kind] = image.getexif().get(Base.Make), round(image.info.get("dpi", (0,))[0])
    return found


def test_a_run_keeps_metadata_in_every_layer_unless_told_not_to(matte, shoot, tmp_path):
    with_metadata(shoot)
    assert matte().code == 0
    assert said(tmp_path / "out") == dict.fromkeys(("com", "fgr", "pha"), ("Camera", 300))
    assert matte("outputs.metadata=false", "output_dir=bare").code == 0
    assert said(tmp_path / "bare") == dict.fromkeys(("com", "fgr", "pha"), (None, 0))
