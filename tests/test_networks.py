"""The networks against the published ones, and at the edges of what they accept."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bgm.inference.predictor import MIN_SIDE, Predictor
from bgm.networks import MattingBase, MattingRefine

GOLDEN = Path(__file__).parent / "golden" / "model"
CASES = json.loads((GOLDEN / "cases.json").read_text())
MANIFEST = json.loads((GOLDEN / "manifest.json").read_text())

_spec = importlib.util.spec_from_file_location("seeded", GOLDEN / "seeded.py")
assert _spec
assert _spec.loader
seeded = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(seeded)


def golden_network(case: dict) -> torch.nn.Module:
    if case["type"] == "mattingbase":
        network = MattingBase(case["backbone"])
    else:
        settings = {
            k: v for k, v in case.items() if k == "backbone_scale" or k.startswith("refine")
        }
        network = MattingRefine(case["backbone"], **settings)
    suffix = "-kernel1" if case.get("refine_kernel_size") == 1 else ""
    manifest = MANIFEST[f"{case['type']}-{case['backbone']}{suffix}"]
    weights = seeded.seeded_state_dict(manifest)
    network.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    return network.eval()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_golden_case(case):
    images = seeded.seeded_images(case["seed"], case["batch"], case["height"], case["width"])
    with torch.inference_mode():
        output = golden_network(case)(*map(torch.from_numpy, images))._asdict()
    golden = np.load(GOLDEN / "cases" / f"{case['name']}.npz")
    assert set(golden.files) == set(output)
    for name in golden.files:
        actual = output[name].numpy()
        if name == "ref_sm":
            np.testing.assert_array_equal(actual, golden[name])
            continue
        if name == "hid":
            actual = actual[:, ::8, ::5, ::5]
        else:
            stride = case["sm_stride" if name.endswith("_sm") else "stride"]
            actual = actual[:, :, ::stride, ::stride]
        np.testing.assert_allclose(actual, golden[name], rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("mode", ["sampling", "thresholding", "full"])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (16, 16), (20, 36)])
@pytest.mark.parametrize("scale", [0.5, 0.3, 0.01])
def test_small_images_are_refined(mode, height, width, scale):
    """The original asks for more blocks than a small image has, and crashes."""
    network = MattingRefine("mobilenetv2", scale, mode).eval()
    with torch.inference_mode():
        output = network(torch.rand(2, 3, height, width), torch.rand(2, 3, height, width))
    assert output.pha.shape == (2, 1, height, width)
    assert output.fgr.shape == (2, 3, height, width)
    assert output.ref_sm.shape == (2, 1, height // 4, width // 4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"backbone": "vgg16"}, "unknown backbone 'vgg16'; there are mobilenetv2, resnet50"),
        ({"backbone_scale": 0.6}, r"the backbone scale is in \(0, 0.5\], not 0.6"),
        ({"backbone_scale": 0}, r"the backbone scale is in \(0, 0.5\], not 0$"),
        ({"refine_mode": "some"}, "unknown refine mode 'some'; there are sampling"),
        ({"refine_kernel_size": 5}, "kernel size is 1 or 3, not 5"),
        ({"refine_sample_pixels": -1}, "sample pixels cannot be negative: -1"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        MattingRefine(**{"backbone": "mobilenetv2", **setting})


def test_sizes_the_network_cannot_take_are_refused():
    network = MattingRefine("mobilenetv2").eval()
    with pytest.raises(ValueError, match="30x16 is not divisible by 4"):
        network(torch.rand(1, 3, 16, 30), torch.rand(1, 3, 16, 30))
    with pytest.raises(ValueError, match="differ in shape"):
        network(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 32))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_golden_case_the_fast_way(case):
    """Through the predictor, with everything that makes it fast, one image of the batch a time."""
    images = seeded.seeded_images(case["seed"], case["batch"], case["height"], case["width"])
    predictor = Predictor(golden_network(case), torch.device("cpu"))
    golden = np.load(GOLDEN / "cases" / f"{case['name']}.npz")
    pairs = list(zip(*map(torch.from_numpy, images), strict=True))
    if min(case["height"], case["width"]) < MIN_SIDE:
        pytest.skip("smaller than what the predictor takes")
    for index, matte in enumerate(predictor.run(predictor.stage(pairs))):
        for name, layer in (("pha", matte.alpha), ("fgr", matte.foreground)):
            actual = layer.numpy()[:, :: case["stride"], :: case["stride"]]
            difference = np.abs(actual - golden[name][index])
            assert (difference <= 1 / 255).mean() >= 0.999, name
