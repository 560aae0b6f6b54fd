"""Checkpoints in every form they come in, and everything that passes for one."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.torch_version import TorchVersion

from bgm import BgmError, MattingBase, MattingRefine
from bgm.errors import CheckpointError
from bgm.networks.checkpoints import SHIPPED, find_checkpoint, load_checkpoint, read_state_dict

SHA256 = "fdbc55325f4278de2b6df1b2349ec64e04d1dcaf97c86811103f99db14e87a1f"


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
    assert_loads(network, path, weights)


def assert_loads(network, path, weights):
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    load_checkpoint(network, path, "refine", "mobilenetv2")
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, weights[name].to(tensor.dtype), rtol=0, atol=0)


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "_orig_mod.", "model._orig_mod.", "module.model.", "student."]
)
def test_prefixes_of_training_frameworks_are_taken_off(tmp_path, weights, network, prefix):
    path = tmp_path / "x.safetensors"
    save_file({prefix + name: tensor for name, tensor in weights.items()}, path)
    assert_loads(network, path, weights)


def test_parts_that_were_compiled_by_themselves(tmp_path, weights, network):
    path = tmp_path / "x.safetensors"
    inside = {name.replace("backbone.", "backbone._orig_mod."): weights[name] for name in weights}
    save_file(inside, path)
    assert_loads(network, path, weights)


@pytest.mark.parametrize(
    "keys",
    [["state_dict"], ["model_state_dict"], ["net"], ["network"], ["ema"], ["model", "state_dict"]],
    ids="/".join,
)
def test_wrappers_of_training_frameworks_are_taken_off(tmp_path, weights, network, keys):
    content = {f"module.{name}": tensor for name, tensor in weights.items()}
    for key in reversed(keys):
        content = {key: content, "epoch": 3, "optimizer_states": [{"state": {}}]}
    path = tmp_path / "epoch=3.ckpt"
    torch.save(content, path)
    assert_loads(network, path, weights)


def test_wrappers_that_hold_themselves_end(tmp_path):
    content = {}
    content["model"] = content
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="does not hold a state_dict"):
        read_state_dict(tmp_path / "x.pth")


def test_counters_of_batches_may_be_missing(tmp_path, weights, network):
    path = tmp_path / "x.safetensors"
    save_file({k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}, path)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    load_checkpoint(network, path, "refine", "mobilenetv2")
    name = "refiner.conv1.weight"
    torch.testing.assert_close(network.state_dict()[name], weights[name].float())


@pytest.mark.parametrize("version", ["2.5.0", "2.6.0+cu124", "2.9.1"])
def test_pickled_files_are_not_read_by_a_torch_that_could_run_code(
    tmp_path, weights, network, monkeypatch, version
):
    path = tmp_path / "x.pth"
    torch.save(weights, path)
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    with pytest.raises(CheckpointError, match=r"install torch 2\.10 or newer, or use a \.safeten"):
        read_state_dict(path)
    save_file(weights, tmp_path / "x.safetensors")
    assert_loads(network, tmp_path / "x.safetensors", weights)


def test_pickled_files_are_read_by_a_torch_that_is_safe(tmp_path, weights, monkeypatch):
    path = tmp_path / "x.pth"
    torch.save(weights, path)
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.10.0+cpu"))
    assert len(read_state_dict(path)) == len(weights)


def test_a_refine_checkpoint_serves_a_base_model(weights, caplog):
    caplog.set_level("INFO")
    path = find_checkpoint("auto", "base", "mobilenetv2")
    network = MattingBase("mobilenetv2")
    load_checkpoint(network, path, "base", "mobilenetv2")
    assert "left out the refiner's 20 tensors" in caplog.text
    name = "decoder.conv4.weight"
    torch.testing.assert_close(network.state_dict()[name], weights[name].float())


VIDEO = {
    "backbone.features.0.0.weight": (16, 3, 3, 3),
    "aspp.aspp1.0.weight": (128, 960, 1, 1),
    "decoder.decode4.gru.ih.0.weight": (128, 128, 3, 3),
    "refiner.box_filter.weight": (4, 1, 3, 3),
}
BIAS = "decoder.conv4.bias"
UNUSABLE = {
    "sparse": lambda x: x.float().to_sparse(),
    "sparse rows": lambda x: x.float().view(1, -1).to_sparse_csr(),
    "complex": lambda x: x.to(torch.complex64),
    "int8": lambda x: x.to(torch.int8),
    "quantized": lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.qint8),
    "float8": lambda x: x.to(torch.float8_e4m3fn),
    "meta": lambda x: x.to("meta"),
}


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
    elif kind in UNUSABLE:
        torch.save({**weights, BIAS: UNUSABLE[kind](weights[BIAS])}, path)
    elif kind == "video":
        torch.save({name: torch.zeros(shape) for name, shape in VIDEO.items()}, path)
    elif kind == "two networks":
        torch.save({f"{one}.{k}": v for one in "ab" for k, v in weights.items()}, path)
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
        ("sparse", f"{BIAS} is sparse"),
        ("sparse rows", f"{BIAS} is sparse"),
        ("complex", f"{BIAS} has complex numbers"),
        ("int8", f"{BIAS} has values of type int8, as quantized networks do"),
        ("quantized", f"{BIAS} has values of type qint8"),
        ("float8", f"{BIAS} has values of type float8_e4m3fn"),
        ("meta", f"{BIAS} has a shape but no values"),
        ("video", "is for a video matting network"),
        ("two networks", "holds several networks (a, b)"),
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
