"""The fast ways give what the plain network gives."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from conftest import DEMO
from torch import nn

from bgm import load_matting
from bgm.data import read_image
from bgm.errors import ConfigError, PredictionError
from bgm.inference.coarse import CoarseModule
from bgm.inference.fuse import can_pack, fuse
from bgm.inference.matting import create_network
from bgm.inference.predictor import Predictor
from bgm.inference.runtimes import choose_runtime, create_runtime
from bgm.inference.sparse import SparseRefiner

CPU = torch.device("cpu")
NAMES = sorted(path.relative_to(DEMO / "src").as_posix() for path in DEMO.glob("src/*/*"))


def pair(name: str, width: int, height: int) -> list[np.ndarray]:
    return [
        cv2.resize(read_image(DEMO / kind / name), (width, height), interpolation=cv2.INTER_AREA)
        for kind in ("src", "bgr")
    ]


def assert_same(fast, plain) -> None:
    """Within 1/255 on at least 99.9 % of the pixels, and mostly much nearer."""
    for name in ("alpha", "foreground"):
        difference = (getattr(fast, name) - getattr(plain, name)).abs()
        assert (difference <= 1 / 255).float().mean() >= 0.999
        assert difference.mean() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_real_photographs_with_a_trained_checkpoint(name):
    images = pair(name, 1920, 1080)
    fast, plain = load_matting()(*images), load_matting(runtime=None)(*images)
    assert_same(fast, plain)
    np.testing.assert_allclose(fast.error, plain.error, atol=1e-5)
    assert (fast.refined == plain.refined).float().mean() > 0.999
    assert fast.refined_share == pytest.approx(plain.refined_share, abs=1e-4)


@pytest.mark.parametrize("size", [(640, 360), (643, 357), (200, 120), (64, 48), (16, 16)])
@pytest.mark.parametrize(
    "settings",
    [
        {"backbone_scale": 0.25},
        {"backbone_scale": 0.5},
        {"backbone_scale": 0.125, "refine_sample_pixels": 40_000},
        {"backbone_scale": 0.3},
        {"refine_mode": "thresholding", "refine_threshold": 0.02},
        {"refine_mode": "full"},
        {"refine_sample_pixels": 0},
        {"refine_sample_pixels": 10_000_000},
    ],
    ids=str,
)
def test_any_size_and_setting(size, settings):
    images = pair(NAMES[2], *size)
    fast, plain = (load_matting(runtime=r, **settings)(*images) for r in ("auto", None))
    assert fast.alpha.shape == (1, size[1], size[0])
    assert_same(fast, plain)


def test_deep_images_keep_their_depth():
    images = [image.astype(np.float32) / 255 for image in pair(NAMES[1], 320, 200)]
    images[0] = np.minimum(images[0] + np.float32(0.4 / 255), 1)
    assert_same(load_matting()(*images), load_matting(runtime=None)(*images))


@pytest.mark.parametrize("ratio", [1, 2, 4, 8])
def test_the_sparse_refiner_is_exact_up_to_rounding_also_at_the_border(ratio):
    torch.manual_seed(0)
    network = create_network("refine", "mobilenetv2").eval()
    refiner = network.refiner
    height, width = 8 * ratio * 10, 8 * ratio * 12
    coarse = (height // 2 // ratio, width // 2 // ratio)
    for norm in (m for m in refiner.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.1, 0.1)
        norm.running_var.uniform_(0.5, 2)
    src, bgr = (torch.randint(0, 256, (height, width, 3), dtype=torch.uint8) for _ in range(2))
    known = torch.rand(*coarse, 36)
    chosen = torch.rand(height // 4, width // 4) < 0.3
    chosen[[0, 1, -2, -1]] = True
    with torch.inference_mode():
        whole = torch.zeros(height, width, 4)
        assert SparseRefiner.fits(refiner, height, width, coarse) == ratio
        framed = np.pad(known.numpy(), [(1, 1), (1, 1), (0, 0)], mode="edge")
        refine = SparseRefiner(refiner, ratio, pack=can_pack())
        refine(src, bgr, torch.from_numpy(framed), chosen, whole)
        photos = torch.cat([src, bgr], 2).permute(2, 0, 1)[None] / 255
        maps = known.permute(2, 0, 1)[None]
        blocks = torch.nonzero(chosen[None], as_tuple=True)
        expected = refiner.refine_blocks(photos, maps[:, 32:], maps[:, :32], blocks)
    tiles = whole.view(height // 4, 4, width // 4, 4, 4).transpose(1, 2)
    got = tiles[blocks[1], blocks[2]].permute(0, 3, 1, 2)[:, [3, 0, 1, 2]]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert (tiles[~chosen] == 0).all()


@pytest.mark.parametrize("ratio", [1, 2, 4, 6, 8])
def test_refining_looks_no_farther_than_it_says(ratio):
    """Features elsewhere are not computed, so another value there changes no bit."""
    torch.manual_seed(0)
    network = create_network("refine", "mobilenetv2").eval()
    height, width = 8 * ratio * 10, 8 * ratio * 12
    coarse = (height // 2 // ratio, width // 2 // ratio)
    src, bgr = (torch.randint(0, 256, (height, width, 3), dtype=torch.uint8) for _ in range(2))
    known = torch.rand(*coarse, 36)
    chosen = torch.zeros(height // 4, width // 4, dtype=torch.bool)
    chosen.view(-1)[torch.randperm(chosen.numel())[:12]] = True
    results = []
    with torch.inference_mode():
        refine = SparseRefiner(network.refiner, ratio, pack=can_pack())
        elsewhere = ~refine.reach(chosen)
        assert 0.5 < elsewhere.float().mean() < 0.95
        for value in (0.0, 100.0):
            known[elsewhere, :32] = value
            framed = np.pad(known.numpy(), [(1, 1), (1, 1), (0, 0)], mode="edge")
            whole = torch.zeros(height, width, 4)
            refine(src, bgr, torch.from_numpy(framed), chosen, whole)
            results.append(whole)
    assert results[0].any()
    assert torch.equal(*results)


@pytest.mark.parametrize("size", [(4, 6), (18, 28), (60, 84), (60, 41), (61, 40)])
def test_hidden_features_are_right_where_they_are_needed(size):
    torch.manual_seed(0)
    network = load_matting(runtime=None).predictor.network
    photos = torch.rand(2, 6, *size)
    with torch.inference_mode():
        expected = network.predict(photos)
        *maps, hidden = create_runtime("eager", network, CPU, "float32")(photos)
        for one, other in zip(maps, expected, strict=False):
            np.testing.assert_allclose(one, other, atol=5e-5)
        if isinstance(hidden, torch.Tensor):  # not twice the half, or a torch that cannot
            assert size[0] % 2 or size[1] % 2 or not can_pack()
            return
        np.testing.assert_allclose(hidden.everywhere(), expected[3], atol=1e-4)
        for index, share in ((0, 0.1), (1, 0.02), (1, 0.0), (0, 1.0)):  # asked again and again
            needed = torch.rand(size) < share
            written = torch.zeros(*size, 36)[..., :32]
            hidden.write(index, needed, written)
            right = expected[3][index].permute(1, 2, 0)
            np.testing.assert_allclose(written[needed], right[needed], atol=1e-4)
            assert ((written == 0) | ((written - right).abs() < 1e-4)).all()


@pytest.mark.parametrize("backbone", ["mobilenetv2", "resnet50", "resnet101"])
@pytest.mark.parametrize("packed", [True, False])
def test_fused_networks_give_the_same(backbone, packed):
    if packed and not can_pack():
        pytest.skip("this torch cannot")
    torch.manual_seed(1)
    network = create_network("base", backbone).train()
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0  # one batch is enough to keep the features of a deep network in range
    with torch.no_grad():
        network.predict(torch.rand(2, 6, 96, 128))
    network.eval()
    photos = torch.rand(1, 6, 96, 128)
    fused = fuse(CoarseModule(network), torch.rand(1, 6, 64, 64), pack=packed)
    assert not [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.inference_mode():
        for got, expected in zip(fused(photos), network.predict(photos), strict=True):
            scale = float(expected.abs().max()) + 1
            np.testing.assert_allclose(got, expected, atol=5e-4 * scale)


@pytest.mark.parametrize("name", ["eager", "onnx", "openvino"])
def test_runtimes_give_the_same_at_any_size(name):
    network = load_matting(runtime=None).predictor.network
    runtime = create_runtime(choose_runtime(name, CPU, "float32"), network, CPU, "float32")
    # More sizes than are compiled for, and one of the first again.
    for size in (
        (1, 6, 96, 128),
        (2, 6, 65, 47),
        *((1, 6, 48, w) for w in (48, 64, 80)),
        (1, 6, 96, 128),
    ):
        photos = torch.rand(size)
        with torch.inference_mode():
            network.runtime = None
            expected = network.predict(photos)
            network.runtime = runtime
            got = network.predict(photos)
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=5e-5)


def test_compiling_waits_until_it_pays(monkeypatch):
    compiled = []

    def compile_to(module, **options):
        assert options == {"dynamic": False, "options": {"freezing": True}}

        def run(photos):
            compiled.append(tuple(photos.shape))
            return module(photos)

        return run

    monkeypatch.setattr("torch.compile", compile_to)
    network = load_matting(runtime=None).predictor.network
    runtime = create_runtime("compiled", network, CPU, "float32")
    for _ in range(runtime.compiled_after):
        runtime(torch.rand(1, 6, 64, 64))
    assert compiled == []
    output = runtime(torch.rand(1, 6, 64, 64))
    runtime(torch.rand(1, 6, 32, 64))
    assert compiled == [(1, 6, 64, 64)]
    assert output[0].shape == (1, 1, 64, 64)


@pytest.mark.slow
def test_compiled_gives_the_same():
    network = load_matting(runtime=None).predictor.network
    runtime = create_runtime("compiled", network, CPU, "float32")
    runtime.compiled_after = 0
    photos = torch.rand(1, 6, 96, 128)
    with torch.inference_mode():
        for got, expected in zip(runtime(photos), network.predict(photos), strict=True):
            np.testing.assert_allclose(got, expected, atol=5e-5)


def test_what_auto_means_and_what_is_missing(monkeypatch):
    assert choose_runtime("auto", CPU, "float32") == "eager"
    assert choose_runtime("auto", CPU, "bfloat16") == "openvino"
    assert choose_runtime("auto", torch.device("cuda"), "float16") == "eager"
    monkeypatch.setattr("bgm.inference.runtimes.find_spec", lambda name: None)
    assert choose_runtime("auto", CPU, "bfloat16") == "eager"
    with pytest.raises(ConfigError, match=r"openvino needs .* pip install openvino"):
        choose_runtime("openvino", CPU, "float32")
    with pytest.raises(ConfigError, match="pip install onnxruntime onnx"):
        choose_runtime("onnx", CPU, "float32")


def test_runtimes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="is for device=cpu"):
        choose_runtime("openvino", torch.device("cuda"), "float32")
    with pytest.raises(ConfigError, match="precision=float32"):
        choose_runtime("onnx", CPU, "bfloat16")
    with pytest.raises(ConfigError, match="runtime=fast: must be one of auto"):
        choose_runtime("fast", CPU, "float32")


@pytest.mark.parametrize("mode", ["sampling", "full"])
@pytest.mark.parametrize("runtime", ["auto", None])
def test_a_batch_is_bit_identical_to_one_at_a_time(runtime, mode):
    predictor = load_matting(runtime=runtime, refine_mode=mode).predictor
    images = [
        tuple(torch.from_numpy(image).permute(2, 0, 1) for image in pair(name, 320, 200))
        for name in NAMES
    ]
    together = predictor.run(predictor.stage(images))
    for (src, bgr), matte in zip(images, together, strict=True):
        alone = predictor(src, bgr)
        assert torch.equal(matte.alpha, alone.alpha)
        assert torch.equal(matte.foreground, alone.foreground)


@pytest.mark.parametrize("runtime", ["auto", None])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("layer", ["decoder.conv4", "refiner.conv4"])
@pytest.mark.parametrize("channel", [0, 1])
def test_values_that_are_not_finite_are_no_matte(runtime, value, layer, channel):
    torch.manual_seed(0)
    network = create_network("refine", "mobilenetv2")
    with torch.no_grad():
        network.decoder.conv4.bias[4] = 1  # an error everywhere, so that there are blocks
        network.get_submodule(layer).bias[channel] = value
    predictor = Predictor(network, CPU, runtime=runtime)
    images = [torch.from_numpy(image).permute(2, 0, 1) for image in pair(NAMES[0], 320, 200)]
    with pytest.raises(PredictionError, match="not finite"):
        predictor(*images)


@pytest.mark.parametrize(
    ("channel", "blocks"),
    [(4, True), (5, True), (5, False)],
    ids=["error", "hidden features", "hidden features without blocks"],
)
def test_both_ways_agree_on_what_is_no_matte(channel, blocks):
    torch.manual_seed(0)
    network = create_network("refine", "mobilenetv2")
    with torch.no_grad():
        network.decoder.conv4.bias[4] = 1 if blocks else -1e6
        network.decoder.conv4.bias[channel] = torch.nan
    images = [torch.from_numpy(image).permute(2, 0, 1) for image in pair(NAMES[0], 320, 200)]
    said = []
    for runtime in ("auto", None):
        predictor = Predictor(network, CPU, runtime=runtime)
        (outcome,) = predictor.run(predictor.stage([images]))
        said.append(str(outcome) if isinstance(outcome, PredictionError) else "a matte")
    assert said[0] == said[1]
    if channel == 4 or blocks:
        assert "not finite" in said[0]


def test_openvino_sends_nothing(tmp_path):
    """Its telemetry leaves an identity in the home directory before it sends anything."""
    code = """
import sys, torch, bgm.inference.runtimes as runtimes
runtimes.JoinedModule = lambda network: torch.nn.Conv2d(6, 37, 1)  # is converted at once
runtimes.create_runtime("openvino", None, torch.device("cpu"), "bfloat16")
assert "openvino" in sys.modules
print([name for name, module in sys.modules.items() if "openvino_telemetry" in name and module])
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD")}
    homes = {"HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path), "USERPROFILE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**environment, **homes},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert not list(tmp_path.rglob("*openvino*"))
