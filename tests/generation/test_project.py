"""The command that finds images in a network."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from generation.latent_files import read_latents
from metrics.detectors.detector import DetectorOptions
from tests.generation.commands import generate
from tests.golden_data import GOLDEN

NOISY = ["--network", str(GOLDEN / "c2_network-final.pkl"), "--device", "cpu"]
PROGAN = ["--network", str(GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_SHADOW_1.pth"), "--device", "cpu"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """An image of the network's size, a wide one, a gray one with transparency, and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / "exact.png")
    Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8)).save(folder / "wide.jpg")
    Image.fromarray(rng.integers(0, 256, (64, 64, 2), np.uint8), "LA").save(folder / "clear.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    return folder


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_images_of_any_kind_are_found(photos, tmp_path):
    paths = [photos / name for name in ("exact.png", "wide.jpg", "clear.png")]
    out = generate("project", *paths, *NOISY, "--steps", 3, "--batch", 2, "--outdir", tmp_path / "p")

    # What was done to images of other sizes, and how close they came.
    assert f"{photos}/wide.jpg: 120x90, its middle resized to 32x32" in out.stdout
    assert f"{photos}/clear.png: 64x64, resized to 32x32" in out.stdout
    assert "exact.png:" not in out.stdout
    for name in ("exact", "wide", "clear"):
        [line] = [line for line in out.stdout.splitlines() if line.startswith(f"{name}: PSNR")]
        assert " dB; error in relation to the variance: 4x4 " in line and ", 32x32 " in line

    # The sheet has the given images above the others.
    sheet = pixels(tmp_path / "p" / "compare.png")
    factor = sheet.shape[1] // 96
    assert np.array_equal(sheet[: 32 * factor : factor, : 32 * factor : factor], pixels(photos / "exact.png"))
    assert np.array_equal(sheet[32 * factor :: factor, : 32 * factor : factor], pixels(tmp_path / "p" / "exact.png"))


@pytest.mark.parametrize("options", [[], ["--noise-mode", "none"], ["--search-noise"], ["--space", "w", "--class", 1]])
def test_saved_latents_give_the_same_picture(photos, tmp_path, options):
    generate("project", photos / "exact.png", *NOISY, "--steps", 3, "--outdir", tmp_path / "p", *options)
    stored = read_latents(tmp_path / "p" / "latents.npz")
    assert list(stored.names) == ["exact"] and len(stored.noise) == (8 if "--search-noise" in options else 0)

    again = ["--noise-mode", "none"] if "none" in options else []
    generate("images", *NOISY, *again, "--latents", tmp_path / "p" / "latents.npz", "--outdir", tmp_path / "again")
    difference = np.abs(pixels(tmp_path / "again" / "exact.png") - pixels(tmp_path / "p" / "exact.png"))
    assert difference.max() <= 1


def test_noise_of_another_network_is_refused(photos, tmp_path):
    generate("project", photos / "exact.png", *NOISY, "--steps", 1, "--search-noise", "--outdir", tmp_path)
    with np.load(tmp_path / "latents.npz") as arrays:
        kept = {name: array for name, array in arrays.items() if name != "noise7"}
    file = io.BytesIO()
    np.savez(file, **kept)
    (tmp_path / "other.npz").write_bytes(file.getvalue())
    out = generate("images", *NOISY, "--latents", tmp_path / "other.npz", "--outdir", tmp_path / "i", check=False)
    assert out.returncode == 2 and "noise of another network: 7 layers, expected 8" in out.stderr


def test_a_film_shows_the_way(photos, tmp_path):
    generate("project", photos / "exact.png", *PROGAN, "--steps", 5, "--film", "--outdir", tmp_path)
    with av.open(str(tmp_path / "exact.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 6 and frames[0].shape == (256, 512, 3)

    # The given image, on the left, stays.
    assert np.abs(frames[0][:, :256].astype(int) - frames[-1][:, :256]).mean() < 3
    assert np.abs(frames[0][:, 256:].astype(int) - frames[-1][:, 256:]).mean() > 3


def test_the_perceptual_distance_is_lpips(photos, tmp_path, monkeypatch):
    random = lambda detector_dir: DetectorOptions(random_detectors=True)  # noqa: E731
    monkeypatch.setattr("generation.project.DetectorOptions", random)
    for weight in (0, 1):
        options = ["--perceptual", weight, "--outdir", tmp_path / str(weight)]
        generate("project", photos / "exact.png", *NOISY, "--steps", 3, *options)
    w = [read_latents(tmp_path / str(weight) / "latents.npz").w for weight in (0, 1)]
    assert not np.array_equal(*w)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected"),
        (["broken.png"], "broken.png: not a readable image"),
        (["missing.png"], "missing.png: not a readable image"),
        (["exact.png", "exact.png"], "exact cannot be the name of one image"),
        (["exact.png", "--steps", 0], "--steps 0: expected 1 to 100000"),
        (["exact.png", "--trunc", 0.7], "--trunc: latents are searched"),
        (["exact.png", "--noise-mode", "random"], "--noise-mode random: expected const, none, or --search-noise"),
        (["exact.png", "--level", 9], "--level 9: expected -4 to 3"),
        (["exact.png", "--class", 9], "--class 9: expected 0 to"),
        (["exact.png", "--perceptual", -1], "--perceptual -1: expected 0 to"),
    ],
)
def test_wrong_input_is_one_line(photos, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(photos)
    out = generate("project", *arguments, *NOISY, "--outdir", tmp_path / "p", check=False)
    assert out.returncode == 2 and message in out.stderr and out.stderr.count("\n") == 1
    assert not (tmp_path / "p").exists()


def test_a_network_without_noise_has_none_to_search(photos, tmp_path):
    out = generate("project", photos / "exact.png", *PROGAN, "--search-noise", "--outdir", tmp_path, check=False)
    assert out.returncode == 2 and "--search-noise: this network has no noise inputs" in out.stderr


def test_files_are_not_overwritten(photos, tmp_path):
    (tmp_path / "compare.png").write_bytes(b"")
    out = generate("project", photos / "exact.png", *NOISY, "--outdir", tmp_path, check=False)
    assert out.returncode == 2 and "compare.png exists already" in out.stderr
