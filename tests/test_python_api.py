"""The Python door: what `import bgm` offers, without Hydra."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import DEMO
from PIL import Image

import bgm
from bgm.errors import ConfigError, DataError
from bgm.inference.device import select_device
from bgm.inference.predictor import Predictor
from bgm.networks import MattingRefine


@pytest.fixture(scope="module")
def matting():
    return bgm.load_matting(device="cpu")


@pytest.fixture(scope="module")
def lemur():
    images = [Image.open(DEMO / kind / "tripod/lemur-mountain.jpg") for kind in ("src", "bgr")]
    return [image.resize((321, 182)) for image in images]


def test_the_public_names():
    assert sorted(bgm.__all__) == [
        "BgmError",
        "ImagesDataset",
        "Matte",
        "MattingBase",
        "MattingRefine",
        "ZipDataset",
        "edit_edges",
        "find_pairs",
        "load_matting",
        "matte_video",
        "to_image",
    ]
    assert all(getattr(bgm, name) for name in bgm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bgm.nothing  # noqa: B018


def test_import_needs_neither_hydra_nor_wandb():
    code = (
        "import sys, bgm; bgm.load_matting, bgm.ZipDataset, bgm.to_image;"
        "print([m for m in ('hydra', 'wandb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_matte_of_a_photograph(matting, lemur):
    matte = matting(*lemur)
    assert matte.alpha.shape == (1, 182, 321)
    assert matte.foreground.shape == (3, 182, 321)
    assert matte.error.shape == matte.refined.shape == (1, 182, 321)
    truth = Image.open(DEMO / "pha/tripod/lemur-mountain.png").resize((321, 182))
    error = np.abs(matte.alpha[0].numpy() - np.asarray(truth) / 255).mean()
    assert error < 0.03


def test_all_kinds_of_images_give_the_same_matte(matting, lemur):
    expected = matting(*lemur).alpha
    arrays = [np.asarray(image) for image in lemur]
    tensors = [torch.tensor(array).permute(2, 0, 1) for array in arrays]
    for kind in (
        arrays,
        [array / 255 for array in arrays],
        tensors,
        [tensor / 255 for tensor in tensors],
    ):
        torch.testing.assert_close(matting(*kind).alpha, expected, rtol=0, atol=1e-4)


def test_composites(matting, lemur):
    matte = matting(*lemur)
    cutout = matte.composite()
    assert cutout.shape == (4, 182, 321)
    assert (cutout[:3, matte.alpha[0] == 0] == 0).all()
    torch.testing.assert_close(cutout[3:], matte.alpha)
    green = torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1)
    over = matte.composite(green)
    torch.testing.assert_close(
        over, matte.foreground * matte.alpha + green * (1 - matte.alpha), rtol=0, atol=1e-6
    )
    image = bgm.to_image(cutout)
    assert (image.mode, image.size) == ("RGBA", (321, 182))
    assert bgm.to_image(torch.full((1, 2, 2), 0.999)).getpixel((0, 0)) == 255


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (19, 16), (129, 63)])
@pytest.mark.parametrize("model", ["refine", "base"])
def test_any_size_is_padded_and_cropped_back(size, model):
    width, height = size
    matting = bgm.load_matting(device="cpu", model=model)
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    matte = matting(image, image)
    assert matte.alpha.shape == (1, height, width)
    assert matte.error.shape == (1, height, width)
    assert (matte.refined is None) == (model == "base")


def test_padding_repeats_the_edge():
    """Padding to a multiple of 4 by hand gives the same matte."""
    matting = bgm.load_matting(backbone_scale=0.25, refine_sample_pixels=160)
    rng = np.random.default_rng(0)
    src, bgr = (rng.integers(0, 255, (62, 61, 3), np.uint8) for _ in range(2))
    padded = [np.pad(image, ((0, 2), (0, 3), (0, 0)), mode="edge") for image in (src, bgr)]
    expected = matting(*padded).alpha[:, :62, :61]
    torch.testing.assert_close(matting(src, bgr).alpha, expected, rtol=0, atol=0)


def test_images_that_cannot_be_matted(matting):
    image = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(DataError, match="64x64 but its background 64x32"):
        matting(image, image[:32])
    with pytest.raises(DataError, match="8x64 is too small"):
        matting(image[:, :8], image[:, :8])
    with pytest.raises(DataError, match=r"\(H, W, 3\)"):
        matting(image[:, :, 0], image)
    with pytest.raises(DataError, match="not str"):
        matting("photo.jpg", "plate.jpg")
    with pytest.raises(DataError, match="uint8, uint16, or float"):
        matting(image.astype(np.int64), image)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_photographs_are_matted_upright(matting, lemur, orientation):
    turn = {3: 180, 6: 90, 8: 270}[orientation]  # what undoes it, anticlockwise
    exif = Image.Exif()
    exif[274] = orientation
    turned = [image.rotate(turn, expand=True) for image in lemur]
    for image in turned:
        image.info["exif"] = exif.tobytes()
    assert turned[0].size == (lemur[0].size if orientation == 3 else lemur[0].size[::-1])
    assert torch.equal(matting(*turned).alpha, matting(*lemur).alpha)


DEEP_GREY = {
    "I;16": lambda grey: Image.fromarray(grey.astype(np.uint16) * 257),
    "I;16B": lambda grey: Image.frombytes(
        "I;16B", grey.shape[::-1], (grey.astype(">u2") * 257).astype(">u2").tobytes()
    ),
    "I": lambda grey: Image.fromarray(grey.astype(np.int32) * 257),
    "F": lambda grey: Image.fromarray(grey.astype(np.float32) / 255),
}


@pytest.mark.parametrize("mode", DEEP_GREY)
def test_deep_grey_images_keep_their_brightness(matting, lemur, mode):
    greys = [np.asarray(image.convert("L")) for image in lemur]
    deep = [DEEP_GREY[mode](grey) for grey in greys]
    assert {image.mode for image in deep} == {mode}
    expected = matting(*(np.repeat(grey[:, :, None] / 255, 3, axis=2) for grey in greys))
    got = matting(*deep)
    torch.testing.assert_close(got.alpha, expected.alpha, rtol=0, atol=1e-4)
    torch.testing.assert_close(got.foreground, expected.foreground, rtol=0, atol=1e-4)


def test_deep_arrays_and_tensors_keep_their_brightness(matting, lemur):
    units = [np.asarray(image) / 255 for image in lemur]
    expected = matting(*units).alpha
    deep = [(unit * 65535).round().astype(np.uint16) for unit in units]
    tensors = [torch.from_numpy(array).permute(2, 0, 1) for array in deep]
    swapped = [array.astype(">u2") for array in deep]
    learned = [torch.tensor(unit).permute(2, 0, 1).requires_grad_() for unit in units]
    for kind in (deep, tensors, swapped, learned):
        torch.testing.assert_close(matting(*kind).alpha, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "PA", "RGBA", "RGBa", "CMYK", "HSV"])
def test_images_of_every_mode_are_matted(matting, mode):
    image = Image.new("RGB", (32, 24), (200, 10, 30))
    via = {"La": "LA", "RGBa": "RGBA"}.get(mode)
    other = image.convert(via).convert(mode) if via else image.convert(mode)
    assert matting(other, other).alpha.shape == (1, 24, 32)


@pytest.mark.parametrize("value", [255.0, 1.01, -0.1, np.nan, np.inf, -np.inf])
def test_floats_that_are_no_brightness_are_refused(matting, value):
    good = np.full((32, 32, 3), 0.5, np.float32)
    bad = good.copy()
    bad[3, 4, 1] = value
    image = Image.fromarray(bad[:, :, 1])
    for wrong in (bad, bad.astype(np.float64), torch.from_numpy(bad).permute(2, 0, 1), image):
        for images in ((wrong, good), (good, wrong)):
            with pytest.raises(DataError, match=r"float in \[0, 1\], but there are values from"):
                matting(*images)


def test_whole_numbers_beyond_16_bits_are_refused(matting):
    image = Image.fromarray(np.full((32, 32), 70_000, np.int32))
    with pytest.raises(DataError, match="to 70000, but 16 bits end at 65535"):
        matting(image, image)


@pytest.mark.parametrize("runtime", ["auto", None])
@pytest.mark.parametrize("model", ["refine", "base"])
def test_results_can_be_changed_in_place(lemur, model, runtime):
    matte = bgm.load_matting(device="cpu", model=model, runtime=runtime)(*lemur)
    layers = [matte.alpha, matte.foreground, matte.error, matte.composite()]
    for layer in layers + ([matte.refined] if model == "refine" else []):
        before = layer.clone()
        layer.mul_(0.5)
        torch.testing.assert_close(layer, before / 2)
        assert not layer.is_inference()
        assert not layer.requires_grad


def test_bfloat16_is_close_to_float32(lemur, matting):
    low = bgm.load_matting(device="cpu", precision="bfloat16")(*lemur)
    assert low.alpha.dtype == torch.float32
    assert (low.alpha - matting(*lemur).alpha).abs().mean() < 0.01


def test_float16_on_the_cpu_is_refused_with_a_reason():
    network = MattingRefine("mobilenetv2")
    with pytest.raises(ConfigError, match="precision=float16 is not for the CPU"):
        Predictor(network, torch.device("cpu"), "float16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there():
    with pytest.raises(ConfigError, match="no CUDA device here; use device=auto"):
        select_device("cuda")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("toaster", "no such device"),
        ("meta", "does not compute there; use auto, cpu, cuda or mps"),
        ("xpu", "does not compute there"),
        ("xla:0", "does not compute there"),
        ("cpu:1", "there is only one; use device=cpu"),
        ("cuda:256", "no such device"),
        ("cuda:999", "no such device"),
        ("cuda:99", "use device=auto"),
    ],
)
def test_devices_that_bgm_does_not_compute_on_are_refused_in_words(name, message):
    with pytest.raises(ConfigError, match=message):
        bgm.load_matting(device=name)


def test_auto_prefers_cuda_then_mps_then_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert select_device("auto").type == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert select_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert select_device("auto").type == "cuda"


def test_settings_are_checked():
    with pytest.raises(ValueError, match="unknown backbone 'vgg'"):
        bgm.load_matting(backbone="vgg")
    with pytest.raises(ConfigError, match="precision=half: must be one of float32"):
        bgm.load_matting(precision="half")
    with pytest.raises(ValueError, match="unknown model 'best'"):
        bgm.load_matting(model="best")
    with pytest.raises(ValueError, match="model=base has no setting backbone_scale"):
        bgm.load_matting(model="base", backbone_scale=0.5)
