"""The one place where a seed becomes an image."""

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from generation.sampling import Sampler, SamplingOptions
from pretrained import load_network
from tests.golden_data import GOLDEN
from training import pyramid

NETWORK = str(GOLDEN / "c2_network-final.pkl")


def sample(options, seeds):
    """Return the pyramid of each seed."""
    sampler = Sampler(options)
    return [drawn.images for drawn in sampler.draw(sampler.latents(seeds))]


@pytest.mark.parametrize("noise_mode", ["const", "random", "none"])
@pytest.mark.parametrize("batch", [None, 1, 2, 3])
def test_a_seed_gives_the_same_bits_whatever_else_is_drawn(noise_mode, batch):
    options = SamplingOptions(network=NETWORK, noise_mode=noise_mode, device="cpu", batch=batch)
    many = sample(options, [0, 4, 9, 11, 12])
    [alone] = sample(options, [9])
    assert all(image.dtype == np.uint8 for image in alone)
    assert same(many[2], alone)


@pytest.mark.parametrize("noise_mode", ["const", "random"])
def test_the_size_of_batches_changes_no_picture(noise_mode):
    drawn = [
        sample(SamplingOptions(network=NETWORK, noise_mode=noise_mode, device="cpu", batch=batch), range(5))
        for batch in (1, 2, 5, 16)
    ]
    for other in drawn[1:]:
        for a, b in zip(drawn[0], other, strict=True):
            differences = np.concatenate([np.abs(x.astype(int) - y).ravel() for x, y in zip(a, b, strict=True)])
            assert differences.max() <= 1 and differences.mean() < 1e-2


def test_mapped_latents_render_to_the_same_images():
    sampler = Sampler(SamplingOptions(network=NETWORK, noise_mode="random", device="cpu", batch=4))
    latents = list(sampler.latents(range(6)))
    drawn = list(sampler.draw(latents))
    w = sampler.map(latents)
    assert np.array_equal(w.numpy(), np.stack([each.w for each in drawn]))
    rendered = sampler.render(w, [latent.noise_seed for latent in latents])
    assert all(same(a.images, b) for a, b in zip(drawn, rendered, strict=True))


def test_random_state_draws_one_latent_after_the_other():
    """The latents of generate_samples.py of msg-stylegan-tf, which scales them."""
    sampler = Sampler(SamplingOptions(network=NETWORK, device="cpu", class_idx=0))
    expected = np.random.RandomState(33).randn(7, sampler.G.cfg.z_dim)
    expected /= np.sqrt(np.square(expected).mean(1, keepdims=True))
    np.testing.assert_allclose([latent.z for latent in sampler.random_state(33, 7)], expected, rtol=1e-12)


def test_noise_in_some_layers_only():
    sampler = Sampler(SamplingOptions(network=NETWORK, noise_mode="random", device="cpu", class_idx=0))
    w = sampler.map([sampler.latent(1)])
    [whole], [none], [coarse] = (list(sampler.render(w, [5], layers)) for layers in (None, (), range(2)))
    [without] = sample(SamplingOptions(network=NETWORK, noise_mode="none", device="cpu", class_idx=0), [1])
    assert same(none, without) and not same(whole, none)
    assert np.array_equal(coarse[0], whole[0]) and not np.array_equal(coarse[-1], whole[-1])


@pytest.mark.parametrize(
    ("name", "value"), [("trunc", float("nan")), ("trunc", 11.0), ("trunc_cutoff", -1), ("batch", 0)]
)
def test_options_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')}"):
        SamplingOptions(network=NETWORK, **{name: value})


def test_words_that_options_do_not_have_are_refused():
    with pytest.raises(ValueError, match="noise_mode loud: expected one of const, random, none"):
        SamplingOptions(noise_mode="loud")


def test_class_out_of_range_is_refused():
    with pytest.raises(UserError, match="--class 3: expected 0 to 2"):
        sample(SamplingOptions(network=NETWORK, class_idx=3), [0])


def draw(seed, **options):
    [images] = sample(SamplingOptions(network=NETWORK, device="cpu", batch=1, **options), [seed])
    return images


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_images_are_the_whole_pyramid_of_the_network():
    G = load_network(NETWORK).generator()
    z, c = torch.from_numpy(np.random.RandomState(5).randn(1, G.cfg.z_dim)).float(), torch.eye(3)[[2]]
    with torch.no_grad():
        expected = G(z, c, truncation_psi=0.5, truncation_cutoff=2, noise_mode="const")
    images = draw(5, class_idx=2, trunc=0.5, trunc_cutoff=2)
    assert [image.shape for image in images] == [(G.spec.channels, r, r) for r in G.spec.resolutions]
    assert same(images, [pyramid.to_uint8(image)[0].numpy() for image in expected])


def test_truncation_is_that_of_the_network_unless_given():
    cfg = load_network(NETWORK).generator().cfg
    assert same(draw(1), draw(1, trunc=cfg.truncation_psi, trunc_cutoff=cfg.truncation_cutoff))
    assert not same(draw(1), draw(1, trunc=1.0))
    assert same(
        draw(1, trunc=0.0, trunc_cutoff=99, class_idx=0), draw(2, trunc=0.0, trunc_cutoff=99, class_idx=0)
    )  # the mean


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
    with pytest.raises(UserError, match="--class 0: expected no --class, because the network has no classes"):
        sample(options, [0])


def test_a_network_that_is_not_there():
    with pytest.raises(UserError, match="no such file"):
        sample(SamplingOptions(network="nowhere.safetensors"), [0])
