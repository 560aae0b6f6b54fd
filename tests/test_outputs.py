"""What is stored of a matte: layers, formats, depth, places."""

from __future__ import annotations

import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from conftest import files, records
from PIL import Image

from bgm.errors import WriteError
from bgm.inference.matte import Matte
from bgm.layers import LAYERS, Format
from bgm.layers.com import AlphaKind
from bgm.outputs import LayerBuilder, LayerSpec, encode
from bgm.records.atomic import write_atomically

NAMES = ["product/teapot", "tripod/lemur-brook", "tripod/lemur-mountain"]


@pytest.fixture
def ramp():
    """A matte whose alpha takes every 8-bit value, and halves between them."""
    alpha = torch.linspace(0, 1, 511).repeat(16, 1)[None]
    return Matte(alpha, torch.full((3, 16, 511), 0.5))


def build(matte, type, **settings):
    layer = LAYERS[type](LAYERS[type].settings_type(**{"format": Format.png, **settings}))
    return LayerBuilder([layer])(matte, matte.foreground, matte.foreground)[type]


def test_floats_are_rounded_not_truncated(ramp):
    expected = np.round(ramp.alpha[0].numpy() * 255)
    np.testing.assert_array_equal(build(ramp, type="pha"), expected)
    deep = build(ramp, type="pha", bits=16)
    np.testing.assert_array_equal(deep, np.round(ramp.alpha[0].numpy() * 65535))
    assert deep.dtype == np.uint16


def test_a_cutout_is_straight_and_black_where_it_is_not_there(ramp):
    cutout = build(ramp, type="com")
    assert cutout.shape == (16, 511, 4)
    np.testing.assert_array_equal(cutout[:, :, 3], build(ramp, type="pha"))
    there = cutout[:, :, 3] > 0
    assert (cutout[there][:, :3] == 128).all()
    assert (cutout[~there] == 0).all()
    assert (~there).any()


def test_a_premultiplied_cutout(ramp):
    cutout = build(ramp, type="com", alpha=AlphaKind.premultiplied).astype(float)
    np.testing.assert_allclose(cutout[:, :, 0], cutout[:, :, 3] * 0.5, atol=1)


@pytest.mark.parametrize(
    ("colour", "rgb"),
    [("white", (255, 255, 255)), ("#00ff88", (0, 255, 136)), ("00ff88", (0, 255, 136))],
)
def test_a_composite_on_a_colour(ramp, colour, rgb):
    composite = build(ramp, type="com", background=colour).astype(float)
    assert composite.shape == (16, 511, 3)
    alpha = ramp.alpha[0].numpy()[:, :, None]
    np.testing.assert_allclose(composite, 127.5 * alpha + np.array(rgb) * (1 - alpha), atol=0.51)


def test_a_composite_on_an_image_covers_it(ramp, tmp_path):
    path = tmp_path / "wall.png"
    wall = np.zeros((100, 100, 3), np.uint8)
    wall[:, :50] = 200
    Image.fromarray(wall).save(path)
    nothing = Matte(torch.zeros(1, 16, 511), ramp.foreground)
    composite = build(nothing, type="com", background=str(path))
    assert (composite[:, :240] == 200).all()
    assert (composite[:, 272:] == 0).all()


def test_the_default_layers(matte, tmp_path):
    assert matte().code == 0
    out = tmp_path / "out"
    wanted = [f"{kind}/{name}" for kind in ("com", "fgr", "pha") for name in NAMES]
    stored = [f for f in files(out) if f[:3] in ("com", "pha", "fgr")]
    assert [f.rpartition(".")[0] for f in stored] == wanted
    com = Image.open(out / "com/tripod/lemur-brook.png")
    assert com.mode == "RGBA"
    pha = Image.open(out / "pha/tripod/lemur-brook.jpg")
    assert (pha.format, pha.mode) == ("JPEG", "L")
    fgr = Image.open(out / "fgr/tripod/lemur-brook.jpg")
    assert (fgr.format, fgr.mode) == ("JPEG", "RGB")
    assert com.size == pha.size == fgr.size == (144, 180)
    record = records(out)["tripod/lemur-brook"]
    assert record["files"]["com"] == "com/tripod/lemur-brook.png"


def test_colours_are_not_swapped(matte, shoot, tmp_path):
    """The teapot is red: where it is opaque, its foreground is too."""
    matte("outputs=lossless")
    pha = np.asarray(Image.open(tmp_path / "out/pha/product/teapot.png"))
    fgr = np.asarray(Image.open(tmp_path / "out/fgr/product/teapot.png")).astype(float)
    com = np.asarray(Image.open(tmp_path / "out/com/product/teapot.png")).astype(float)
    red, _, blue = fgr[pha > 65000].mean(axis=0)
    assert red > blue + 50
    np.testing.assert_allclose(com[pha > 65000][:, :3], fgr[pha > 65000], atol=0.5)


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tiff"])
def test_every_format(matte, tmp_path, kind):
    layers = ["pha", "fgr", "err", "ref"]
    formats = [f"outputs.{layer}.format={kind}" for layer in layers]
    assert matte(f"outputs.types=[{','.join(layers)}]", *formats).code == 0
    pillow = {"jpg": "JPEG", "tiff": "TIFF"}.get(kind, kind.upper())
    for layer in layers:
        extension = "tif" if kind == "tiff" else kind
        with Image.open(tmp_path / f"out/{layer}/product/teapot.{extension}") as image:
            assert (image.format, image.size) == (pillow, (120, 180))


@pytest.mark.parametrize("kind", ["webp", "tiff"])
def test_cutouts_in_other_formats_keep_their_alpha(matte, tmp_path, kind):
    assert matte("outputs.types=[com]", f"outputs.com.format={kind}").code == 0
    (path,) = tmp_path.glob("out/com/product/teapot.*")
    alpha = np.asarray(Image.open(path).convert("RGBA"))[:, :, 3]
    assert alpha.min() == 0
    assert alpha.max() == 255


def test_16_bit_alpha(matte, tmp_path):
    for kind, extension in (("png", "png"), ("tiff", "tif")):
        options = ["outputs.types=[pha]", f"outputs.pha.format={kind}", "outputs.pha.bits=16"]
        assert matte(*options, f"output_dir={kind}").code == 0
        path = tmp_path / kind / f"pha/product/teapot.{extension}"
        alpha = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert alpha.dtype == np.uint16
        assert len(np.unique(alpha)) > 256


def test_error_and_refinement_maps(matte, tmp_path):
    assert matte("experiment=vfx", "refine.sample_pixels=1600").code == 0
    ref = np.asarray(Image.open(tmp_path / "out/ref/product/teapot.png"))
    assert set(np.unique(ref)) == {0, 255}
    blocks = ref.reshape(45, 4, 30, 4)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert blocks[:, 0, :, 0].sum() / 255 == 100
    err = np.asarray(Image.open(tmp_path / "out/err/product/teapot.png"))
    assert err.shape == ref.shape
    assert records(tmp_path / "out")["product/teapot"]["refined"] == pytest.approx(100 / 1350)


def test_a_composite_may_be_jpeg(matte, tmp_path):
    options = ["outputs.types=[com]", "outputs.com.format=jpg", "outputs.com.background=#00ff88"]
    assert matte(*options).code == 0
    image = Image.open(tmp_path / "out/com/product/teapot.jpg")
    np.testing.assert_allclose(image.getpixel((2, 2)), (0, 255, 136), atol=6)


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    (tmp_path / "pha").touch()
    with pytest.raises(WriteError, match="cannot be written"):
        write_atomically(tmp_path / "pha" / "1.jpg", b"x")
    (tmp_path / "there.jpg").mkdir()
    with pytest.raises(WriteError):
        write_atomically(tmp_path / "there.jpg", b"x")
    assert files(tmp_path) == ["pha"]


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (7, 5, 4), (1, 1, 4), (1, 3)])
def test_png_is_lossless_at_every_level(shape, kind, level):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape, endpoint=True)
    pixels = pixels.astype(kind)
    encoded = encode(pixels, LayerSpec("com", "png"), level)
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 3:
        order = cv2.COLOR_BGR2RGB if shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        decoded = cv2.cvtColor(decoded, order)
    np.testing.assert_array_equal(decoded, pixels)
    with Image.open(io.BytesIO(encoded)) as image:
        image.load()
        if kind == "uint8":
            np.testing.assert_array_equal(np.asarray(image), pixels)


LUMA = """
from dataclasses import dataclass
import numpy as np
from bgm.errors import require
from bgm.layers import Layer, LayerSettings, register_layer
@dataclass
class Settings(LayerSettings):
    gain: float = 1.0
@register_layer("luma")
class Luma(Layer):
    shows, channels, settings_type = "the photograph in grey", 1, Settings
    @classmethod
    def check(cls, settings):
        super().check(settings)
        require(settings.gain > 0, "outputs.luma.gain", settings.gain, "above 0")
    def build(self, source):
        return (source.src.float().mean(0) * self.settings.gain).clamp(0, 255).byte().numpy()
from bgm.cli.commands import main
main()
"""
"""A program that is bgm with one more type of layer."""


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (["outputs.types=[luma]", "outputs.luma.gain=0"], 2, "outputs.luma.gain=0.0: must be"),
        (["outputs.luma.gian=2"], 2, "did you mean outputs.luma.gain?"),
        (["outputs.types=[pha,luma]", "outputs.luma.format=png"], 0, ""),
    ],
    ids=["value", "key", "run"],
)
def test_a_new_type_is_one_class_and_its_lines_in_conf(shoot, tmp_path, settings, code, message):
    folders = [f"data.src={shoot.src}/product", f"data.bgr={shoot.bgr}/product"]
    lines = tmp_path / "mine/outputs/mine.yaml"
    lines.parent.mkdir(parents=True)
    lines.write_text("defaults: [standard, _self_]\nluma: {format: jpg, quality: 95, gain: 1}\n")
    command = [sys.executable, "-c", LUMA, f"--config-dir={tmp_path / 'mine'}", "data=folders"]
    command += [*folders, "tracking=files", "outputs=mine"]
    done = subprocess.run(
        [*command, f"output_dir={tmp_path / 'out'}", *settings], capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    if code == 0:
        stored = np.asarray(Image.open(tmp_path / "out/luma/teapot.png"))
        grey = np.asarray(Image.open(shoot.src / "product/teapot.jpg"), np.float32).mean(2)
        np.testing.assert_allclose(stored, grey, atol=2)
