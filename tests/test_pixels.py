"""Depths may be mixed: every way of computing gives the same for them."""

from __future__ import annotations

import threading
from functools import cache

import numpy as np
import pytest
import torch
from conftest import DEMO, records
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_fast import assert_same, pair

from bgm import load_matting
from bgm.data.datasets import ZipDataset
from bgm.data.decode import read_image
from bgm.data.pairs import Pair
from bgm.data.pixels import stack_unit

NAME = "tripod/lemur-brook.jpg"


def as_floats(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / 255


@cache
def loaded(runtime: str | None, scale: float, mode: str):
    return load_matting(runtime=runtime, backbone_scale=scale, refine_mode=mode)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(16, 320), st.integers(16, 240)),
    way=st.sampled_from([(0.25, "sampling"), (0.5, "thresholding"), (0.3, "sampling")]),
    deep=st.tuples(st.booleans(), st.booleans()),
)
def test_the_fast_path_is_the_plain_one(size, way, deep):
    images = [
        as_floats(image) if is_deep else image
        for image, is_deep in zip(pair(NAME, *size), deep, strict=True)
    ]
    fast, plain = (loaded(runtime, *way)(*images) for runtime in ("eager", None))
    assert_same(fast, plain)


@pytest.mark.parametrize("deep", [(True, False), (False, True)], ids=["source", "plate"])
@pytest.mark.parametrize("runtime", ["eager", None])
def test_the_depth_of_one_file_does_not_change_the_matte(deep, runtime):
    """All ways could be wrong alike: so each against two files of 8 bits."""
    images = pair(NAME, 320, 184)
    matting = loaded(runtime, 0.25, "sampling")
    mixed = [as_floats(x) if is_deep else x for x, is_deep in zip(images, deep, strict=True)]
    assert_same(matting(*mixed), matting(*images))


def test_a_batch_may_hold_several_depths():
    """On cards images of one size are matted together, whatever their depths."""
    whole = torch.full((3, 16, 16), 51, dtype=torch.uint8)
    for batch in ([whole, whole / 255], [whole / 255, whole], [whole, whole]):
        torch.testing.assert_close(stack_unit(tuple(batch)), torch.full((2, 3, 16, 16), 0.2))


@pytest.mark.parametrize("deep", ["src", "bgr"])
def test_an_8_bit_and_a_16_bit_file_are_matted_as_two_of_8_bits(matte, shoot, tmp_path, deep):
    import cv2

    for kind in (shoot.src, shoot.bgr):
        Image.open(kind / NAME).save((kind / NAME).with_suffix(".png"))
        for path in kind.rglob("*.jpg"):
            path.unlink()
    assert matte("output_dir=shallow").code == 0
    path = (getattr(shoot, deep) / NAME).with_suffix(".png")
    cv2.imwrite(str(path), cv2.imread(str(path)).astype(np.uint16) * 257)
    assert matte("output_dir=deep").code == 0
    alphas = [
        np.asarray(Image.open(next((tmp_path / out).rglob("*lemur-brook*.png"))), int)
        for out in ("shallow", "deep")
    ]
    assert all(r["status"] == "written" for r in records(tmp_path / "deep").values())
    assert np.abs(alphas[0] - alphas[1]).max() <= 2


def test_a_shared_plate_is_decoded_once_by_all_workers(tmp_path, monkeypatch):
    """All workers ask before the first has it."""
    from bgm.data import datasets

    plate = tmp_path / "plate.png"
    Image.new("RGB", (32, 24)).save(plate)
    decoded, workers = [], 4
    together = threading.Barrier(workers)
    real = datasets.decode

    def counting(path, max_pixels):
        if path == plate:
            decoded.append(path)
        return real(path, max_pixels)

    monkeypatch.setattr(datasets, "decode", counting)
    sources = [tmp_path / f"{index}.png" for index in range(workers)]
    for source in sources:
        Image.new("RGB", (32, 24)).save(source)
    dataset = ZipDataset([Pair(source.stem, source, plate) for source in sources])

    def work(index):
        together.wait(10)
        dataset[index]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert decoded == [plate]


def test_the_demo_is_read_as_8_bits():
    assert read_image(DEMO / "src" / NAME).dtype == np.uint8
