"""Bad files among good ones: the good are written, the bad are named in words, exit code 1."""

from __future__ import annotations

import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from conftest import NAMES, records
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from bgm.data import find_pairs, read_image
from bgm.data.decode import decode
from bgm.errors import DataError
from bgm.networks.checkpoints import SHIPPED

TEAPOT = "product/teapot"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb() -> bytes:
    """A PNG that claims 60000x60000 and has next to nothing in it."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def picture(width: int, height: int) -> Image.Image:
    rows = np.linspace(0, 255, width * height * 3).reshape(height, width, 3)
    return Image.fromarray(rows.astype(np.uint8))


def put(path, image: Image.Image, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def truncate(path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


BAD = {
    "zero bytes": (lambda path: path.write_bytes(b""), "is empty"),
    "truncated JPEG": (truncate, "cannot be decoded: image file is truncated"),
    "text": (lambda path: path.write_text("not a picture"), "is not an image of a known kind"),
    "1x1": (lambda path: put(path, picture(1, 1)), "1x1 but its background"),
    "3x5000": (lambda path: put(path, picture(3, 5000)), "3x5000 but its background"),
    "vanished": (lambda path: (path.unlink(), path.symlink_to("nowhere.jpg")), "does not exist"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_source_among_good_ones(matte, shoot, tmp_path, kind):
    spoil, message = BAD[kind]
    spoil(shoot.src / f"{TEAPOT}.jpg")
    outcome = matte()
    assert outcome.code == 1
    found = records(tmp_path / "out")
    assert found[TEAPOT]["status"] == "failed"
    assert message in found[TEAPOT]["error"]
    assert "Error" not in found[TEAPOT]["error"]
    assert TEAPOT in outcome.out
    assert [found[name]["status"] for name in NAMES[1:]] == ["written"] * 2
    assert not list((tmp_path / "out").rglob("teapot*"))
    assert not list((tmp_path / "out").rglob("*.part"))


@pytest.mark.parametrize("kind", ["8 bits", "16 bits"])
def test_a_truncated_png(matte, shoot, tmp_path, kind):
    path = shoot.src / f"{TEAPOT}.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (180, 120, 3)).astype(np.uint16)
    pixels = pixels.astype(np.uint8) if kind == "8 bits" else pixels * 257
    cv2.imwrite(str(path.with_suffix(".png")), pixels)
    path.unlink()
    truncate(path.with_suffix(".png"))
    assert matte().code == 1
    assert "teapot.png cannot be decoded" in records(tmp_path / "out")[TEAPOT]["error"]


def test_a_decompression_bomb_is_refused_before_memory_is_taken(matte, shoot, tmp_path):
    (shoot.src / f"{TEAPOT}.jpg").unlink()
    (shoot.src / f"{TEAPOT}.png").write_bytes(bomb())
    assert matte().code == 1
    error = records(tmp_path / "out")[TEAPOT]["error"]
    assert "claims to be 60000x60000" in error
    assert "data.max_megapixels" in error
    assert matte("data.max_megapixels=0.01", "output_dir=small").code == 1
    assert "0.01 megapixels" in records(tmp_path / "small")["tripod/lemur-brook"]["error"]


@pytest.mark.parametrize("size", [(1, 1), (3, 5000)])
def test_pairs_that_are_too_small(matte, shoot, tmp_path, size):
    for root in (shoot.src, shoot.bgr):
        put(root / f"{TEAPOT}.jpg", picture(*size))
    assert matte().code == 1
    assert "is too small; 16x16 is the least" in records(tmp_path / "out")[TEAPOT]["error"]


def test_a_jpeg_with_trailing_garbage_is_good(matte, shoot, tmp_path):
    path = shoot.src / f"{TEAPOT}.jpg"
    clean = read_image(path)
    path.write_bytes(path.read_bytes() + b"\xff\xd8garbage" * 1000)
    np.testing.assert_array_equal(read_image(path), clean)
    assert matte().code == 0


@pytest.mark.parametrize("suffix", [".tif", ".webp"])
def test_of_several_frames_the_first_is_used_and_that_is_said(matte, shoot, tmp_path, suffix):
    path = shoot.src / f"{TEAPOT}.jpg"
    frames = [Image.open(path).convert("RGB"), picture(120, 180), Image.new("RGB", (120, 180))]
    path.unlink()
    options = {"lossless": True} if suffix == ".webp" else {}
    put(path.with_suffix(suffix), frames[0], save_all=True, append_images=frames[1:], **options)
    outcome = matte()
    assert outcome.code == 0
    remark = f"teapot{suffix} has 3 frames; the first is used"
    assert records(tmp_path / "out")[TEAPOT]["remarks"] == [remark]
    assert remark in outcome.out
    np.testing.assert_array_equal(read_image(path.with_suffix(suffix)), np.asarray(frames[0]))


KINDS = "CMYK.jpg CMYK.tif 1.png P.png F.tif I;16.png"


@pytest.mark.parametrize("kind", KINDS.split())
def test_unusual_kinds_of_pixels_are_good(matte, shoot, kind):
    mode, suffix = kind.split(".")
    for root in (shoot.src, shoot.bgr):
        path = root / f"{TEAPOT}.jpg"
        image = Image.open(path).convert("RGB")
        path.unlink()
        if mode == "F":
            image = Image.fromarray(np.asarray(image.convert("L")).astype(np.float32) / 255)
        elif mode == "I;16":
            image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        else:
            image = image.convert(mode)
        options = {"transparency": 0} if mode == "P" else {}
        put(path.with_suffix(f".{suffix}"), image, **options)
    assert matte().code == 0


@pytest.mark.parametrize("resize", ["true", "false"])
def test_one_of_a_pair_lies_on_its_side(matte, shoot, tmp_path, resize):
    path = shoot.src / "tripod/lemur-brook.jpg"
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
    assert matte(f"data.resize_background={resize}").code == 1
    error = records(tmp_path / "out")["tripod/lemur-brook"]["error"]
    assert "EXIF orientation is missing or wrong" in error


def test_values_that_are_not_finite_are_recorded_and_not_written(matte, tmp_path):
    weights = load_file(SHIPPED / "mobilenetv2-refine.safetensors")
    weights["decoder.conv4.weight"] = weights["decoder.conv4.weight"].float() * 1e38
    save_file(weights, tmp_path / "hot.safetensors")
    outcome = matte("checkpoint=hot.safetensors")
    assert outcome.code == 1
    found = records(tmp_path / "out")
    assert {record["status"] for record in found.values()} == {"failed"}
    assert "not finite (NaN or infinity)" in found[TEAPOT]["error"]
    assert not (tmp_path / "out/com").exists()


def test_a_file_that_vanishes_between_listing_and_decoding(matte, shoot, tmp_path, monkeypatch):
    def find_and_remove(*arguments, **options):
        pairing = find_pairs(*arguments, **options)
        (shoot.src / f"{TEAPOT}.jpg").unlink()
        return pairing

    monkeypatch.setattr("bgm.runs.plan.find_pairs", find_and_remove)
    assert matte().code == 1
    assert "does not exist (any more)" in records(tmp_path / "out")[TEAPOT]["error"]


def test_a_file_that_may_not_be_read(matte, shoot, tmp_path, monkeypatch):
    real = Image.open

    def guarded(path, *arguments, **options):  # root may read everything, so it is said here
        if str(path).endswith("src/product/teapot.jpg"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr("PIL.Image.open", guarded)
    assert matte().code == 1
    error = records(tmp_path / "out")[TEAPOT]["error"]
    assert "teapot.jpg may not be read: permission denied" in error


ODD_NAMES = [
    "with space",
    'it\'s "quoted"',
    "two\nlines",
    "emoji 📷",
    ".hidden",
    "-dash",
    "--option",
    "comma,brackets[1]{2}",
    "percent%20",
    "n" * 200,
    os.fsdecode(b"not-utf8-\xff\xfe"),
]


def test_odd_names(bgm, shoot, tmp_path):
    for folder, root in (("photos", shoot.src), ("plates", shoot.bgr)):
        (tmp_path / folder).mkdir()
        for name in ODD_NAMES:
            data = (root / f"{TEAPOT}.jpg").read_bytes()
            (tmp_path / folder / f"{name}.jpg").write_bytes(data)
    outcome = bgm("data=folders", "data.src=photos", "data.bgr=plates", "output_dir=out")
    assert outcome.code == 0
    found = records(tmp_path / "out")
    assert sorted(found) == sorted(ODD_NAMES)
    for record in found.values():
        for path in record["files"].values():
            assert (tmp_path / "out" / path).is_file()


def test_links_to_files_to_directories_and_in_a_circle(bgm, shoot, tmp_path):
    for root in (shoot.src, shoot.bgr):
        (root / "linked.jpg").symlink_to(root / f"{TEAPOT}.jpg")
        (root / "elsewhere").symlink_to(root / "tripod")
        (root / "tripod/circle").symlink_to(root)
    folders = [f"data.src={shoot.src}", f"data.bgr={shoot.bgr}"]
    assert bgm("data=folders", *folders, "output_dir=out").code == 0
    found = records(tmp_path / "out")
    assert "linked" in found
    assert len(found) == 4  # what is reached twice is matted once


def test_an_output_directory_inside_the_sources(bgm, shoot):
    folders = ["data=folders", f"data.src={shoot.src}", f"data.bgr={shoot.bgr}"]
    inside = [*folders, f"output_dir={shoot.src}/mattes"]
    for existing in ("error", "overwrite", "resume"):
        assert bgm(*inside, f"on_existing={existing}").code == 0
        assert sorted(records(shoot.src / "mattes")) == NAMES


def test_stop_at_the_first_error(matte, shoot, tmp_path):
    (shoot.src / f"{TEAPOT}.jpg").write_bytes(b"")
    outcome = matte("on_error=stop", "data.workers=1")
    assert outcome.code == 1
    assert f"stopped: {TEAPOT}" in outcome.out
    assert "is empty" in outcome.out
    found = records(tmp_path / "out")
    assert found[TEAPOT]["status"] == "failed"
    assert len(found) < 3
    assert matte("on_existing=resume").code == 1
    assert [records(tmp_path / "out")[name]["status"] for name in NAMES[1:]] == ["written"] * 2


PART = st.text(st.sampled_from("ab -é📷\n"), min_size=1, max_size=3)
NAME = st.lists(PART, min_size=1, max_size=3).map("/".join)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(sources=st.sets(NAME, min_size=1, max_size=5), backgrounds=st.sets(NAME, max_size=5))
def test_pairing_loses_nothing(tmp_path_factory, sources, backgrounds):
    root = tmp_path_factory.mktemp("pairs")
    made = {}
    for kind, names in (("src", sources), ("bgr", backgrounds)):
        (root / kind).mkdir()
        made[kind] = set()
        for name in names:
            path = root / kind / f"{name}.jpg"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            except OSError:  # a name that is a file here and a folder there
                continue
            made[kind].add(path.relative_to(root / kind).with_suffix("").as_posix())
    pairing = find_pairs(root / "src", root / "bgr", skip_unmatched=True)
    paired = {pair.name for pair in pairing.pairs}
    assert paired == made["src"] & made["bgr"]
    assert paired.isdisjoint(pairing.leftovers)
    assert paired | pairing.leftovers.keys() == made["src"] | made["bgr"]
    assert [pair.name for pair in pairing.pairs] == sorted(paired)


STARTS = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 ", b"II*\0", b"BM"]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=300))
def test_arbitrary_bytes_are_an_image_or_a_data_error(tmp_path_factory, start, rest):
    path = tmp_path_factory.getbasetemp() / "bytes.jpg"
    path.write_bytes(start + rest)
    assert_image_or_data_error(path)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_photographs_are_an_image_or_a_data_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.jpg"
    picture(40, 30).save(path, quality=90)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    assert_image_or_data_error(path)


def assert_image_or_data_error(path) -> None:
    try:
        pixels = decode(path).pixels
    except DataError as error:
        message = str(error)
    else:
        message = path.name if pixels.ndim == 3 else ""
    assert path.name in message
