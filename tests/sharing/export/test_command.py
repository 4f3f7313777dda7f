"""The commands of export.py."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from dnnlib.errors import UserError
from generation.networks import NetworkOptions
from generation.sampling import Sampler, SamplingOptions
from pretrained import load_network
from sharing.export import command
from tests.golden_data import GOLDEN
from tests.runs import ENV, ROOT, script
from training.networks.architectures import build_generator
from training.networks.config import ProGANGeneratorConfig
from training.run.snapshot import save_snapshot
from training.spec import ImageSpec

NETWORK = ["--network", str(GOLDEN / "c2_network-final.pkl")]
PROGAN = ["--network", str(GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_SHADOW_1.pth")]


TORCH_NAMES = {"fp32": "torch.float32", "fp16": "torch.float16", "bf16": "torch.bfloat16"}


def export(*args, check=True):
    return script("export.py", *args, check=check)


def test_onnx_is_written_and_compared(tmp_path):
    pytest.importorskip("onnxruntime")
    out = export("onnx", *NETWORK, "--level", "0,-1", "--output", tmp_path / "new" / "G.onnx")
    assert "ONNX opset 18, fp32: z, c, psi -> image4, image32" in out.stdout
    assert "largest error against PyTorch in fp32: " in out.stdout and not out.stderr

    again = export("check", tmp_path / "new" / "G.onnx", *NETWORK, "--level", "0,-1")
    assert again.stdout.splitlines()[2] == out.stdout.splitlines()[1]


def test_a_file_that_is_too_far_from_the_network_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "largest_error", lambda model, path: 0.5)
    options = {"network": NetworkOptions(network=NETWORK[1]), "form": command.FormOptions(level="0")}
    with pytest.raises(UserError, match=r"G\.pt2: expected an error of at most 0\.0001, do not use"):
        command.program(**options, output=tmp_path / "G.pt2")
    assert not list(tmp_path.iterdir())


def test_a_program_runs_without_this_project(tmp_path):
    export("program", *NETWORK, "--level", "-1", "--output", tmp_path / "G.pt2")
    G = Sampler(SamplingOptions(network=NETWORK[1], device="cpu")).G
    code = (
        "import sys, torch; G = torch.export.load('G.pt2').module();"
        f"[image] = G(torch.randn(2, {G.cfg.z_dim}), torch.zeros(2, {G.spec.c_dim}), torch.tensor(1.0));"
        "print(image.shape); assert 'training' not in sys.modules"
    )
    program = [sys.executable, "-c", code]
    out = subprocess.run(program, cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=60)
    assert "torch.Size([2, 3, 32, 32])" in out.stdout, out.stderr


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_safetensors_has_g_alone(tmp_path, precision):
    path = tmp_path / "G.safetensors"
    export("safetensors", *NETWORK, "--precision", precision, "--output", path)
    ours, theirs = (Sampler(SamplingOptions(network=str(p), device="cpu")) for p in (path, NETWORK[1]))
    [a], [b] = (sampler.draw([sampler.latent(0)]) for sampler in (ours, theirs))
    difference = np.abs(a.images[-1].astype(int) - b.images[-1])
    assert difference.mean() <= {"fp32": 0, "fp16": 0.5, "bf16": 4}[precision]
    with safe_open(path, "pt") as file:
        assert {str(file.get_tensor(key).dtype) for key in file.keys()} == {TORCH_NAMES[precision]}  # noqa: SIM118
        assert all(key.startswith("G_ema.") for key in file.keys())  # noqa: SIM118

    # Other programs of this project open it.
    out = subprocess.run(
        [sys.executable, "generate.py", "images", "--network", path, "--seeds", "0", "--output", tmp_path / "x.png"],
        cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert out.returncode == 0 and Image.open(tmp_path / "x.png").size == (32, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["onnx", "--opset", 5], "--opset 5: expected 18 to 23"),
        (["onnx", "--output", "G.pt"], "--output G.pt: expected a name that ends in one of .onnx"),
        (["program", "--level", 7], "--level 7: expected -4 to 3"),
        (["program", *PROGAN, "--noise", "input"], "--noise input: this network has no noise inputs"),
        (["safetensors", "--precision", "int8"], "int8"),
        (["check", "README.md"], "README.md: expected a file that ends in .onnx or .pt2"),
        (["check", "missing.pt2"], "missing.pt2: cannot read"),
    ],
)
def test_wrong_options_are_one_line(arguments, message):
    out = export(*arguments, *([] if "--network" in arguments else NETWORK), check=False)
    assert out.returncode == 2 and message in out.stderr and out.stderr.count("\n") == 1


def test_pth_is_the_file_that_bmsg_gan_wrote(tmp_path):
    out = export("pth", *PROGAN, "--output", tmp_path / "GAN_GEN_SHADOW_2.pth")
    assert "generate_samples.py takes it with depth 4 and latent size 16" in out.stdout
    ours = torch.load(tmp_path / "GAN_GEN_SHADOW_2.pth", weights_only=True)
    theirs = torch.load(PROGAN[1], weights_only=True)
    assert set(ours) == {f"module.{name}" for name in theirs}  # DataParallel's names
    assert all(torch.equal(ours[f"module.{name}"], tensor) for name, tensor in theirs.items())


@pytest.mark.parametrize(("kind", "options"), [("plain", {"use_wscale": False}), ("gray", {}), ("classes", {})])
def test_pth_of_what_bmsg_gan_cannot_build_is_refused(tmp_path, kind, options):
    spec = ImageSpec(resolution=16, channels=1 if kind == "gray" else 3, c_dim=2 if kind == "classes" else 0)
    G = build_generator(ProGANGeneratorConfig(z_dim=16, **options), spec)
    save_snapshot(tmp_path / "G.safetensors", {"G_ema": G}, spec, None)
    for network in (tmp_path / "G.safetensors", NETWORK[1]):
        out = export("pth", "--network", network, "--output", tmp_path / "G.pth", check=False)
        assert out.returncode == 2 and f"{network}: BMSG-GAN has no such networks" in out.stderr


def test_check_says_what_it_compares_with(tmp_path):
    export("onnx", *PROGAN, "--output", tmp_path / "G.onnx")
    assert f"compared with {PROGAN[1]}" in export("check", tmp_path / "G.onnx", *PROGAN).stdout
    out = export("check", tmp_path / "G.onnx", check=False)
    assert out.returncode == 2 and "made from another kind of network than it is compared with?" in out.stderr
    assert "default.safetensors" in out.stdout


def test_what_a_network_was_converted_from_stays_with_it(tmp_path):
    export("safetensors", *NETWORK, "--output", tmp_path / "G.safetensors")
    assert load_network(tmp_path / "G.safetensors").origin == load_network(NETWORK[1]).origin != ""
