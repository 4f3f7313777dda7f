"""The command that shows directions, and films that follow them."""

import av
import numpy as np
import pytest
from PIL import Image

from generation.latent_directions import read_directions
from generation.sampling import Sampler, SamplingOptions
from tests.generation.commands import generate
from tests.golden_data import GOLDEN

NETWORK = str(GOLDEN / "c2_network-final.pkl")
OPTIONS = ["--network", NETWORK, "--device", "cpu", "--class", 1, "--size", 32]


def cells(path):
    pixels = np.asarray(Image.open(path)).astype(int)
    height, width, _ = pixels.shape
    return pixels.reshape(height // 32, 32, width // 32, 32, 3).transpose(0, 2, 1, 3, 4)


def image(seed):
    sampler = Sampler(SamplingOptions(network=NETWORK, device="cpu", class_idx=1))
    [sample] = sampler.draw([sampler.latent(seed)])
    return sample.images[-1].transpose(1, 2, 0).astype(int)


def frames(path):
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(video=0)]


@pytest.mark.parametrize("method", ["sefa", "ganspace"])
def test_strips_have_the_image_in_the_middle(tmp_path, method):
    options = ["--method", method, "--components", "0,3", "--seeds", "2,5", "--steps", 5, "--strength", 2]
    generate("directions", *OPTIONS, *options, "--output", tmp_path / "d.png")
    found = cells(tmp_path / "d.png")
    assert found.shape[:2] == (4, 5)

    # All directions begin at the same image, with the noise of the first one, and lead elsewhere.
    assert np.abs(found[0, 2] - image(2)).max() <= 1
    assert np.abs(found[2, 2] - found[0, 2]).max() <= 1 and np.abs(found[3, 2] - found[1, 2]).max() <= 1
    assert np.abs(found[0, 0] - found[0, 4]).max() > 1 and np.abs(found[0, 0] - found[2, 0]).max() > 1


def test_films_swing_there_and_back(tmp_path):
    options = ["--components", "0-1", "--seeds", "0-2", "--frames", 8, "--strength", 20]
    generate("directions", *OPTIONS, *options, "--output", tmp_path / "frames")
    found = [np.asarray(Image.open(path)).astype(int) for path in sorted((tmp_path / "frames").iterdir())]
    assert len(found) == 8 and found[0].shape == (64, 96, 3)
    assert np.abs(found[4] - found[0]).max() <= 1 and np.abs(found[3] - found[1]).max() <= 1
    assert np.abs(found[2] - found[0]).max() > 1 and np.abs(found[2] - found[6]).max() > 1


def test_saved_directions_lead_the_films_of_interpolate(tmp_path):
    save = tmp_path / "new" / "d.npz"
    generate("directions", *OPTIONS, "--layers", "2-3", "--output", tmp_path / "d.png", "--save", save)
    assert list(read_directions(save, Sampler(SamplingOptions(network=NETWORK, device="cpu"))).layers) == [2, 3]

    walk = [
        "--walk",
        "direction",
        "--directions",
        save,
        "--component",
        1,
        "--strength",
        20,
        "--seeds",
        "4",
        "--size",
        32,
    ]
    network = OPTIONS[:6]
    generate("interpolate", *network, *walk, "--frames", 8, "--output", tmp_path / "frames")
    found = [np.asarray(Image.open(path)).astype(int) for path in sorted((tmp_path / "frames").iterdir())]
    assert np.abs(found[0] - image(4)).max() <= 1 and np.abs(found[4] - found[0]).max() <= 1
    assert np.abs(found[2] - found[0]).max() > 1

    # Real films as well.
    generate("interpolate", *network, *walk, "--frames", 4, "--output", tmp_path / "w.webm")
    generate("directions", *OPTIONS, "--frames", 4, "--output", tmp_path / "d.mp4")
    assert len(frames(tmp_path / "w.webm")) == len(frames(tmp_path / "d.mp4")) == 4


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("directions", ["--components", "0-999"], "--components 0-999: expected 0 to"),
        ("directions", ["--layers", "0-8"], "--layers 0-8: expected layers or ranges"),
        ("directions", ["--layers", "0-1,2-3"], "--layers 0-1,2-3: expected layers or ranges"),
        ("directions", ["--strength", 0], "--strength 0: expected more than 0"),
        ("directions", ["--steps", 1], "--steps 1: expected 2 to 1000"),
        ("directions", ["--frames", 0], "--frames 0: expected 1 to"),
        ("directions", ["--output", "x.txt"], "--output x.txt: expected a name that ends in"),
        ("directions", ["--save", "x.png"], "--save x.png: expected a name that ends in one of .npz"),
        ("directions", ["--level", 9], "--level 9: expected -4 to 3"),
        ("directions", ["--size", 4096, "--steps", 100], "--components, --seeds, --steps, --size: frames of"),
        ("interpolate", ["--walk", "direction"], "--walk direction: expected --directions FILE"),
        ("interpolate", ["--directions", "d.npz"], "--walk spline: expected --directions FILE"),
        ("interpolate", ["--walk", "direction", "--directions", "none.npz"], "none.npz: cannot read"),
        ("interpolate", ["--walk", "direction", "--directions", "d.npz", "--only-noise"], "--only-noise: it stays at"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, monkeypatch, command, arguments, message):
    monkeypatch.chdir(tmp_path)
    out = generate(command, *OPTIONS[:6], *arguments, check=False)
    assert out.returncode == 2 and message in out.stderr and out.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
