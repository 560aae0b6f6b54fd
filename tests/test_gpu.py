"""What only a CUDA device shows: copies beside the network, autocast, memory that runs out."""

from __future__ import annotations

import cv2
import pytest
import torch
from conftest import DEMO, records

from bgm import load_matting
from bgm.data import read_image
from bgm.inference.device import is_out_of_memory, peak_memory_mib, reset_peak_memory
from bgm.inference.fallback import BUILT_ON_CPU, ON_CPU, DeviceMemoryError, Fallback
from bgm.inference.matte import Matte

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]
MIB = 2**20
NAMES = ["tripod/lemur-mountain.jpg", "tripod/lemur-brook.jpg"]


@pytest.fixture(scope="module")
def pairs():
    """Two photographs with their plates, (3, 180, 322), uint8."""
    return [
        tuple(
            torch.from_numpy(cv2.resize(read_image(DEMO / kind / name), (322, 180)))
            .permute(2, 0, 1)
            .contiguous()
            for kind in ("src", "bgr")
        )
        for name in NAMES
    ]


@pytest.fixture
def predictor():
    return load_matting(device="cuda").predictor


@pytest.fixture
def little_memory():
    """Nearly all memory of the device taken away from torch, until the test is over."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + MIB) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def assert_near(one: Matte, other: Matte, mean: float) -> None:
    for name in ("alpha", "foreground"):
        difference = getattr(one, name).cpu() - getattr(other, name).cpu()
        assert difference.abs().mean() < mean, name


@pytest.mark.parametrize("model", ["refine", "base"])
@pytest.mark.parametrize("runtime", ["auto", None])
def test_the_same_as_on_the_cpu(pairs, model, runtime):
    cpu = load_matting(device="cpu", model=model, runtime=None)
    gpu = load_matting(device="cuda", model=model, runtime=runtime)
    for pair in pairs:
        matte = gpu(*pair)
        assert matte.alpha.device.type == "cuda"
        assert_near(matte, cpu(*pair), 1e-3)
        matte.alpha.mul_(0.5)  # an ordinary tensor


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_lower_precision_is_close_and_returns_float32(pairs, predictor, precision):
    low = load_matting(device="cuda", precision=precision)
    for pair in pairs:
        matte = low(*pair)
        assert matte.alpha.dtype == matte.foreground.dtype == torch.float32
        assert_near(matte, predictor(*pair), 0.02)


def test_images_staged_ahead_are_those_that_are_matted(pairs, predictor):
    """The next images are copied on a stream of their own while these are computed."""
    expected = [predictor(*pair).alpha.cpu() for pair in pairs]
    ahead = [predictor.stage([pair]) for pair in pairs * 8]
    assert all(staged.copied is not None for staged in ahead)
    for index, staged in enumerate(ahead):
        (matte,) = predictor.run(staged)
        torch.testing.assert_close(matte.alpha.cpu(), expected[index % 2], rtol=0, atol=1e-3)


def test_a_batch_is_the_same_as_one_at_a_time(pairs, predictor):
    for matte, pair in zip(predictor.run(predictor.stage(pairs)), pairs, strict=True):
        assert_near(matte, predictor(*pair), 1e-3)


def test_images_are_copied_though_none_can_be_pinned(pairs, predictor, monkeypatch):
    def full(tensor):
        raise RuntimeError("CUDA error: out of memory")

    expected = predictor(*pairs[0])
    monkeypatch.setattr(torch.Tensor, "pin_memory", full)
    assert_near(predictor(*pairs[0]), expected, 1e-3)


def test_what_does_not_fit_is_computed_on_the_cpu(pairs, predictor, little_memory):
    fallback = Fallback(predictor, use_cpu=True)
    large = [tuple(x.repeat(1, 6, 6) for x in pair) for pair in pairs]
    for matte, remark in fallback.run(fallback.stage(large), large):
        assert remark == ON_CPU
        assert matte.alpha.device.type == "cpu"
    devices = {p.device.type for p in predictor.network.parameters()}
    assert devices == {"cuda"}


def test_or_fails_by_itself(pairs, predictor, little_memory):
    fallback = Fallback(predictor, use_cpu=False)
    large = [tuple(x.repeat(1, 6, 6) for x in pair) for pair in pairs]
    outcomes = fallback.run(fallback.stage(large), large)
    assert all(isinstance(error, DeviceMemoryError) for error, _ in outcomes)


def test_layers_that_do_not_fit_are_built_on_the_cpu(pairs, predictor, little_memory):
    def make(matte: Matte) -> str:
        torch.empty(2**30, dtype=torch.uint8, device=matte.alpha.device)
        return matte.alpha.device.type

    matte = Matte(torch.ones(1, 8, 8, device="cuda"), torch.ones(3, 8, 8, device="cuda"))
    assert Fallback(predictor, use_cpu=True).build(matte, make) == ("cpu", BUILT_ON_CPU)


def test_the_error_of_full_memory_is_known(little_memory):
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**34, dtype=torch.uint8, device="cuda")
    assert is_out_of_memory(caught.value)


def test_peak_memory_is_that_since_it_was_reset():
    device = torch.device("cuda")
    reset_peak_memory(device)
    before = peak_memory_mib(device)
    torch.empty(64 * MIB, dtype=torch.uint8, device=device)
    assert before is not None
    assert peak_memory_mib(device) >= before + 63


def test_a_whole_run(matte, tmp_path):
    assert matte("device=cuda", "data.batch_size=2").code == 0
    done = records(tmp_path / "out").values()
    assert [record["status"] for record in done] == ["written"] * 3
    assert [record["remarks"] for record in done] == [[]] * 3
