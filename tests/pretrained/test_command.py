"""`python -m pretrained` and generate.py on every kind of file."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dnnlib.errors import UserError
from pretrained import load_network
from pretrained.command import convert, inspect
from tests.golden_data import GOLDEN
from tests.runs import python

BMSG = GOLDEN / "bmsg_gan" / "depth4_latent16"
FILES = {
    "msg_stylegan": [GOLDEN / "c2_network-final.pkl"],
    "stylegan": [GOLDEN / "stylegan_tf" / "sg1_lod1.625_network-snapshot.pkl"],
    "msg_progan": [BMSG / "GAN_GEN_1.pth", BMSG / "GAN_GEN_SHADOW_1.pth", BMSG / "GAN_DIS_1.pth"],
}


def command(*args, check=True):
    out = python("-m", "pretrained", *args)
    assert not check or out.returncode == 0, out.stderr
    return out


@pytest.mark.parametrize("kind", FILES)
def test_conversion_round_trips(kind, tmp_path, capsys):
    """Same networks, same outputs, same facts; converting the converted file gives the same tensors."""
    new, again = tmp_path / "new.safetensors", tmp_path / "again.safetensors"
    convert(tuple(map(str, [*FILES[kind], new])))
    convert((str(new), str(again)))
    assert "licence" in capsys.readouterr().out
    old, net = load_network(*FILES[kind]), load_network(new)
    assert (net.spec, net.cur_nimg, net.origin) == (old.spec, old.cur_nimg, old.origin)
    assert net.parts.keys() == old.parts.keys() and net.G.cfg.kind == kind
    z, c = torch.randn(4, net.G.cfg.z_dim), torch.eye(4)[:, : net.spec.c_dim]
    with torch.no_grad():
        for name in ("G", "G_ema"):
            images = [getattr(n, name)(z, c, truncation_psi=0.7, noise_mode="const") for n in (old, net)]
            assert all(torch.equal(a, b) for a, b in zip(*images, strict=True))
        assert torch.equal(old.D(images[0], c), net.D(images[0], c))
    a, b = load_file(new), load_file(again)
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert new.read_bytes() == again.read_bytes()


def test_command_line(tmp_path):
    out = command("convert", *FILES["msg_progan"], tmp_path / "new.safetensors").stdout
    assert "G, G_ema, D of MSG-ProGAN" in out and "MIT licence" in out
    out = command("inspect", tmp_path / "new.safetensors").stdout
    parameters = sum(t.numel() for t in torch.load(FILES["msg_progan"][0], weights_only=True).values())
    facts = ("safetensors", "BMSG-GAN", "3x32x32, no label values", f"MSG-ProGAN, {parameters:,} parameters", "unknown")
    for fact in facts:
        assert fact in out


@pytest.mark.parametrize(
    ("file", "facts"),
    [
        (
            FILES["msg_stylegan"][0],
            ["TensorFlow 1 pickle", "msg-stylegan-tf", "3 label values", "78,572", "CC BY-NC"],
        ),
        (FILES["stylegan"][0], ["StyleGAN (NVIDIA 2019", "76,940 parameters", "CC BY-NC", "mid-growth, lod 1.625"]),
        (FILES["msg_progan"][2], ["PyTorch file (zip)", "D ", "MSG-ProGAN", "epoch 1", "equalised", '"features": 16']),
    ],
)
def test_inspect(file, facts, capsys):
    inspect(str(file))
    out = capsys.readouterr().out
    for fact in facts:
        assert fact in out, fact


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a.pkl"], "found 1 file(s), expected OLD [OLD ...] NEW.safetensors"),
        (["a.pkl", "b.pkl"], "b.pkl: expected a new file whose name ends in .safetensors"),
        (["a.pkl", "old.safetensors"], "old.safetensors: exists already"),
        (["a.pkl", "no/new.safetensors"], "no: no such folder"),
        (["a.pkl", "new.safetensors"], "a.pkl: no such file"),
        (
            [str(BMSG / "GAN_GEN_1.pth"), str(FILES["msg_stylegan"][0]), "new.safetensors"],
            "with 3 label values, expected",
        ),
    ],
)
def test_conversions_that_cannot_be(files, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("old.safetensors").write_text("x")
    with pytest.raises(UserError) as e:
        convert(tuple(files))
    assert message in str(e.value) and [p.name for p in tmp_path.iterdir()] == ["old.safetensors"]


def test_unknown_options_are_a_warning_on_the_command_line(tmp_path):
    from tests.pretrained.test_tf_networks import change

    out = command("inspect", change(tmp_path, kwargs={"novelty": 3}))
    assert "warning: " in out.stderr and "G: ignored unknown options novelty" in out.stderr and ".py" not in out.stderr
