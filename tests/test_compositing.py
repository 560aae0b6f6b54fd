"""What a compositor opens: OpenEXR, 16 bits, trimaps."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
import torch
from conftest import records
from PIL import Image

from bgm import __version__
from bgm.inference.matte import Matte
from bgm.layers import LAYERS, Format
from bgm.layers.com import AlphaKind
from bgm.outputs import LayerBuilder, encode

GREY = 0.5
LINEAR_GREY = 0.21404  # of 0.5, by the formula of IEC 61966-2-1


@pytest.fixture
def ramp():
    """Alpha from 0 to 1 over mid-grey."""
    alpha = torch.linspace(0, 1, 511).repeat(16, 1)[None]
    return Matte(alpha, torch.full((3, 16, 511), GREY))


def layer(matte, type, **settings):
    made = LAYERS[type](LAYERS[type].settings_type(**settings))
    LAYERS[type].check(made.settings)
    (pixels,) = LayerBuilder([made])(matte, matte.foreground, matte.foreground).values()
    return pixels, made.spec


def read_exr(data, tmp_path):
    exr = pytest.importorskip("OpenEXR")
    path = tmp_path / "read.exr"
    path.write_bytes(data)
    part = exr.File(str(path), separate_channels=True).parts[0]
    return part.header, {name: channel.pixels for name, channel in part.channels.items()}


@pytest.mark.parametrize("kind", list(AlphaKind), ids=lambda kind: kind.name)
@pytest.mark.parametrize("linear", [True, False])
def test_exr(ramp, tmp_path, kind, linear):
    pytest.importorskip("OpenEXR")
    pixels, spec = layer(ramp, "com", format=Format.exr, alpha=kind, linear=linear)
    header, channels = read_exr(encode(pixels, spec, 1), tmp_path)
    assert set(channels) == {"R", "G", "B", "A"}
    assert all(plane.dtype == np.float16 for plane in channels.values())
    alpha = ramp.alpha[0].numpy()
    np.testing.assert_allclose(channels["A"], alpha, atol=5e-4)
    colour = (LINEAR_GREY if linear else GREY) * (alpha > 0)
    if kind is AlphaKind.premultiplied:
        colour = colour * alpha
    for name in "RGB":
        np.testing.assert_allclose(channels[name], colour, atol=5e-4)
    assert header["software"] == f"bgm {__version__}"
    assert header["bgm:alpha"] == kind.name
    assert header["bgm:transfer"] == ("linear" if linear else "sRGB")
    np.testing.assert_allclose(header["chromaticities"][:2], (0.64, 0.33), atol=1e-6)


def test_a_run_with_exr(matte, tmp_path):
    pytest.importorskip("OpenEXR")
    maps = ("err", "ref", "chk")
    formats = [f"outputs.{kind}.format=exr" for kind in ("com", "pha", "fgr", *maps)]
    types = "outputs.types=[com,pha,fgr,err,ref,chk]"
    assert matte(types, *formats, "edges=standard").code == 0
    stored = records(tmp_path / "out")["product/teapot"]["files"]
    assert stored["pha"] == "pha/product/teapot.exr"
    _, pha = read_exr((tmp_path / "out" / stored["pha"]).read_bytes(), tmp_path)
    _, com = read_exr((tmp_path / "out" / stored["com"]).read_bytes(), tmp_path)
    _, fgr = read_exr((tmp_path / "out" / stored["fgr"]).read_bytes(), tmp_path)
    for kind in maps:
        _, channels = read_exr((tmp_path / "out" / stored[kind]).read_bytes(), tmp_path)
        assert set(channels) == {"Y"}
        assert channels["Y"].min() == 0 < channels["Y"].max() <= 1
    assert set(pha) == {"A"}
    assert set(fgr) == {"R", "G", "B"}
    np.testing.assert_array_equal(pha["A"], com["A"])
    assert com["R"][com["A"] == 0].max() > 0  # the colours go on outside
    assert com["R"][com["A"] == 1].mean() > com["B"][com["A"] == 1].mean()  # the teapot is red


@pytest.mark.parametrize(("kind", "extension"), [("png", "png"), ("tiff", "tif")])
def test_16_bits_come_from_floats(matte, tmp_path, kind, extension):
    types = [f"outputs.{t}.{s}" for t in ("com", "fgr") for s in (f"format={kind}", "bits=16")]
    assert matte("outputs.types=[com,fgr]", *types).code == 0
    com, fgr = (
        cv2.imread(str(tmp_path / f"out/{t}/product/teapot.{extension}"), cv2.IMREAD_UNCHANGED)
        for t in ("com", "fgr")
    )
    assert com.dtype == fgr.dtype == np.uint16
    assert com.shape[2] == 4
    assert len(np.unique(com[:, :, 3])) > 256
    assert len(np.unique(fgr)) > 256
    seen = com[:, :, 3] > 0
    np.testing.assert_array_equal(com[seen][:, :3], fgr[seen])
    assert com[~seen].max() == 0


def test_16_bits_premultiplied(ramp):
    pixels, spec = layer(ramp, "com", bits=16, alpha=AlphaKind.premultiplied)
    assert spec.premultiplied
    np.testing.assert_allclose(pixels[:, :, 0], pixels[:, :, 3] * 0.5, atol=1)


def test_a_trimap(matte, tmp_path):
    assert matte("outputs.types=[pha,trimap]", "outputs.pha.format=png", "data.pha=null").code == 0
    alpha, trimap = (
        np.asarray(Image.open(tmp_path / f"out/{kind}/product/teapot.png"))
        for kind in ("pha", "trimap")
    )
    assert set(np.unique(trimap)) == {0, 128, 255}
    assert (trimap[(alpha > 0) & (alpha < 255)] == 128).all()
    assert (alpha[trimap == 255] == 255).all()
    assert (alpha[trimap == 0] == 0).all()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("outputs.fgr.bits=16", "outputs.fgr.bits=16 does not fit outputs.fgr.format=jpg"),
        ("outputs.com.bits=32", "outputs.com.bits=32: must be 8 or 16"),
        ("outputs.trimap.format=exr", "outputs.trimap.format=exr: must be one of png"),
        ("outputs.trimap.format=jpg", "outputs.trimap.format=jpg: must be one of png, tiff"),
        ("outputs.trimap.band=-1", "outputs.trimap.band=-1: must be from 0 to 500"),
    ],
)
def test_what_does_not_fit_is_refused(matte, setting, message):
    outcome = matte(setting)
    assert outcome.code == 2
    assert message in outcome.err


def test_exr_without_its_extra_is_refused_in_one_sentence(matte, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    outcome = matte("outputs.com.format=exr")
    assert outcome.code == 2
    assert outcome.err == (
        "bgm: outputs.com.format=exr needs OpenEXR: pip install 'bgm[exr]' (Python 3.11 or newer), "
        "or choose tiff\n"
    )
