"""The one place where a seed becomes an image."""

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from generation.sampling import SamplingOptions, parse_seeds, sample
from pretrained import load_network
from tests.golden_data import GOLDEN
from training import pyramid

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


def draw(seed, **options):
    [(_, images)] = sample(SamplingOptions(network=NETWORK, device="cpu", **options), [seed])
    return images


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_images_are_the_whole_pyramid_of_the_network():
    G = load_network(NETWORK).generator()
    z, c = torch.from_numpy(np.random.RandomState(5).randn(1, G.cfg.z_dim)).float(), torch.eye(3)[[2]]
    with torch.no_grad():
        expected = G(z, c, truncation_psi=0.5, truncation_cutoff=2, noise_mode="const")
    images = draw(5, class_idx=2, trunc=0.5, cutoff=2)
    assert [image.shape for image in images] == [(G.spec.channels, r, r) for r in G.spec.resolutions]
    assert same(images, [pyramid.to_uint8(image)[0].numpy() for image in expected])


def test_truncation_is_that_of_the_network_unless_given():
    cfg = load_network(NETWORK).generator().cfg
    assert same(draw(1), draw(1, trunc=cfg.truncation_psi, cutoff=cfg.truncation_cutoff))
    assert not same(draw(1), draw(1, trunc=1.0))
    assert same(draw(1, trunc=0.0, cutoff=99, class_idx=0), draw(2, trunc=0.0, cutoff=99, class_idx=0))  # the mean


def test_the_class_follows_from_the_seed_unless_given():
    for seed in range(3):
        rng = np.random.RandomState(seed)
        rng.randn(1, load_network(NETWORK).generator().cfg.z_dim)
        assert same(draw(seed), draw(seed, class_idx=rng.randint(3)))
    assert not same(draw(0, class_idx=0), draw(0, class_idx=1))


def test_noise_is_stored_random_or_none():
    images = [draw(0, noise_mode=mode) for mode in ("const", "random", "none")]
    assert not same(images[0], images[1]) and not same(images[0], images[2]) and not same(images[1], images[2])


def test_an_unconditional_network_has_no_class():
    options = SamplingOptions(network=str(GOLDEN / "stylegan_tf" / "sg1_network-final.pkl"), class_idx=0)
    with pytest.raises(UserError, match="--class 0: expected no --class: the network is unconditional"):
        sample(options, [0])


def test_the_network_is_opened_before_the_first_image_is_asked_for():
    with pytest.raises(UserError, match="no such file"):
        sample(SamplingOptions(network="nowhere.safetensors"), [0])
