"""`python -m pretrained` and generate.py on every kind of file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dnnlib.errors import UserError
from pretrained import load_network
from pretrained.command import convert, inspect
from tests.golden_data import GOLDEN
from tests.runs import ENV, ROOT, script
from training import pyramid

BMSG = GOLDEN / "bmsg_gan" / "depth4_latent16"
FILES = {
    "msg_stylegan": [GOLDEN / "c2_network-final.pkl"],
    "stylegan": [GOLDEN / "stylegan_tf" / "sg1_lod1.625_network-snapshot.pkl"],
    "msg_progan": [BMSG / "GAN_GEN_1.pth", BMSG / "GAN_GEN_SHADOW_1.pth", BMSG / "GAN_DIS_1.pth"],
}


def command(*args, check=True):
    out = subprocess.run(
        [sys.executable, "-m", "pretrained", *map(str, args)],
        cwd=ROOT,
        env=ENV,
        capture_output=True,
        text=True,
        timeout=100,
    )
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


@pytest.mark.parametrize("kind", FILES)
def test_generate_takes_every_kind(kind, tmp_path):
    """The pixels are those of the network: its own psi and stored noise."""
    file = FILES[kind][1 if kind == "msg_progan" else 0]
    script("generate.py", "images", "--network", file, "--seeds", "3", "--outdir", tmp_path)
    script("generate.py", "multiscale", "--network", file, "--seeds", "0-1", "--output", tmp_path / "sheet.png")
    G = load_network(file).generator()
    rng = np.random.RandomState(3)
    z = torch.from_numpy(rng.randn(1, G.cfg.z_dim)).float()
    c = torch.zeros(1, G.spec.c_dim)
    if G.spec.c_dim:
        c[0, rng.randint(G.spec.c_dim)] = 1
    with torch.no_grad():
        images = G(z, c, truncation_psi=G.cfg.truncation_psi, truncation_cutoff=8, noise_mode="const")
    with Image.open(tmp_path / "seed0003.png") as im:
        np.testing.assert_array_equal(np.asarray(im), pyramid.to_uint8(images[-1])[0].permute(1, 2, 0).numpy())
    with Image.open(tmp_path / "sheet.png") as im:
        assert im.size == (32 * len(images), 64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: BMSG / "GAN_DIS_1.pth", "holds no generator, only a discriminator"),
        (lambda p: p.mkdir() or p, "a folder"),
        (lambda p: p.write_text("<html>Quota exceeded</html>") and p, "a web page, not a network file"),
        (lambda p: p.write_bytes(FILES["msg_stylegan"][0].read_bytes()[:5000]) and p, "half a download"),
    ],
)
def test_generate_refuses_in_one_line(make, message, tmp_path):
    out = script(
        "generate.py", "images", "--network", make(tmp_path / "x.pkl"), "--outdir", tmp_path / "o", check=False
    )
    assert out.returncode == 2 and "Traceback" not in out.stderr and not (tmp_path / "o").exists()
    assert len([line for line in out.stderr.splitlines() if line.startswith("error:") and message in line]) == 1


def test_unknown_options_are_a_warning_on_the_command_line(tmp_path):
    from tests.pretrained.test_tf_networks import change

    out = command("inspect", change(tmp_path, kwargs={"novelty": 3}))
    assert "warning: " in out.stderr and "G: ignored unknown options novelty" in out.stderr and ".py" not in out.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_default_1024_pickle_opens_within_little_more_than_twice_its_size(tmp_path):
    """All three networks read; opening alone takes a fraction of a second."""
    from pretrained.tf_networks import discriminator_table, generator_table
    from tests import tf_pickles
    from training.networks.architectures import build_discriminator, build_generator
    from training.networks.config import DiscriminatorConfig, GeneratorConfig
    from training.spec import ImageSpec

    spec = ImageSpec(resolution=1024)
    variables = {}
    for name, cfg, table, build in (
        ("G", GeneratorConfig(), generator_table, build_generator),
        ("D", DiscriminatorConfig(), discriminator_table, build_discriminator),
    ):
        with torch.device("meta"):
            shapes = {k: t.shape for k, t in build(cfg, spec).state_dict().items()}
        variables[name] = {}
        for row in table(cfg, spec):  # the transforms are permutations of axes, and undone by the reverse order
            shape = shapes[row.ours]
            probe = row.transform(np.broadcast_to(np.float32(0), tuple(range(2, 2 + len(shape))))).shape
            order = [probe.index(i) for i in range(2, 2 + len(shape))]
            variables[name][row.theirs] = np.ones([shape[i] for i in order], np.float32)
    kwargs = {"num_channels": 3, "resolution": 1024, "label_size": 0}
    path = tmp_path / "network-snapshot-025000.pkl"
    path.write_bytes(tf_pickles.triple(variables["G"], variables["D"], kwargs, kwargs))
    size = path.stat().st_size
    assert size > 2e8
    out = subprocess.run(
        [sys.executable, "-m", "tests.pretrained.peak_memory", path],
        cwd=ROOT,
        env=ENV,
        capture_output=True,
        text=True,
        check=True,
    )
    opened, first, total = map(float, out.stdout.split())
    assert opened < 5 and first < 1.5 * size and total <= 2.1 * size, (opened, first / size, total / size)
