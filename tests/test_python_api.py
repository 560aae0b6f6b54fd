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
        "find_pairs",
        "load_matting",
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


def test_padding_repeats_the_edge(matting):
    """Padding to a multiple of 4 by hand gives the same matte."""
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
    with pytest.raises(DataError, match="uint8, or float"):
        matting(image.astype(np.int64), image)


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
    with pytest.raises(ConfigError, match="no such device"):
        select_device("toaster")


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
