"""Films of walks through latent space."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from dnnlib.errors import UserError
from generation.sampling import Sampler, SamplingOptions
from generation.videos import interpolate
from tests.golden_data import GOLDEN

NETWORK = str(GOLDEN / "c2_network-final.pkl")
PROGAN = str(GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_SHADOW_1.pth")


def options(network=NETWORK, **changes):
    return SamplingOptions(network=network, device="cpu", class_idx=1 if network == NETWORK else None, **changes)


def frames(folder):
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(folder.iterdir())]


def film(tmp_path, network=NETWORK, **changes):
    arguments = {"seeds": "0-1", "frames": 8, "fps": 8, "smoothing": 0.25, "size": 8, "output": tmp_path / "film"}
    interpolate(sampling=options(network), **{**arguments, **changes})
    return frames(tmp_path / "film")


@pytest.mark.parametrize("walk", ["spline", "slerp"])
def test_a_walk_passes_through_its_seeds(tmp_path, walk):
    shown = film(tmp_path, walk=walk)
    assert len(shown) == 8
    sampler = Sampler(options())
    for sample, frame in zip(sampler.draw(sampler.latents([0, 1])), (shown[0], shown[4]), strict=True):
        assert np.abs(frame - sample.images[-1].transpose(1, 2, 0)).max() <= 1


@pytest.mark.parametrize("walk", ["spline", "slerp", "gauss"])
def test_a_walk_moves_in_small_steps_and_returns(tmp_path, walk):
    shown = film(tmp_path, walk=walk, frames=24, fps=24)
    steps = [np.abs(a - b).mean() for a, b in zip(shown, shown[1:] + shown[:1], strict=True)]
    farthest = max(np.abs(shown[0] - frame).mean() for frame in shown)
    assert 0 < max(steps) < 0.6 * farthest


def test_a_grid_has_a_walk_in_each_cell_at_the_size_asked_for(tmp_path):
    shown = film(tmp_path, grid="2x1", size=40)
    assert shown[0].shape == (64, 128, 3)  # 32x32, enlarged by a whole factor
    # The walk of the second cell starts at the second seed.
    assert np.abs(shown[0][:, 64:] - shown[4][:, :64]).max() <= 1


def test_a_network_without_styles_walks_too_at_any_level(tmp_path):
    shown = film(tmp_path, PROGAN, level="0", size=4)
    assert shown[0].shape == (4, 4, 3)


def test_several_levels_of_a_walk_stand_in_columns(tmp_path):
    shown = film(tmp_path, level="0,-1", size=32)
    assert shown[0].shape == (32, 64, 3)
    assert np.array_equal(shown[0][::8, :32:8], shown[0][7::8, 7:32:8])  # 4x4, enlarged
    [alone] = film(tmp_path / "alone", level="-1", size=32, frames=1, smoothing=0.1)
    assert np.array_equal(shown[0][:, 32:], alone)


def test_a_film_of_noise_stays_at_one_latent(tmp_path):
    shown = film(tmp_path, only_noise=True, seeds="3", frames=4)
    assert all(not np.array_equal(shown[0], frame) for frame in shown[1:])
    sampler = Sampler(options(noise_mode="random"))
    expected = next(sampler.render(sampler.map([sampler.latent(3)]), [2]))[-1]
    assert np.array_equal(shown[2], expected.transpose(1, 2, 0))


def test_a_walk_of_gauss_is_that_of_the_original(tmp_path):
    """latent_space_interpolation_video.py: --random_state 5, 2 points, 4 transition points, smoothing 1."""
    [first, *_] = film(tmp_path, walk="gauss", seeds="5", smoothing=0.5)
    noise = np.random.RandomState(5).randn(8, Sampler(options()).G.cfg.z_dim)
    z = gaussian_filter(noise, [4.0, 0], mode="wrap")[0]
    z *= np.sqrt(len(z)) / np.linalg.norm(z)
    sampler = Sampler(options())
    [sample] = sampler.draw([sampler.latent(5)._replace(z=z)])
    assert np.abs(first - sample.images[-1].transpose(1, 2, 0)).max() <= 1


@pytest.mark.parametrize("name", ["walk.mp4", "walk.gif", "walk.webm"])
def test_the_suffix_chooses_the_container(tmp_path, name):
    film_options = {"seeds": "0-1", "frames": 4, "size": 32, "output": tmp_path / name}
    interpolate(sampling=options(), **film_options)
    assert (tmp_path / name).stat().st_size > 100
    with pytest.raises(UserError, match="exists already, choose another name, or add --overwrite"):
        interpolate(sampling=options(), **film_options)
    interpolate(sampling=options(), **film_options, overwrite=True)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"frames": 0}, "--frames 0: expected 1 to 1000000"),
        ({"fps": 0.0}, "--fps 0: expected 0.1 to 240"),
        ({"size": 0}, "--size 0: expected 1 to 4096"),
        ({"columns": 0}, "--columns 0: expected >= 1"),
        ({"grid": "99x1", "size": 128}, "--grid 99x1, --size 128: frames of 12672x128 pixels"),
        ({"grid": "0x2"}, "--grid 0x2: expected columns and rows such as 4x2"),
        ({"level": "4"}, "--level 4: expected -4 to 3"),
        ({"walk": "gauss", "grid": "3x1"}, "--seeds 0-1: 2 seeds, expected one for each of the 3 walks"),
        ({"walk": "gauss", "smoothing": 9.0}, "--smoothing 9.0: expected more than 0, at most the 1 seconds"),
        (
            {"output": "walk.avi"},
            "--output .*walk.avi: expected a name that ends in one of .mp4",
        ),
    ],
)
def test_options_that_make_no_film_are_refused(tmp_path, arguments, message):
    output = tmp_path / arguments.pop("output", "film.mp4")
    arguments = {"seeds": "0-1", "frames": 8, "fps": 8, **arguments}
    with pytest.raises(UserError, match=message):
        interpolate(sampling=options(), output=output, **arguments)
    assert not list(tmp_path.iterdir())
