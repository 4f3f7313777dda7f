"""Films of walks through latent space."""

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from generation.sampling import SamplingOptions, sample
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
    for seed, frame in ((0, shown[0]), (1, shown[4])):
        [(_, levels)] = sample(options(), [seed])
        assert np.abs(frame - levels[-1].transpose(1, 2, 0)).max() <= 1


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
    shown = film(tmp_path, PROGAN, level=0, size=4)
    assert shown[0].shape == (4, 4, 3)


@pytest.mark.parametrize("name", ["walk.mp4", "walk.gif", "walk.webm"])
def test_the_suffix_chooses_the_container(tmp_path, name):
    film_options = {"seeds": "0-1", "frames": 4, "size": 32, "output": tmp_path / name}
    interpolate(sampling=options(), **film_options)
    assert (tmp_path / name).stat().st_size > 100
    with pytest.raises(UserError, match="exists already, expected a new name, or --overwrite"):
        interpolate(sampling=options(), **film_options)
    interpolate(sampling=options(), **film_options, overwrite=True)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"frames": 0}, "--frames 0: expected >= 1"),
        ({"fps": 0.0}, "--fps 0.0: expected more than 0"),
        ({"size": 0}, "--size 0: expected 1 to 4096"),
        ({"grid": "0x2"}, "--grid 0x2: expected columns and rows such as 4x2"),
        ({"level": 4}, "--level 4: expected -4 to 3"),
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
