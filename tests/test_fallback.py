"""What goes wrong on a device costs as few images as possible, and none before or after."""

from __future__ import annotations

import pytest
import torch

from bgm.errors import DataError
from bgm.inference.fallback import BUILT_ON_CPU, ON_CPU, DeviceMemoryError, Fallback
from bgm.inference.matte import Matte
from bgm.inference.matting import create_network
from bgm.inference.predictor import Predictor

CPU = torch.device("cpu")
NO_MEMORY = RuntimeError("MPS backend out of memory\nsee the manual")
NETWORK = create_network("refine", "mobilenetv2")
BROKEN = RuntimeError("CUDA error: invalid argument")


class Faulty(Predictor):
    """A predictor that raises an error for dark images, or for more than some at a time."""

    def __init__(self, step: str, error: Exception, most: int = 9) -> None:
        super().__init__(NETWORK, CPU, runtime=None)
        self.step, self.error, self.most = step, error, most

    def _check(self, step, images) -> None:
        dark = any(src.max() == 0 for src, _ in images)
        if step == self.step and (dark or len(images) > self.most):
            raise self.error

    def stage(self, pairs):
        self._check("stage", pairs)
        return super().stage(pairs)

    def run(self, staged):
        self._check("run", staged.photos)
        return super().run(staged)


def pairs(*brightness: int):
    return [(torch.full((3, 32, 32), b, dtype=torch.uint8),) * 2 for b in brightness]


def outcomes(predictor, images, *, use_cpu=True):
    fallback = Fallback(predictor, use_cpu=use_cpu)
    return fallback.run(fallback.stage(images), images)


@pytest.mark.parametrize("step", ["stage", "run"])
def test_what_does_not_fit_is_computed_on_the_cpu(step):
    (bright, remark), (dark, dark_remark) = outcomes(Faulty(step, NO_MEMORY), pairs(9, 0))
    assert isinstance(bright, Matte)
    assert remark is None
    assert isinstance(dark, Matte)
    assert dark_remark == ON_CPU


@pytest.mark.parametrize("step", ["stage", "run"])
def test_or_fails_by_itself(step):
    (bright, _), (dark, _) = outcomes(Faulty(step, NO_MEMORY), pairs(9, 0), use_cpu=False)
    assert isinstance(bright, Matte)
    assert isinstance(dark, DeviceMemoryError)
    assert "\n" not in str(dark)
    assert "(MPS backend out of memory)" in str(dark)


@pytest.mark.parametrize("step", ["stage", "run"])
def test_other_errors_cost_their_image_only(step):
    (bright, _), (dark, remark) = outcomes(Faulty(step, BROKEN), pairs(9, 0))
    assert isinstance(bright, Matte)
    assert dark is BROKEN
    assert remark is None


@pytest.mark.parametrize("step", ["stage", "run"])
def test_a_batch_that_does_not_fit_fits_one_by_one(step):
    predictor = Faulty(step, NO_MEMORY, most=1)
    assert all(isinstance(m, Matte) and not r for m, r in outcomes(predictor, pairs(1, 2, 3)))


def test_images_that_no_network_takes_are_refused_as_ever():
    small = [(torch.ones(3, 8, 8), torch.ones(3, 8, 8))]
    ((error, _),) = outcomes(Faulty("run", BROKEN), small)
    assert isinstance(error, DataError)


def test_no_memory_on_the_host_either_fails_the_image(monkeypatch):
    def full(*arguments, **options):
        raise MemoryError

    predictor = Faulty("run", NO_MEMORY)
    monkeypatch.setattr("bgm.inference.fallback.Predictor", full)
    ((error, _),) = outcomes(predictor, pairs(0))
    assert isinstance(error, DeviceMemoryError)


def test_the_network_never_moves(monkeypatch):
    """Moving it back would need the memory that there is none of, and could end halfway."""
    predictor = Faulty("run", NO_MEMORY)
    originals, moved, real = set(predictor.network.modules()), [], torch.nn.Module._apply

    def watch(module, *arguments, **options):
        moved.extend({module} & originals)
        return real(module, *arguments, **options)

    monkeypatch.setattr("torch.nn.Module._apply", watch)
    weight = next(predictor.network.parameters())
    place = weight.data_ptr()
    predictor.network.runtime = runtime = lambda photos: None
    ((matte, remark),) = outcomes(predictor, pairs(0))
    predictor.network.runtime, kept = None, predictor.network.runtime
    assert isinstance(matte, Matte)
    assert remark == ON_CPU
    assert kept is runtime
    assert not moved
    assert next(predictor.network.parameters()) is weight
    assert weight.data_ptr() == place


def a_matte() -> Matte:
    return Matte(torch.ones(1, 4, 4), torch.zeros(3, 4, 4))


def test_layers_that_do_not_fit_are_built_on_the_cpu():
    seen = []

    def make(matte):
        seen.append(matte)
        if len(seen) == 1:
            raise NO_MEMORY
        return matte.alpha.device.type

    fallback = Fallback(Faulty("run", BROKEN), use_cpu=True)
    assert fallback.build(a_matte(), make) == ("cpu", BUILT_ON_CPU)
    seen.clear()
    with pytest.raises(DeviceMemoryError):
        Fallback(Faulty("run", BROKEN), use_cpu=False).build(a_matte(), make)


def test_other_errors_of_building_are_not_hidden():
    def make(matte):
        raise BROKEN

    with pytest.raises(RuntimeError, match="invalid argument"):
        Fallback(Faulty("run", BROKEN), use_cpu=True).build(a_matte(), make)
