"""Pictures of seeds, by the commands of generate.py."""

import contextlib
import io
import signal
import sys
import warnings
from subprocess import CompletedProcess
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from dnnlib import cli
from generation import command
from pretrained import load_network
from tests.pretrained.test_command import BMSG, FILES
from tests.runs import script
from training import pyramid


def generate(*args, check=True):
    """Run generate.py within this process, which is much quicker than a new one."""
    args = ["generate.py", *map(str, args)]
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", args),
        mock.patch.object(signal, "signal"),
        mock.patch.object(warnings, "showwarning"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as e,
    ):
        cli.run(command.main)
    assert not check or e.value.code == 0, err.getvalue()
    return CompletedProcess(args, e.value.code, out.getvalue(), err.getvalue())


def test_images_are_those_of_the_network(networks, snapshot, tmp_path):
    """The one test that starts the script itself."""
    options = ["--network", snapshot, "--seeds", "3", "--outdir", tmp_path / "o", "--class", 1, "--trunc", 0.5]
    out = script("generate.py", "images", *options)
    assert out.stdout == f"{tmp_path / 'o'}: 1 images\n"
    z = torch.from_numpy(np.random.RandomState(3).randn(1, 16)).float()
    with torch.no_grad():
        x = networks[1]["G_ema"](z, torch.eye(3)[[1]], truncation_psi=0.5, truncation_cutoff=8, noise_mode="const")[-1]
    expected = ((x[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    with Image.open(tmp_path / "o" / "seed0003.png") as im:
        np.testing.assert_array_equal(np.asarray(im), expected)


@pytest.mark.parametrize("noise", ["const", "random", "none"])
def test_same_seed_same_image_whatever_else_is_asked_for(snapshot, tmp_path, noise):
    for out, seeds in (("a", "0-4,9"), ("b", "9"), ("c", "4,3")):
        generate("images", "--network", snapshot, "--seeds", seeds, "--outdir", tmp_path / out, "--noise-mode", noise)
    assert [p.name for p in sorted((tmp_path / "a").iterdir())] == [f"seed000{i}.png" for i in (0, 1, 2, 3, 4, 9)]
    for out, seed in (("b", 9), ("c", 4), ("c", 3)):
        name = f"seed000{seed}.png"
        assert (tmp_path / out / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


def test_level_and_multiscale_sheet(snapshot, tmp_path):
    generate("images", "--network", snapshot, "--seeds", "0", "--outdir", tmp_path / "o", "--level", 0)
    generate("multiscale", "--network", snapshot, "--seeds", "0-2", "--output", tmp_path / "sheet.png")
    with Image.open(tmp_path / "o" / "seed0000.png") as small, Image.open(tmp_path / "sheet.png") as sheet:
        assert small.size == (4, 4) and sheet.size == (3 * 16, 3 * 16)
        np.testing.assert_array_equal(np.asarray(sheet)[:16, :16], np.asarray(small).repeat(4, 0).repeat(4, 1))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--seeds", "5-3"], "--seeds 5-3: found `5-3`"),
        (["--seeds", "x"], "--seeds x"),
        (["--seeds", "4294967296"], "expected seeds below 2^32"),
        (["--class", 3], "--class 3: expected 0 to 2"),
        (["--level", 3], "--level 3: expected -3 to 2"),
        (["--noise-mode", "loud"], "invalid choice 'loud'"),
        (["--network", "nowhere.safetensors"], "nowhere.safetensors: no such file"),
        (["--trunc", "nan"], "--trunc nan: expected -10 to 10"),
        (["--seeds", "0-4000000000"], "at most 1000000 seeds"),
    ],
)
def test_bad_options_are_one_line(snapshot, tmp_path, args, message):
    out = generate("images", "--network", snapshot, "--outdir", tmp_path / "o", *args, check=False)
    assert out.returncode == 2 and "Traceback" not in out.stderr and not (tmp_path / "o").exists()
    assert [line for line in out.stderr.splitlines() if line.startswith("error:") and message in line]


@pytest.mark.parametrize("kind", FILES)
def test_generate_takes_every_kind(kind, tmp_path):
    """The pixels are those of the network: its own psi and stored noise."""
    file = FILES[kind][1 if kind == "msg_progan" else 0]
    generate("images", "--network", file, "--seeds", "3", "--outdir", tmp_path)
    generate("multiscale", "--network", file, "--seeds", "0-1", "--output", tmp_path / "sheet.png")
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
    out = generate("images", "--network", make(tmp_path / "x.pkl"), "--outdir", tmp_path / "o", check=False)
    assert out.returncode == 2 and "Traceback" not in out.stderr and not (tmp_path / "o").exists()
    assert len([line for line in out.stderr.splitlines() if line.startswith("error:") and message in line]) == 1


def test_sheets_are_png_files(snapshot, tmp_path):
    out = generate("multiscale", "--network", snapshot, "--output", tmp_path / "sheet.jpg", check=False)
    assert out.returncode == 2 and "sheet.jpg: expected a file name that ends in .png" in out.stderr
    assert not (tmp_path / "sheet.jpg").exists()
