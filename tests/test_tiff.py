"""Every mode and layout of TIFF: the right pixels, or a refusal that says what the file is."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from test_decode import HEIGHT, WIDTH, orient

from bgm.data import colour, read_alpha, read_image
from bgm.data.colour import adobe_rgb
from bgm.data.decode import decode
from bgm.errors import DataError

SHORT, LONG = 3, 4


def write_tiff(path, samples, photometric, *, planar=1, form=1, order="<", tags=None):
    """An uncompressed TIFF of one strip, or one for each plane; more tags as (kind, values)."""
    samples = samples.astype(samples.dtype.newbyteorder(order))
    height, width, channels = samples.shape
    strips = [samples.tobytes()]
    if planar == 2:
        strips = [np.ascontiguousarray(samples[..., i]).tobytes() for i in range(channels)]
    offsets = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    bits = samples.dtype.itemsize * 8
    every = {256: (SHORT, [width]), 257: (SHORT, [height]), 258: (SHORT, [bits] * channels)}
    every |= {259: (SHORT, [1]), 262: (SHORT, [photometric]), 273: (LONG, offsets)}
    every |= {277: (SHORT, [channels]), 278: (SHORT, [height]), 284: (SHORT, [planar])}
    every |= {279: (LONG, [len(s) for s in strips]), 339: (SHORT, [form] * channels)}
    every |= tags or {}
    blob = b"".join(strips) + bytes(sum(map(len, strips)) % 2)
    at = 8 + len(blob)
    entries, tail = b"", b""
    for tag, (kind, values) in sorted(every.items()):
        code = {SHORT: "H", LONG: "I", 7: "B"}[kind]
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        entries += struct.pack(f"{order}HHI", tag, kind, len(values))
        if len(packed) > 4:
            entries += struct.pack(f"{order}I", at + 6 + 12 * len(every) + len(tail))
            tail += packed + bytes(len(packed) % 2)
        else:
            entries += packed.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, at)
    path.write_bytes(head + blob + struct.pack(f"{order}H", len(every)) + entries + bytes(4) + tail)
    return path


@pytest.fixture
def deep():
    """(H, W, 3), uint16, no two rows, columns or channels alike."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([y * 2500, x * 2000, 60000 - y * 1000 - x * 900], 2).astype(np.uint16)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("kind", ["rgb", "white_is_zero", "grey", "cmyk", "half", "float", "rgba"])
def test_deep_modes_and_layouts(tmp_path, deep, kind, planar, order):
    unit = (deep / 65535).astype(np.float32)
    full, grey = np.full((HEIGHT, WIDTH, 1), 65535, np.uint16), deep[..., :1]
    samples, photometric, form = {
        "rgb": (deep, 2, 1),
        "grey": (grey, 1, 1),
        "white_is_zero": (65535 - grey, 0, 1),
        "cmyk": (np.concatenate([65535 - deep, full * 0], 2), 5, 1),
        "half": (unit.astype(np.float16), 2, 3),
        "float": (unit, 2, 3),
        "rgba": (np.concatenate([deep, full], 2), 2, 1),
    }[kind]
    tags = {338: (SHORT, [2])} if kind == "rgba" else {}
    options = {"planar": planar, "form": form, "order": order, "tags": tags}
    decoded = read_image(write_tiff(tmp_path / "a.tif", samples, photometric, **options))
    expected = np.repeat(unit[..., :1], 3, 2) if samples.shape[2] == 1 else unit
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, expected, atol=1e-3 if kind == "half" else 1e-5)


def test_lab_of_16_bits(tmp_path):
    grey = np.zeros((HEIGHT, WIDTH, 3), np.uint16)
    grey[..., 0] = round(53.585 * 655.35)  # L* of 128
    decoded = read_image(write_tiff(tmp_path / "a.tif", grey, 8))
    np.testing.assert_allclose(decoded * 255, 128, atol=0.1)


@pytest.mark.parametrize("orientation", [3, 6, 7])
@pytest.mark.parametrize("planar", [1, 2])
def test_deep_tiffs_are_turned(tmp_path, deep, orientation, planar):
    tags = {274: (SHORT, [orientation])}
    decoded = read_image(write_tiff(tmp_path / "a.tif", deep, 2, planar=planar, tags=tags))
    np.testing.assert_allclose(decoded, orient(deep, orientation) / 65535, atol=1e-6)


@pytest.mark.parametrize("compression", [5, 8, 32946])
def test_compressed_deep_tiffs(tmp_path, deep, compression):
    path = tmp_path / "a.tif"
    options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    cv2.imwrite(str(path), cv2.cvtColor(deep, cv2.COLOR_RGB2BGR), options)
    np.testing.assert_allclose(read_image(path), deep / 65535, atol=1e-6)


def test_premultiplied_colours_are_divided(tmp_path, deep):
    half = np.full((HEIGHT, WIDTH, 1), 32768, np.uint16)
    samples = np.concatenate([deep // 2, half], 2)
    decoded = read_image(write_tiff(tmp_path / "a.tif", samples, 2, tags={338: (SHORT, [1])}))
    np.testing.assert_allclose(decoded, deep / 65535, atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "photometric", "form", "message"),
    [
        (np.full((8, 8, 3), 9, np.uint16), 6, 1, "YCbCr"),
        (np.full((8, 8, 3), 9, np.int16), 2, 2, "signed numbers of 16 bits"),
        (np.full((8, 8, 3), 9, np.uint32), 2, 1, "whole numbers of 32 bits"),
        (np.full((8, 8, 3), 0.5, np.float64), 2, 3, "floats of 64 bits"),
        (np.full((8, 8, 2), 9, np.uint16), 1, 1, "2 interleaved channels of 16 bits"),
        (np.full((8, 8, 1), 255, np.float32), 1, 3, "floats up to 255, of which it is not known"),
        (np.full((8, 8, 3), 255, np.float32), 2, 3, "floats up to 255, of which it is not known"),
        (np.full((8, 8, 1), 9, np.uint16), 32803, 1, "is a raw photograph"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_known_is_refused_in_words(tmp_path, samples, photometric, form, message):
    path = write_tiff(tmp_path / "a.tif", samples, photometric, form=form)
    with pytest.raises(DataError, match=message) as error:
        read_image(path)
    assert str(path) in str(error.value)


def test_a_deep_tiff_cut_short_is_refused(tmp_path, deep):
    path = write_tiff(tmp_path / "a.tif", deep, 2, tags={279: (LONG, [10**6])})
    with pytest.raises(DataError, match="cut short"):
        read_image(path)


def test_a_deep_tiff_has_the_same_limit_of_size(tmp_path, deep):
    path = write_tiff(tmp_path / "a.tif", deep, 2)
    with pytest.raises(DataError, match="max_megapixels"):
        decode(path, max_pixels=HEIGHT * WIDTH - 1)


@pytest.mark.parametrize("name", ["a.tif", "a.NEF"])
def test_the_preview_of_a_raw_photograph_is_not_taken_for_it(tmp_path, name):
    preview = np.zeros((12, 16, 3), np.uint8)
    path = write_tiff(tmp_path / name, preview, 2, tags={254: (LONG, [1]), 330: (LONG, [8])})
    with pytest.raises(DataError, match=r"is a raw photograph, .*develop it first"):
        read_image(path)


def test_a_matte_with_white_as_zero(tmp_path, deep):
    path = write_tiff(tmp_path / "a.tif", 65535 - deep[..., :1], 0)
    np.testing.assert_array_equal(read_alpha(path), np.rint(deep[..., 0] / 257))


def test_a_profile_is_converted_at_16_bits(tmp_path):
    """A ramp finer than 8 bits stays one, and is what LittleCMS makes of it at 8."""
    ramp = np.arange(30000, 30000 + HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH, 1)
    deep = np.concatenate([ramp, ramp // 2, 65535 - ramp], 2)
    path = write_tiff(tmp_path / "a.tif", deep, 2, tags={34675: (7, list(adobe_rgb()))})
    decoded = read_image(path)
    assert decoded.dtype == np.float32
    assert len(np.unique(decoded[..., 2])) > 500
    shallow = Image.fromarray(np.rint(deep / 257).astype(np.uint8))
    shallow.save(tmp_path / "a.png", icc_profile=adobe_rgb())
    np.testing.assert_allclose(decoded * 255, read_image(tmp_path / "a.png"), atol=1.6)


def test_a_profile_made_of_tables_keeps_the_depth(tmp_path):
    """What says the same as Adobe RGB's curves and matrix, by a table of XYZ."""
    ramp = np.arange(30000, 30000 + HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH, 1)
    deep = np.concatenate([ramp, ramp // 2, 65535 - ramp], 2)
    decoded = []
    for name, profile in (("tables", as_tables(adobe_rgb())), ("matrix", adobe_rgb())):
        path = tmp_path / f"{name}.tif"
        decoded.append(read_image(write_tiff(path, deep, 2, tags={34675: (7, list(profile))})))
    tables, matrix = decoded
    assert tables.dtype == np.float32
    assert len(np.unique(tables[..., 2])) > 500
    np.testing.assert_allclose(tables * 255, matrix * 255, atol=1)
    grey = write_tiff(tmp_path / "grey.tif", deep[..., :1], 1, tags={34675: (7, list(grey_lab()))})
    assert len(np.unique(read_image(grey))) > 500


def as_tables(profile: bytes) -> bytes:
    """The matrix and the curve of a profile as its tag A2B0: tables of 16 bits (lut16Type)."""
    tags = colour._tags(profile)
    columns = [struct.unpack(">3i", tags[name][8:20]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    gamma = struct.unpack_from(">H", tags[b"rTRC"], 12)[0] / 256
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(-1, 3)
    xyz = np.rint(corners @ (np.array(columns) / 65536) * 32768)
    curve = np.rint(np.linspace(0, 1, 1024) ** gamma * 65535)
    lut = b"mft2\0\0\0\0" + bytes([3, 3, 2, 0])
    lut += struct.pack(">9iHH", *(np.eye(3) * 65536).astype(int).ravel(), 1024, 2)
    numbers = np.concatenate([curve, curve, curve, xyz.ravel(), [0, 65535] * 3])
    return of_tags(profile, {b"A2B0": lut + numbers.astype(">u2").tobytes()})


def grey_lab() -> bytes:
    """A profile of grey by a table alone: L* from 0 to 100, without a tone curve."""
    lut = b"mft2\0\0\0\0" + bytes([1, 3, 2, 0])
    lut += struct.pack(">9iHH", *(np.eye(3) * 65536).astype(int).ravel(), 2, 2)
    numbers = [0, 65535, 0, 32768, 32768, 65280, 32768, 32768] + [0, 65535] * 3
    head = bytearray(adobe_rgb())
    head[16:24] = b"GRAYLab "
    return of_tags(bytes(head), {b"A2B0": lut + np.array(numbers, ">u2").tobytes()})


def of_tags(profile: bytes, new: dict[bytes, bytes]) -> bytes:
    """A profile with a name and white as another, and with other tags."""
    old = colour._tags(profile)
    tags = {name: old[name] for name in (b"desc", b"cprt", b"wtpt")} | new
    table, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    return struct.pack(">I", at + len(body)) + profile[4:128] + table + body


def test_an_srgb_profile_changes_nothing_at_16_bits(tmp_path, deep):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = write_tiff(tmp_path / "a.tif", deep, 2, tags={34675: (7, list(profile))})
    np.testing.assert_allclose(read_image(path), deep / 65535, atol=1e-6)
