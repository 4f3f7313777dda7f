"""The table of style mixing."""

import numpy as np
import pytest
from PIL import Image

from dnnlib.errors import UserError
from generation.mixing import mix
from generation.sampling import Sampler, SamplingOptions
from tests.golden_data import GOLDEN

NETWORK = str(GOLDEN / "c2_network-final.pkl")


def options(network=NETWORK):
    return SamplingOptions(network=network, device="cpu", class_idx=1 if network == NETWORK else None)


def table(path, **arguments):
    """Return the cells of a table of two rows and three columns, [3,4,h,w,C]."""
    mix(sampling=options(), rows="0-1", columns="2-4", output=path, **arguments)
    pixels = np.asarray(Image.open(path)).astype(int)
    return pixels.reshape(3, 32, 4, 32, 3).transpose(0, 2, 1, 3, 4)


def image(seed):
    sampler = Sampler(options())
    [sample] = sampler.draw([sampler.latent(seed)])
    return sample.images[-1].transpose(1, 2, 0).astype(int)


def near(a, b):
    return np.abs(a - b).max() <= 1


def test_the_first_row_and_column_are_the_seeds(tmp_path):
    cells = table(tmp_path / "mix.png", layers="0-1")
    assert (cells[0, 0] == 255).all()
    assert all(near(cells[0, 1 + k], image(2 + k)) for k in range(3))
    assert all(near(cells[1 + k, 0], image(k)) for k in range(2))


def test_layers_decide_whom_a_mixture_follows(tmp_path):
    cells = table(tmp_path / "all.png", layers="0-7")
    assert all(near(cells[1 + i, 1 + k], cells[0, 1 + k]) for i in range(2) for k in range(3))

    cells = table(tmp_path / "some.png", layers="2-3")
    assert not near(cells[1, 1], cells[0, 1]) and not near(cells[1, 1], cells[1, 0])


def test_each_row_may_mix_other_layers(tmp_path):
    cells = table(tmp_path / "rows.png", layers="0-1,4-5")
    first, second = table(tmp_path / "a.png", layers="0-1"), table(tmp_path / "b.png", layers="4-5")
    assert np.array_equal(cells[1], first[1]) and np.array_equal(cells[2], second[2])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"layers": "0-8"}, "--layers 0-8: expected layers or ranges such as 0-3, of the layers 0 to 7"),
        ({"layers": "3-1"}, "--layers 3-1: expected"),
        ({"layers": "fine"}, "--layers fine: expected"),
        ({"layers": "0-1,2-3,4-5"}, "3 ranges, expected one, or one for each of the 4 rows"),
        ({"rows": "x"}, "--rows x: found `x`"),
        ({"level": 9}, "--level 9: expected -4 to 3"),
    ],
)
def test_layers_and_seeds_that_are_refused(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        mix(sampling=options(), output=tmp_path / "mix.png", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_network_without_styles_cannot_mix(tmp_path):
    network = str(GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_SHADOW_1.pth")
    with pytest.raises(UserError, match="mix: this network has no styles to mix"):
        mix(sampling=options(network), output=tmp_path / "mix.png")
