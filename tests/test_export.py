"""Networks as files for other runtimes: each is read by its own runtime, outside of bgm too."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import DEMO, records
from PIL import Image
from safetensors.torch import save_file

from bgm import load_matting
from bgm.cli import commands as cli
from bgm.errors import ConfigError, DataError
from bgm.export.write import SUFFIX
from bgm.inference.matting import create_network
from bgm.inference.network_file import PROVIDERS, open_network_file

DOCS = Path(__file__).parent.parent / "docs" / "export.md"


pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The shipped network for images of any size, in ONNX, as a user exports it."""
    folder = tmp_path_factory.mktemp("exported")
    shoot = small_shoot(folder / "shoot")
    done = run_export(folder, *shoot, "output_dir=any")
    assert done.returncode == 0, done.stderr
    return folder / "any" / "refine-mobilenetv2.onnx", done.stdout


def small_shoot(root: Path) -> list[str]:
    for kind in ("src", "bgr", "pha"):
        (root / kind).mkdir(parents=True)
        path = next((DEMO / kind / "tripod").glob("lemur-mountain.*"))
        Image.open(path).resize((322, 181)).save(root / kind / path.name)
    return ["data=folders", *(f"data.{kind}={root / kind}" for kind in ("src", "bgr", "pha"))]


def run_export(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from bgm.cli.commands import main_export; main_export()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def demo_pair(width: int, height: int) -> list[np.ndarray]:
    images = (Image.open(DEMO / k / "tripod/lemur-mountain.jpg") for k in ("src", "bgr"))
    return [np.asarray(image.resize((width, height))) for image in images]


def as_input(image: np.ndarray) -> np.ndarray:
    return image.transpose(2, 0, 1)[None].astype(np.float32) / 255


def test_a_file_says_what_it_is_and_how_it_compared(exported):
    path, said = exported
    assert "how far from torch in float32" in said
    beside = json.loads(path.with_name(f"{path.name}.json").read_text())
    inside = {p.key: p.value for p in onnx.load(path, load_external_data=False).metadata_props}
    assert json.loads(inside["bgm"]) == beside
    assert (beside["width"], beside["height"], beside["multiple"]) == (None, None, 4)
    assert beside["refiner"]["refine_mode"] == "sampling"
    assert beside["refiner"]["backbone_scale"] == 0.25
    assert beside["checkpoint_sha256"].startswith("fdbc55325f4278de")
    assert torch.__version__.startswith(beside["versions"]["torch"])
    assert beside["reached"]["blocks"] == 1
    assert 0 < beside["reached"]["alpha"] < 1e-4
    assert sorted(p.name for p in path.parent.iterdir() if p.suffix != ".log") == [
        ".hydra",
        "refine-mobilenetv2.onnx",
        "refine-mobilenetv2.onnx.json",
    ]


@pytest.mark.parametrize(("batch", "width", "height"), [(1, 480, 272), (2, 200, 340), (1, 68, 68)])
def test_any_number_and_size_gives_what_torch_gives(exported, batch, width, height):
    session = onnxruntime.InferenceSession(exported[0], providers=["CPUExecutionProvider"])
    src, bgr = (np.repeat(as_input(x), batch, 0) for x in demo_pair(width, height))
    src[-1] = src[-1, :, :, ::-1]
    pha, fgr, err, ref = session.run(["pha", "fgr", "err", "ref"], {"src": src, "bgr": bgr})
    matting = load_matting(runtime=None, backbone_scale=0.25, refine_sample_pixels=80_000)
    with torch.no_grad():
        expected = matting.predictor.network(torch.tensor(src), torch.tensor(bgr))
    np.testing.assert_allclose(pha, expected.pha, atol=1e-4)
    np.testing.assert_allclose(fgr, expected.fgr, atol=1e-4)
    np.testing.assert_allclose(err, expected.err_sm, atol=1e-4)
    np.testing.assert_array_equal(ref, expected.ref_sm)
    assert pha.shape == (batch, 1, height, width)


@pytest.mark.parametrize(
    ("settings", "files"),
    [
        (
            ("format=torchscript", "sizes=[160x96,96x160]"),
            ["refine-mobilenetv2-160x96.ts", "refine-mobilenetv2-96x160.ts"],
        ),
        (
            ("format=torch", "refine=thresholding", "sizes=[160x96]"),
            ["refine-mobilenetv2-160x96.pt2"],
        ),
        (
            ("format=openvino", "model=base", "precision=int8", "sizes=[160x96]"),
            ["base-mobilenetv2-160x96-int8.xml"],
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_other_formats(tmp_path, bgm, settings, files):
    shoot = small_shoot(tmp_path / "shoot")
    outcome = bgm(*shoot, *settings, "output_dir=out", command=cli.EXPORT)
    assert outcome.code == 0, outcome.out + outcome.err
    for name in files:
        file = open_network_file(tmp_path / "out" / name)
        facts = file.facts
        beside = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert json.loads(facts.to_json()) == beside
        src, bgr = (torch.tensor(as_input(x)) for x in demo_pair(facts.width, facts.height))
        outputs = dict(zip(facts.outputs, file(src, bgr), strict=True))
        matting = load_matting(runtime=None, model=facts.model, **facts.refiner)
        with torch.no_grad():
            expected = matting.predictor.network(src, bgr)
        far = (outputs["pha"] - expected.pha).abs().mean()
        assert far <= (2e-3 if facts.precision == "int8" else 1e-6)
        with pytest.raises(DataError, match="takes images of"):
            file(src[..., :64], bgr[..., :64])


def test_a_file_that_is_too_far_from_torch_is_not_kept(tmp_path, bgm):
    shoot = small_shoot(tmp_path / "shoot")
    settings = ["format=torch", "precision=float16", "model=base", "sizes=[96x96]"]
    outcome = bgm(*shoot, *settings, "tolerance.mean=0", "output_dir=out", command=cli.EXPORT)
    assert outcome.code == 1
    assert "beyond tolerance, not kept: mean is" in outcome.out
    assert not list((tmp_path / "out").glob("base*"))
    assert not list((tmp_path / "out").glob(".export*"))


def test_eight_bits_for_any_size_are_the_same_in_both_runtimes(tmp_path, bgm):
    """OpenVINO reads such a file in two ways, of which one computes something else."""
    shoot = small_shoot(tmp_path / "shoot")
    settings = ["format=onnx", "model=base", "precision=int8"]
    outcome = bgm(*shoot, *settings, "output_dir=out", command=cli.EXPORT)
    assert outcome.code == 0, outcome.out + outcome.err
    path = tmp_path / "out/base-mobilenetv2-int8.onnx"
    one, other = (open_network_file(path, runtime) for runtime in ("onnx", "openvino"))
    src, bgr = (torch.tensor(as_input(x)) for x in demo_pair(322, 181))
    assert (one(src, bgr)[0] - other(src, bgr)[0]).abs().mean() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "onnx", "openvino", "torchscript"])
def test_a_resnet50_is_exported_too(tmp_path, bgm, name):
    torch.manual_seed(0)
    network = create_network("base", "resnet50").train()
    for norm in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.momentum = 1.0
    with torch.no_grad():
        network.predict(torch.rand(2, 6, 96, 128))
    save_file(network.state_dict(), tmp_path / "base-resnet50.safetensors")
    shoot = small_shoot(tmp_path / "shoot")
    settings = ["model=base", "backbone=resnet50", f"checkpoints_dir={tmp_path}"]
    outcome = bgm(
        *shoot, *settings, f"format={name}", "sizes=[96x64]", "output_dir=out", command=cli.EXPORT
    )
    assert outcome.code == 0, outcome.out + outcome.err
    file = open_network_file(tmp_path / f"out/base-resnet50-96x64{SUFFIX[name]}")
    assert (file.facts.backbone, file.facts.format) == ("resnet50", name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["format=torchscript"], "format=torchscript is for fixed sizes"),
        (["format=torch", "precision=int8"], "precision=int8 is for format=onnx and openvino"),
        (["sizes=[1920]"], "sizes=1920: must be WIDTHxHEIGHT, such as 1920x1080"),
        (["sizes=[1921x1080]"], "sizes=1921x1080: must be WIDTHxHEIGHT, 16 or more, divisible"),
        (["model.backbone_scale=0.3"], "a file for any size needs a fraction such as 0.25"),
        (["refine.sample_pixels=0"], "refines nothing, which cannot be exported"),
        (["format=tensorrt"], "format: Invalid value 'tensorrt', expected one of"),
        (["backbone=resnet50"], "no checkpoint for backbone=resnet50 is shipped"),
        (["tolerance.blocks=2"], "tolerance.blocks=2.0: must be from 0 to 1"),
    ],
)
def test_what_cannot_be_exported_is_refused(bgm, settings, message):
    outcome = bgm(*settings, "output_dir=out", command=cli.EXPORT)
    assert outcome.code == 2
    assert message in outcome.err


def test_files_that_are_no_networks_are_refused(tmp_path, exported):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(exported[0].read_bytes()[:50_000])
    other = tmp_path / "other.onnx"
    model = onnx.load(exported[0])
    del model.metadata_props[:]
    onnx.save(model, other)
    for path, message in (
        (tmp_path / "none.onnx", "no such file"),
        (tmp_path / "network.h5", "not a network file; they end in .pt2, .onnx, .xml, .ts"),
        (damaged, "cannot be loaded"),
        (other, "was not written by bgm-export"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_network_file(path)
    with pytest.raises(ConfigError, match="runtime=eager does not run a network file for onnx"):
        open_network_file(exported[0], "eager")
    with pytest.raises(ConfigError, match=r"runtime\.provider=cuda is for runtime=onnx"):
        open_network_file(exported[0], "openvino", "cuda")


@pytest.mark.parametrize("provider", ["cuda", "coreml", "directml"])
def test_providers_are_asked_for_where_they_are_installed(monkeypatch, exported, provider):
    with pytest.raises(ConfigError, match=f"runtime.provider={provider}: the installed ONNX"):
        open_network_file(exported[0], "onnx", provider)
    asked = []
    create = onnxruntime.InferenceSession

    def note(path, options, providers):
        asked.extend(providers)
        return create(path, options, providers=["CPUExecutionProvider"])

    have = [PROVIDERS[provider], PROVIDERS["cpu"]]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: have)
    monkeypatch.setattr(onnxruntime, "InferenceSession", note)
    open_network_file(exported[0], "onnx", provider)
    assert asked == have


def test_bgm_runs_an_exported_file(tmp_path, bgm, exported):
    shoot = small_shoot(tmp_path / "shoot")
    usual = ["tracking=files", "outputs=lossless"]
    ours = ["model.backbone_scale=0.25", "refine.sample_pixels=80000"]
    assert bgm(*shoot, *usual, *ours, "output_dir=own").code == 0
    for runtime in ("onnx", "openvino"):
        file = [f"network_file={exported[0]}", f"runtime={runtime}", f"output_dir={runtime}"]
        outcome = bgm(*shoot, *usual, *file)
        assert outcome.code == 0, outcome.err
        alphas = [np.asarray(Image.open(next(Path(d, "pha").iterdir()))) for d in ("own", runtime)]
        assert alphas[0].shape == (181, 322)
        assert np.abs(alphas[0] / 65535 - alphas[1] / 65535).max() < 1e-3
        run = json.loads(Path(runtime, "run.json").read_text())
        assert run["checkpoint"]["path"] == str(exported[0])
        assert run["config"]["refine"]["sample_pixels"] == 80_000
        (record,) = records(Path(runtime)).values()
        assert record["backbone_scale"] == 0.25


def test_a_picture_of_another_size_fails_by_name(tmp_path, bgm):
    shoot = small_shoot(tmp_path / "shoot")
    size = ["format=torch", "model=base", "sizes=[96x96]", "output_dir=out"]
    assert bgm(*shoot, *size, command=cli.EXPORT).code == 0
    file = "network_file=out/base-mobilenetv2-96x96.pt2"
    outcome = bgm(*shoot, file, "tracking=files", "output_dir=run")
    assert outcome.code == 1
    (record,) = records(Path("run")).values()
    assert "takes images of 96x96 only, and this is 322x181" in record["error"]
    refused = bgm(*shoot, file, "outputs.types=[ref]", "output_dir=refused")
    assert refused.code == 2
    assert "model=base has no refiner" in refused.err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["network_file=none.onnx"], "none.onnx: no such file; bgm-export writes them"),
        (["network_file=x.onnx", "precision=bfloat16"], "does not go with network_file"),
        (["network_file=x.onnx", "device=cuda"], "device=cuda does not go with network_file"),
        (["runtime=onnx", "runtime.provider=cuda"], "runtime.provider=cuda is for network_file="),
    ],
)
def test_settings_that_do_not_go_with_a_file(bgm, settings, message):
    outcome = bgm("data=demo", *settings, "tracking=files", "output_dir=out")
    assert outcome.code == 2
    assert message in outcome.err


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_examples_of_the_docs_run_without_torch(tmp_path, exported, runtime):
    for name, image in zip(("photo.jpg", "plate.jpg"), demo_pair(322, 181), strict=True):
        Image.fromarray(image).save(tmp_path / name, quality=95)
    examples = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (example,) = (text for text in examples if f"import {runtime}" in text)
    if runtime == "openvino":
        import openvino

        openvino.save_model(
            openvino.Core().read_model(exported[0]),
            tmp_path / "refine-mobilenetv2.xml",
            compress_to_fp16=False,
        )
    else:
        (tmp_path / "refine-mobilenetv2.onnx").write_bytes(exported[0].read_bytes())
    guard = "import sys; sys.modules.update(torch=None, bgm=None, openvino_telemetry=None)\n"
    command = [sys.executable, "-c", guard + example]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = tmp_path / ("alpha.png" if runtime == "openvino" else "cutout.png")
    alpha = np.asarray(Image.open(written))
    alpha = alpha if alpha.ndim == 2 else alpha[..., 3]
    own = load_matting(backbone_scale=0.25, refine_sample_pixels=80_000)
    expected = own(*(Image.open(tmp_path / name) for name in ("photo.jpg", "plate.jpg"))).alpha[0]
    assert np.abs(alpha / 255 - expected.numpy()).max() < 0.01
