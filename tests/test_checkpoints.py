"""Checkpoints in every form they come in, and everything that passes for one."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from bgm import BgmError, MattingBase, MattingRefine
from bgm.errors import CheckpointError
from bgm.networks.checkpoints import SHIPPED, find_checkpoint, load_checkpoint, read_state_dict

SHA256 = "9b55542004449ef726b2b47d3dd852598e8c1a36c43b818c014ae43ab99203ed"


@pytest.fixture(scope="module")
def weights():
    return load_file(SHIPPED / "mobilenetv2-refine.safetensors")


@pytest.fixture(scope="module")
def network():
    return MattingRefine("mobilenetv2")


def test_the_shipped_checkpoint_is_found_and_fits(network):
    path = find_checkpoint("auto", "refine", "mobilenetv2")
    info = load_checkpoint(network, path, "refine", "mobilenetv2")
    assert (info.sha256, info.model, info.backbone) == (SHA256, "refine", "mobilenetv2")


@pytest.mark.parametrize("form", ["plain", "state_dict", "model", "float32", "legacy", "tensors"])
def test_every_published_form_loads(tmp_path, weights, network, form):
    path = tmp_path / "pytorch_mobilenetv2.pth"
    content = {k: v.float() for k, v in weights.items()} if form == "float32" else weights
    if form == "tensors":
        path = tmp_path / "x.safetensors"
        save_file(content, path)
    else:
        wrapped = {form: content, "epoch": 3} if form in ("state_dict", "model") else content
        torch.save(wrapped, path, _use_new_zipfile_serialization=form != "legacy")
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    load_checkpoint(network, path, "refine", "mobilenetv2")
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, weights[name].to(tensor.dtype), rtol=0, atol=0)


def test_a_refine_checkpoint_serves_a_base_model(weights, caplog):
    caplog.set_level("INFO")
    path = find_checkpoint("auto", "base", "mobilenetv2")
    network = MattingBase("mobilenetv2")
    load_checkpoint(network, path, "base", "mobilenetv2")
    assert "left out the refiner's 20 tensors" in caplog.text
    name = "decoder.conv4.weight"
    torch.testing.assert_close(network.state_dict()[name], weights[name].float())


class Payload:
    """Runs a command when it is unpickled, harmlessly: it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def write_bad(kind, path, weights):
    """Make the file of one kind of bad checkpoint."""
    if kind == "html":
        path.write_text("  <!DOCTYPE html><html>Not found</html>")
    elif kind == "lfs":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("hello")
    elif kind in ("truncated", "truncated legacy"):
        torch.save(weights, path, _use_new_zipfile_serialization=kind == "truncated")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "whole network":
        torch.save(MattingRefine("mobilenetv2"), path)
    elif kind == "torchscript":
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "numbers":
        torch.save({"a": 1}, path)
    elif kind == "other network":
        torch.save({"fc.weight": torch.zeros(2)}, path)
    elif kind == "resnet":
        torch.save(MattingRefine("resnet50").state_dict(), path)
    elif kind == "base":
        torch.save({k: v for k, v in weights.items() if not k.startswith("refiner")}, path)
    elif kind == "kernel":
        torch.save(MattingRefine("mobilenetv2", refine_kernel_size=1).state_dict(), path)
    elif kind == "missing tensor":
        torch.save({k: v for k, v in weights.items() if k != "decoder.conv1.weight"}, path)
    elif kind == "extra tensor":
        torch.save({**weights, "extra.weight": torch.zeros(1)}, path)
    elif kind == "not finite":
        torch.save({**weights, "decoder.conv4.bias": torch.full((37,), torch.nan)}, path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("html", "is a web page"),
        ("lfs", "git lfs pull"),
        ("empty", "is empty"),
        ("text", "damaged or cut short"),
        ("truncated", "damaged or cut short"),
        ("truncated legacy", "damaged or cut short"),
        ("whole network", "holds Python objects or code"),
        ("torchscript", "TorchScript archive"),
        ("list", "does not hold a state_dict"),
        ("numbers", "does not hold a state_dict"),
        ("other network", "not for a background matting network; its first tensors are fc.weight"),
        ("resnet", "for backbone=resnet50, not mobilenetv2; choose backbone=resnet50"),
        ("base", "is a base checkpoint, without a refiner; choose model=base"),
        ("kernel", "choose refine.kernel_size=1"),
        ("missing tensor", "decoder.conv1.weight is missing"),
        ("extra tensor", "extra.weight is not part of it"),
        ("not finite", "decoder.conv4.bias has values that are not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_bad_checkpoint_is_named_in_one_line(tmp_path, weights, network, kind, message):
    path = tmp_path / "bad.pth"
    write_bad(kind, path, weights)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(network, path, "refine", "mobilenetv2")
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("wrapped", [True, False])
def test_code_in_a_checkpoint_never_runs(tmp_path, protocol, wrapped):
    trace = tmp_path / "it ran"
    payload = {"state_dict": Payload(trace)} if wrapped else Payload(trace)
    path = tmp_path / "evil.pth"
    torch.save(payload, path)
    with pytest.raises(CheckpointError, match="could run that code"):
        read_state_dict(path)
    path.write_bytes(pickle.dumps(payload, protocol))
    with pytest.raises(CheckpointError):
        read_state_dict(path)
    assert not trace.exists()
    assert not list(tmp_path.glob("it*"))


def test_truncated_safetensors(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes((SHIPPED / "mobilenetv2-refine.safetensors").read_bytes()[:50_000])
    with pytest.raises(CheckpointError, match="damaged or not a safetensors file"):
        read_state_dict(path)


@pytest.mark.parametrize(
    "name", ["pytorch_mobilenetv2.pth", "refine-mobilenetv2.safetensors", "mobilenetv2-refine.pth"]
)
def test_a_directory_of_checkpoints_is_searched_first(tmp_path, name):
    (tmp_path / name).touch()
    assert find_checkpoint("auto", "refine", "mobilenetv2", tmp_path) == tmp_path / name


def test_auto_says_what_the_published_files_are_called():
    with pytest.raises(BgmError, match=r"pytorch_resnet101\.pth: pass checkpoint="):
        find_checkpoint("auto", "refine", "resnet101")


def test_a_path_that_does_not_exist(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        find_checkpoint(str(tmp_path / "no.pth"), "refine", "mobilenetv2")
    with pytest.raises(CheckpointError, match="is a directory"):
        find_checkpoint(str(tmp_path), "refine", "mobilenetv2")
