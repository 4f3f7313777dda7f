"""Pictures of seeds, by the commands of generate.py."""

import io
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from generation.sampling import Sampler, SamplingOptions
from pretrained import load_network
from tests.generation.commands import generate
from tests.pretrained.test_command import BMSG, FILES
from tests.runs import ENV, ROOT, script
from training import pyramid


def test_images_are_those_of_the_network(networks, snapshot, tmp_path):
    """The one test that starts the script itself."""
    options = ["--network", snapshot, "--seeds", "3", "--outdir", tmp_path / "o", "--class", 1, "--trunc", 0.5]
    options += ["--batch", 1]  # as below, since the size of a batch has an effect on the last bit
    out = script("generate.py", "images", *options)
    assert out.stdout == f"{tmp_path / 'o'}: 1 image\n"
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
        (["--noise-mode", "loud"], "--noise-mode loud: expected one of const, none, random"),
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
    generate("images", "--network", file, "--seeds", "3", "--outdir", tmp_path, "--batch", 1)
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


def pixels(path):
    with Image.open(path) as im:
        return np.asarray(im).astype(int)


def test_a_grid_a_folder_and_a_zip_hold_the_same_images(snapshot, tmp_path):
    options = ["--network", snapshot, "--seeds", "0-4"]
    generate("images", *options, "--outdir", tmp_path / "o")
    generate("images", *options, "--output", tmp_path / "grid.png", "--grid", "3x2")
    out = generate("images", *options, "--output", tmp_path / "new" / "all.zip")
    assert out.stdout == f"{tmp_path / 'new' / 'all.zip'}: 5 images\n"

    grid = pixels(tmp_path / "grid.png")
    assert grid.shape == (32, 48, 3) and (grid[16:, 32:] == 255).all()
    sampler = Sampler(SamplingOptions(network=str(snapshot), device="cpu"))
    samples = list(sampler.draw(sampler.latents(range(5))))
    with zipfile.ZipFile(tmp_path / "new" / "all.zip") as archive:
        assert archive.namelist() == [f"seed000{i}.png" for i in range(5)] + ["latents.npz"]
        latents = np.load(io.BytesIO(archive.read("latents.npz")))
        assert list(latents["names"]) == [f"seed000{i}" for i in range(5)]
        for key, expected in (("z", [s.latent.z for s in samples]), ("w", [s.w for s in samples])):
            assert np.array_equal(latents[key], expected)
        assert latents["c"].shape == (5, 3) and (latents["c"].sum(1) == 1).all()

        generate("images", "--network", snapshot, "--latents", tmp_path / "new" / "all.zip", "--outdir", tmp_path / "l")
        for i in range(5):
            image = pixels(tmp_path / "o" / f"seed000{i}.png")
            y, x = divmod(i, 3)
            assert np.array_equal(grid[16 * y : 16 * y + 16, 16 * x : 16 * x + 16], image)
            assert archive.read(f"seed000{i}.png") == (tmp_path / "l" / f"seed000{i}.png").read_bytes()
            assert archive.read(f"seed000{i}.png") == (tmp_path / "o" / f"seed000{i}.png").read_bytes()


@pytest.mark.parametrize(("suffix", "kind"), [("jpg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")])
def test_formats(snapshot, tmp_path, suffix, kind):
    generate("images", "--network", snapshot, "--seeds", "0", "--outdir", tmp_path, "--format", suffix)
    generate("images", "--network", snapshot, "--seeds", "0", "--output", tmp_path / f"grid.{suffix}")
    for name in ("seed0000", "grid"):
        with Image.open(tmp_path / f"{name}.{suffix}") as im:
            assert im.format == kind and im.size == (16, 16)


def test_only_noise_and_a_random_state(snapshot, tmp_path):
    generate("images", "--network", snapshot, "--seeds", "3-5", "--only-noise", "--outdir", tmp_path / "noise")
    images = [pixels(path) for path in sorted((tmp_path / "noise").iterdir())]
    sampler = Sampler(SamplingOptions(network=str(snapshot), noise_mode="random", device="cpu"))
    latents = [sampler.latent(3)._replace(noise_seed=seed) for seed in (3, 4, 5)]
    for image, sample in zip(images, sampler.draw(latents), strict=True):
        assert np.array_equal(image, sample.images[-1].transpose(1, 2, 0))
    assert not np.array_equal(images[0], images[1])

    state = ["--random-state", 5, "--num-samples", 2]
    generate("images", "--network", snapshot, *state, "--outdir", tmp_path / "state")
    assert [path.name for path in sorted((tmp_path / "state").iterdir())] == ["sample0000.png", "sample0001.png"]


def test_files_that_exist_are_replaced_only_with_overwrite(snapshot, tmp_path):
    options = ["images", "--network", snapshot, "--seeds", "0-1"]
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "seed0001.png").write_bytes(b"mine")
    out = generate(*options, "--outdir", tmp_path / "o", check=False)
    assert (
        out.returncode == 2 and "seed0001.png exists already, choose another folder, or add --overwrite" in out.stderr
    )
    assert [path.read_bytes() for path in (tmp_path / "o").iterdir()] == [b"mine"]

    generate(*options, "--outdir", tmp_path / "o", "--overwrite")
    assert pixels(tmp_path / "o" / "seed0001.png").shape == (16, 16, 3)


def test_an_interrupted_command_leaves_whole_files_only(snapshot, tmp_path):
    """SIGINT after some images: those that are there are whole, and a zip does not appear."""
    for output in (["--outdir", tmp_path / "o"], ["--output", tmp_path / "all.zip"]):
        command = [sys.executable, "generate.py", "images", "--network", snapshot, "--seeds", "0-99999", *output]
        process = subprocess.Popen([*map(str, command)], cwd=ROOT, env=ENV, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while not any(tmp_path.glob("o/seed00*.png" if "--outdir" in output else ".all.zip*")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 130 and errors.endswith(b"interrupted\n")

    assert not list(tmp_path.glob("*.zip")) and not list(tmp_path.glob(".*"))
    written = list((tmp_path / "o").iterdir())
    assert 0 < len(written) < 100000
    for path in written:
        assert path.suffix == ".png" and pixels(path).shape == (16, 16, 3)


def test_multiscale_as_a_tower_in_columns_and_as_files(snapshot, tmp_path):
    options = ["multiscale", "--network", snapshot, "--seeds", "0-1"]
    generate(*options, "--columns", 1, "--own-size", "--output", tmp_path / "tower.png")
    tower = pixels(tmp_path / "tower.png")
    assert tower.shape == (16 + 8 + 4, 32, 3)
    assert (tower[16:24, :4] == 255).all() and (tower[24:, :6] == 255).all()  # smaller levels stand in the middle

    generate(*options, "--level", "0,-1", "--outdir", tmp_path / "o", "--format", "webp")
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["seed0000.webp", "seed0001.webp"]
    with Image.open(tmp_path / "o" / "seed0000.webp") as im:
        assert im.size == (32, 16)

    generate("images", *options[1:], "--outdir", tmp_path / "images")
    generate(*options, "--columns", 2, "--output", tmp_path / "columns.png")
    columns = pixels(tmp_path / "columns.png")
    assert columns.shape == (64, 32, 3)
    for k in range(2):
        assert np.array_equal(tower[:16, 16 * k : 16 * k + 16], pixels(tmp_path / "images" / f"seed000{k}.png"))
        assert np.array_equal(columns[32 * k + 16 : 32 * k + 32, :16], tower[:16, 16 * k : 16 * k + 16])


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [
        ("images", ["--grid", "2x2", "--output", "grid.png"], "--grid 2x2: room for 4 images, expected at least 16"),
        ("images", ["--grid", "9x9"], "--grid 9x9: expected --output with the name of a picture as well"),
        ("images", ["--output", "x.zip", "--grid", "4x4"], "--grid 4x4: expected --output with the name of a picture"),
        ("images", ["--output", "x.png", "--format", "jpg"], "--format jpg: the name x.png decides already"),
        ("images", ["--snapshot", "5"], "is no run dir, which it would choose from"),
        ("multiscale", ["--format", "jpg"], "--format jpg: expected --outdir as well"),
        ("images", ["--output", "x.tar"], "x.tar: expected a name that ends in one of .png"),
        ("images", ["--format", "bmp"], "--format bmp: expected one of jpg, npy, png, webp"),
        ("images", ["--batch", "0"], "--batch 0: expected 1 to 4096"),
        ("multiscale", ["--output", "x.gif"], "x.gif: expected a name that ends in one of .png"),
        ("multiscale", ["--level", "7"], "--level 7: expected -3 to 2"),
        ("multiscale", ["--columns", "0"], "--columns 0: expected >= 1"),
        ("multiscale", ["--outdir", "file"], "--outdir file: a file, expected a folder"),
    ],
)
def test_more_bad_options_are_one_line(snapshot, tmp_path, monkeypatch, command, args, message):
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("file").touch()
    out = generate(command, "--network", snapshot, *args, check=False)
    assert out.returncode == 2 and "Traceback" not in out.stderr
    assert [line for line in out.stderr.splitlines() if line.startswith("error:") and message in line]
    assert [path.name for path in folder.iterdir()] == ["file"]
