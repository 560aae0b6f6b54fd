"""Every common kind of image file becomes upright sRGB."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from bgm import ImagesDataset, ZipDataset
from bgm.data import Pair, read_image
from bgm.data.colour import adobe_rgb
from bgm.data.decode import decode
from bgm.errors import DataError

HEIGHT, WIDTH = 24, 32


@pytest.fixture
def rgb():
    """A smooth picture whose corners differ."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([y * 8, x * 7, 255 - y * 4 - x * 3], axis=2).astype(np.uint8)


def saved(tmp_path, name, image, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.Tiff", "a.webp", "a.jpg", "a.JPEG"])
def test_formats_in_any_letter_case(tmp_path, rgb, name):
    options = {"lossless": True} if name == "a.webp" else {"quality": 100, "subsampling": 0}
    options = {} if name.lower().endswith(("png", "bmp", "tiff")) else options
    decoded = read_image(saved(tmp_path, name, Image.fromarray(rgb), **options))
    assert decoded.dtype == np.uint8
    np.testing.assert_allclose(decoded.astype(int), rgb, atol=4 if "j" in name.lower() else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "png16", "tif16", "grey16"])
def test_orientation_is_honoured(tmp_path, rgb, orientation, kind):
    """Sixteen-bit files take another way through the decoder, and must come out the same."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = Image.fromarray(rgb if kind != "grey16" else rgb[:, :, 0])
    path = tmp_path / f"a.{kind.removesuffix('16') if kind != 'grey16' else 'png'}"
    if kind == "grey16":
        Image.fromarray(rgb[:, :, 0].astype(np.uint16) * 257).save(path, exif=exif)
    elif kind.endswith("16"):
        cv2.imwrite(str(path), cv2.cvtColor(rgb.astype(np.uint16) * 257, cv2.COLOR_RGB2BGR))
        add_orientation(path, orientation)
    else:
        plain.save(path, exif=exif, quality=100, subsampling=0)
    expected = orient(np.asarray(plain.convert("RGB")), orientation)
    decoded = read_image(path)
    if decoded.dtype == np.float32:
        decoded = decoded * 255
    assert decoded.shape == expected.shape
    np.testing.assert_allclose(decoded.astype(float), expected, atol=6)


def orient(pixels, orientation):
    """What the EXIF standard says of each orientation."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}
    return np.flip(pixels, flips[orientation]) if orientation in flips else pixels


def add_orientation(path, orientation):
    """Put the orientation into a 16-bit colour file, which Pillow cannot write."""
    if path.suffix == ".tif":
        data = bytearray(path.read_bytes())
        assert data[:2] == b"II"
        at = int.from_bytes(data[4:8], "little")
        count = int.from_bytes(data[at : at + 2], "little")
        entries = [bytes(data[at + 2 + 12 * i : at + 14 + 12 * i]) for i in range(count)]
        entries = [e for e in entries if int.from_bytes(e[:2], "little") != 0x0112]
        new = bytes.fromhex("12010300") + (1).to_bytes(4, "little")
        entries.append(new + orientation.to_bytes(4, "little"))
        entries.sort(key=lambda e: int.from_bytes(e[:2], "little"))
        directory = len(entries).to_bytes(2, "little") + b"".join(entries) + bytes(4)
        data[4:8] = (len(data) + len(data) % 2).to_bytes(4, "little")
        path.write_bytes(bytes(data) + bytes(len(data) % 2) + directory)
        return
    exif = Image.Exif()
    exif[0x0112] = orientation
    payload = exif.tobytes().removeprefix(b"Exif\x00\x00")
    chunk = b"eXIf" + payload
    data = path.read_bytes()
    head = data[:33]  # signature and header
    whole = len(payload).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    path.write_bytes(head + whole + data[33:])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_colour_keeps_its_depth(tmp_path, suffix):
    deep = np.linspace(0, 65535, HEIGHT * WIDTH * 3).astype(np.uint16).reshape(HEIGHT, WIDTH, 3)
    path = tmp_path / f"deep.{suffix}"
    cv2.imwrite(str(path), cv2.cvtColor(deep, cv2.COLOR_RGB2BGR))
    decoded = read_image(path)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, deep / 65535, atol=1e-6)


def test_16_bit_colour_with_alpha(tmp_path):
    deep = np.full((HEIGHT, WIDTH, 4), 20000, np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    np.testing.assert_allclose(read_image(tmp_path / "deep.png"), 20000 / 65535, atol=1e-6)


def test_16_bit_greyscale_is_not_clipped(tmp_path):
    deep = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    for suffix in ("png", "tif"):
        decoded = read_image(saved(tmp_path, f"deep.{suffix}", Image.fromarray(deep)))
        assert decoded.shape == (HEIGHT, WIDTH, 3)
        np.testing.assert_allclose(decoded[:, :, 1], deep / 65535, atol=1e-6)


def test_float_tiff(tmp_path):
    values = np.linspace(-0.1, 1.2, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    decoded = read_image(saved(tmp_path, "f.tif", Image.fromarray(values)))
    np.testing.assert_allclose(decoded[:, :, 0], values.clip(0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("L", (90, 90, 90)), ("LA", (90, 90, 90)), ("RGBA", (200, 90, 30)), ("P", (200, 90, 30))],
)
def test_modes_become_rgb(tmp_path, mode, expected):
    if mode.startswith("L"):
        image = Image.new("L", (WIDTH, HEIGHT), 90).convert(mode)
    else:
        image = Image.new("RGBA", (WIDTH, HEIGHT), (200, 90, 30, 0 if mode == "RGBA" else 255))
        image = image.convert("RGB").quantize(4) if mode == "P" else image
    decoded = read_image(saved(tmp_path, "a.png", image))
    np.testing.assert_allclose(
        decoded.astype(int), np.broadcast_to(expected, decoded.shape), atol=1
    )


def test_palette_with_transparency_and_one_bit(tmp_path):
    image = Image.new("RGB", (WIDTH, HEIGHT), (0, 128, 255)).quantize(4)
    decoded = read_image(saved(tmp_path, "p.png", image, transparency=0))
    np.testing.assert_allclose(decoded[0, 0].astype(int), (0, 128, 255), atol=1)
    assert (read_image(saved(tmp_path, "1.png", Image.new("1", (WIDTH, HEIGHT), 1))) == 255).all()


def test_cmyk(tmp_path, rgb):
    image = Image.new("CMYK", (WIDTH, HEIGHT), (255, 0, 0, 0))
    decoded = read_image(saved(tmp_path, "c.jpg", image, quality=100))
    np.testing.assert_allclose(decoded[5, 5].astype(int), (0, 255, 255), atol=3)


def test_a_colour_profile_is_converted_to_srgb(tmp_path):
    """A profile with linear light: its 55 is as bright as 128 in sRGB."""
    profile = linear_profile()
    image = Image.new("RGB", (WIDTH, HEIGHT), (55, 55, 55))
    decoded = read_image(saved(tmp_path, "l.png", image, icc_profile=profile))
    np.testing.assert_allclose(decoded.astype(int), 128, atol=2)


def linear_profile(*, renamed: bool = True) -> bytes:
    """sRGB's profile with its three tone curves replaced by straight lines."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132], "big")
    for index in range(count):
        at = 132 + 12 * index
        tag = bytes(data[at : at + 4])
        offset = int.from_bytes(data[at + 4 : at + 8], "big")
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + 12] = b"curv" + bytes(8)
        if tag == b"desc" and renamed:
            size = int.from_bytes(data[at + 8 : at + 12], "big")
            text = data[offset : offset + size]
            for old in (b"sRGB", "sRGB".encode("utf-16-be")):
                text = text.replace(old, old.replace(b"s", b"l"))
            data[offset : offset + size] = text
    return bytes(data)


def test_an_srgb_profile_changes_nothing(tmp_path, rgb):
    buffer = io.BytesIO(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    image = Image.fromarray(rgb)
    path = saved(tmp_path, "s.png", image, icc_profile=buffer.getvalue())
    np.testing.assert_array_equal(read_image(path), rgb)


def test_a_damaged_profile_is_ignored(tmp_path, rgb):
    path = saved(tmp_path, "s.png", Image.fromarray(rgb), icc_profile=b"not a profile")
    np.testing.assert_array_equal(read_image(path), rgb)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"hello", "is not an image"), (b"\x89PNG\r\n\x1a\nxx", "a.jpg|bad.jpg")],
)
def test_what_is_no_image_is_named(tmp_path, content, message):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_image(path)
    assert str(path) in str(error.value)


def test_a_truncated_photograph_is_refused(tmp_path, rgb):
    path = saved(tmp_path, "t.jpg", Image.fromarray(rgb).resize((300, 300)))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match="cannot be decoded"):
        read_image(path)


def test_images_dataset_gives_unit_floats(tmp_path, rgb):
    saved(tmp_path, "a.png", Image.fromarray(rgb))
    dataset = ImagesDataset(tmp_path)
    assert len(dataset) == 1
    assert dataset[0].shape == (3, HEIGHT, WIDTH)
    assert dataset[0].dtype == torch.float32
    np.testing.assert_allclose(dataset[0].permute(1, 2, 0).numpy(), rgb / 255, atol=1e-6)
    assert ImagesDataset([tmp_path / "a.png"], transform=None)[0].dtype == torch.uint8


def test_zip_dataset_resizes_a_background_only_when_told(tmp_path, rgb):
    src = saved(tmp_path, "src.png", Image.fromarray(rgb))
    bgr = saved(tmp_path, "bgr.png", Image.new("RGB", (64, 48), (9, 9, 9)))
    pair = Pair("x", src, bgr)
    with pytest.raises(DataError, match=r"32x24 but its background 64x48; data\.resize_background"):
        ZipDataset([pair])[0]
    sample = ZipDataset([pair], resize_background=True)[0]
    assert sample.bgr.shape == sample.src.shape
    assert (sample.bgr == 9).all()


def test_a_profile_counts_by_what_it_does_not_by_its_name(tmp_path, rgb):
    """Linear light that calls itself sRGB; and sRGB that calls itself something else."""
    linear = linear_profile(renamed=False)
    assert "srgb" in ImageCms.getProfileDescription(io.BytesIO(linear)).lower()
    image = Image.new("RGB", (WIDTH, HEIGHT), (55, 55, 55))
    decoded = read_image(saved(tmp_path, "l.png", image, icc_profile=linear))
    np.testing.assert_allclose(decoded.astype(int), 128, atol=2)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = srgb.replace("sRGB".encode("utf-16-be"), "wide".encode("utf-16-be"))
    path = saved(tmp_path, "w.png", Image.fromarray(rgb), icc_profile=other)
    np.testing.assert_array_equal(read_image(path), rgb)


@pytest.mark.parametrize("mode", ["RGB", "grey"])
def test_16_bit_png_with_a_profile_keeps_its_depth(tmp_path, mode):
    values = np.arange(10000, 10000 + HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), values if mode == "grey" else np.repeat(values[..., None], 3, 2))
    profile = grey_profile() if mode == "grey" else linear_profile()
    add_chunk(path, b"iCCP", b"p\0\0" + zlib.compress(profile))
    decoded = read_image(path)
    assert decoded.dtype == np.float32
    expected = 1.055 * (values / 65535) ** (1 / 2.4) - 0.055
    np.testing.assert_allclose(decoded[..., 1], expected, atol=1e-3)
    assert len(np.unique(decoded[..., 1])) > HEIGHT * WIDTH * 0.9


def grey_profile() -> bytes:
    """Linear light, of one channel: the RGB one with its green curve under another name."""
    data = linear_profile().replace(b"gTRC", b"kTRC", 1)
    return data[:16] + b"GRAY" + data[20:]


def add_chunk(path, kind: bytes, payload: bytes) -> None:
    """Put a chunk behind the header of a PNG."""
    data = path.read_bytes()
    crc = zlib.crc32(kind + payload).to_bytes(4, "big")
    path.write_bytes(data[:33] + len(payload).to_bytes(4, "big") + kind + payload + crc + data[33:])


def adobe_exif() -> bytes:
    """Uncalibrated, R03; by hand, as Pillow does not write the second directory."""

    def entry(tag, kind, count, value):
        return struct.pack("<HHI4s", tag, kind, count, value)

    first = struct.pack("<H", 1) + entry(0x8769, 4, 1, struct.pack("<I", 26)) + bytes(4)
    second = struct.pack("<H", 2) + entry(0xA001, 3, 1, struct.pack("<HH", 65535, 0))
    second += entry(0xA005, 4, 1, struct.pack("<I", 56)) + bytes(4)
    third = struct.pack("<H", 1) + entry(1, 2, 4, b"R03\0") + bytes(4)
    return b"Exif\0\0II*\0\x08\0\0\0" + first + second + third


def test_adobe_rgb_said_by_exif_alone(tmp_path):
    image = Image.new("RGB", (WIDTH, HEIGHT), (100, 180, 90))
    options = {"quality": 100, "subsampling": 0}
    by_exif, by_profile, plain, srgb = (
        read_image(saved(tmp_path, f"{name}.jpg", image, **options, **more))
        for name, more in {
            "exif": {"exif": adobe_exif()},
            "profile": {"icc_profile": adobe_rgb()},
            "plain": {},
            "both": {
                "exif": adobe_exif(),
                "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
            },
        }.items()
    )
    np.testing.assert_array_equal(by_exif, by_profile)
    np.testing.assert_array_equal(plain, srgb)  # the profile wins
    assert np.abs(by_exif.astype(int) - plain).max() > 20


def test_adobe_rgb_said_by_the_exif_of_a_deep_tiff(tmp_path):
    path = tmp_path / "deep.tif"
    samples = np.full((HEIGHT, WIDTH, 3), (25700, 46260, 23130), np.uint16)  # 100, 180, 90
    cv2.imwrite(str(path), samples[..., ::-1])
    plain = read_image(path)
    data = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    entries = bytes(data[start + 2 : start + 2 + 12 * count])
    at = len(data)  # a directory with one more entry, and what that points to, at the end
    exif = at + 2 + 12 * (count + 1) + 4
    first = struct.pack("<H", count + 1) + entries + struct.pack("<HHII", 0x8769, 4, 1, exif)
    second = struct.pack("<HHHI4s", 2, 0xA001, 3, 1, struct.pack("<HH", 65535, 0))
    second += struct.pack("<HHII", 0xA005, 4, 1, exif + 30) + bytes(4)
    third = struct.pack("<HHHI4s", 1, 1, 2, 4, b"R03\0") + bytes(4)
    struct.pack_into("<I", data, 4, at)
    path.write_bytes(bytes(data) + first + bytes(4) + second + third)
    wide = read_image(
        saved(
            tmp_path,
            "8.jpg",
            Image.new("RGB", (8, 8), (100, 180, 90)),
            quality=100,
            icc_profile=adobe_rgb(),
        )
    )[0, 0]
    np.testing.assert_allclose(read_image(path)[0, 0] * 255, wide, atol=2)
    assert np.abs(read_image(path) - plain).max() * 255 > 20


def test_colours_that_png_tells_in_code_points(tmp_path):
    image = Image.new("RGB", (WIDTH, HEIGHT), (100, 180, 90))
    plain = saved(tmp_path, "plain.png", image)

    def said(name, *numbers):
        path = saved(tmp_path, f"{name}.png", image)
        add_chunk(path, b"cICP", bytes(numbers))
        return path

    np.testing.assert_array_equal(read_image(said("srgb", 1, 13, 0, 1)), read_image(plain))
    # By the published matrix from linear Display P3 to linear sRGB.
    p3 = read_image(said("p3", 12, 13, 0, 1))[0, 0]
    np.testing.assert_allclose(p3, (65, 182, 77), atol=1)
    wide = read_image(said("bt2020", 9, 13, 0, 1))[0, 0]
    assert wide[0] < p3[0]
    with pytest.raises(DataError, match=r"HDR \(PQ\); convert it"):
        read_image(said("hdr", 9, 16, 0, 1))
    with pytest.raises(DataError, match="not known here"):
        read_image(said("new", 99, 13, 0, 1))


SRGB_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
ADOBE_PRIMARIES = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)


def test_primaries_that_png_tells_in_numbers(tmp_path):
    image = Image.new("RGB", (WIDTH, HEIGHT), (100, 180, 90))

    def read(name, primaries, gamma):
        path = saved(tmp_path, f"{name}.png", image)
        add_chunk(path, b"cHRM", struct.pack(">8I", *primaries))
        add_chunk(path, b"gAMA", struct.pack(">I", gamma))
        return read_image(path)[0, 0].tolist()

    wide = read_image(saved(tmp_path, "adobe.png", image, icc_profile=adobe_rgb()))[0, 0]
    np.testing.assert_allclose(read("wide", ADOBE_PRIMARIES, 45455), wide, atol=3)
    assert read("srgb", SRGB_PRIMARIES, 45455) == [100, 180, 90]
    assert read("linear", SRGB_PRIMARIES, 100000)[0] == pytest.approx(168, abs=1)
    assert read("nonsense", (0,) * 8, 45455) == [100, 180, 90]


@pytest.mark.parametrize("kind", ["no header", "bad value", "text"])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_damaged_exif_does_not_refuse_whole_pixels(tmp_path, rgb, kind, suffix):
    entry = struct.pack("<HHI", 274, 3, 1) + struct.pack("<HH", 1, 0)
    resolution = struct.pack("<HHII", 282, 10, 1, 38)
    tiff = b"II*\0\x08\0\0\0\x02\0" + entry + resolution + bytes(4) + struct.pack("<ii", -1, 0)
    blocks = {"no header": b"\0\x08\0\x02\x01\x12\0\x03\0\0\0\x01", "bad value": tiff}
    text = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI4s", 274, 2, 2, b"6\0\0\0") + bytes(4)
    block = {**blocks, "text": text}[kind]
    path = saved(tmp_path, f"a.{suffix}", Image.fromarray(rgb))
    expected = read_image(path)
    if suffix == "png":
        add_chunk(path, b"eXIf", block)
    else:
        data, block = path.read_bytes(), b"Exif\0\0" + block
        size = (len(block) + 2).to_bytes(2, "big")
        path.write_bytes(data[:2] + b"\xff\xe1" + size + block + data[2:])
    decoded = decode(path)
    np.testing.assert_array_equal(decoded.pixels, expected)
    if kind == "text" or (kind == "no header" and suffix == "png"):
        assert "taken to be upright" in decoded.remark


@pytest.mark.parametrize("kind", [b"iTXt", b"zTXt", b"tEXt"])
@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_png_with_long_texts(tmp_path, rgb, kind, at_the_end):
    path = saved(tmp_path, "a.png", Image.fromarray(rgb))
    text = b"<layer name='retouch'/>" * 90_000
    payload = {
        b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(text),
        b"zTXt": b"key\0\0" + zlib.compress(text),
        b"tEXt": b"key\0" + text,
    }[kind]
    add_chunk(path, kind, payload)
    if at_the_end:
        data = path.read_bytes()
        size = len(payload) + 12
        chunk, rest = data[33 : 33 + size], data[33 + size :]
        path.write_bytes(data[:33] + rest[:-12] + chunk + rest[-12:])
    np.testing.assert_array_equal(read_image(path), rgb)


def test_the_further_pictures_of_an_mpo_are_not_remarked_on(tmp_path, rgb):
    image = Image.fromarray(rgb)
    second = image.resize((8, 6))
    path = saved(tmp_path, "a.jpg", image, format="MPO", save_all=True, append_images=[second])
    assert Image.open(path).format == "MPO"
    decoded = decode(path)
    assert decoded.remark is None
    assert decoded.pixels.shape == rgb.shape
