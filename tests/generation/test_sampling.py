"""The one place where a seed becomes an image."""

import numpy as np
import pytest

from dnnlib.errors import UserError
from generation.sampling import SamplingOptions, parse_seeds, sample
from tests.golden_data import GOLDEN

NETWORK = str(GOLDEN / "c2_network-final.pkl")


def test_parse_seeds():
    assert parse_seeds("0-3,20, 7") == [0, 1, 2, 3, 20, 7]


@pytest.mark.parametrize("text", ["5-3", "x", "4294967296", "0-4000000000", ""])
def test_seeds_that_are_refused(text):
    with pytest.raises(UserError, match="--seeds"):
        parse_seeds(text)


@pytest.mark.parametrize("noise_mode", ["const", "random", "none"])
def test_a_seed_is_an_image_whatever_else_is_drawn(noise_mode):
    options = SamplingOptions(network=NETWORK, noise_mode=noise_mode, device="cpu")
    many = dict(sample(options, [0, 4, 9]))
    [(_, alone)] = sample(options, [9])
    for a, b in zip(many[9], alone, strict=True):
        assert a.dtype == np.uint8 and np.array_equal(a, b)


@pytest.mark.parametrize(("name", "value"), [("trunc", float("nan")), ("trunc", 11.0), ("cutoff", -1)])
def test_options_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"--{name}"):
        SamplingOptions(network=NETWORK, **{name: value})


def test_class_out_of_range_is_refused():
    with pytest.raises(UserError, match="--class 3: expected 0 to 2"):
        sample(SamplingOptions(network=NETWORK, class_idx=3), [0])
