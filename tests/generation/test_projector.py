"""Latents are found again from the images of a network."""

import copy
from functools import partial

import numpy as np
import pytest
import torch

from generation.projector import ProjectionOptions, level_errors, noise_correlation, project
from generation.sampling import Sampler, SamplingOptions
from tests.golden_data import GOLDEN
from training import pyramid

WITH_NOISE = str(GOLDEN / "c2_network-final.pkl")


@pytest.fixture(scope="module")
def G():
    """The network that ships with the project."""
    return Sampler(SamplingOptions(device="cpu")).G.requires_grad_(False)


@pytest.fixture(scope="module")
def noisy_G():
    return Sampler(SamplingOptions(device="cpu", network=WITH_NOISE)).G.requires_grad_(False)


def images_of(G, seeds, noise_mode="none"):
    """Return the pyramids of some seeds, and their w."""
    z = torch.stack([torch.randn(G.cfg.z_dim, generator=torch.Generator().manual_seed(1000 + seed)) for seed in seeds])
    c = torch.eye(G.spec.c_dim)[[seed % G.spec.c_dim for seed in seeds]]
    w = G.mapping(z, c)
    return G.synthesis(w, noise_mode), w


@pytest.mark.parametrize("space", ["w", "w+"])
def test_images_of_the_network_are_found_at_every_level(G, space):
    reals, _ = images_of(G, range(2))
    found = project(G, reals, ProjectionOptions(steps=250, space=space))
    assert level_errors(found.images, reals).max() < 0.01

    # The latents that are returned make these images; in w, all layers have the same.
    again = G.synthesis(found.w, "none")
    assert all(torch.equal(a, b) for a, b in zip(again, found.images, strict=True))
    assert bool((found.w == found.w[:, :1]).all()) == (space == "w")


def test_each_image_is_searched_as_if_it_were_alone(G):
    reals, _ = images_of(G, range(3))

    # Rounding depends on the size of a batch, and Adam makes much of it.
    G, reals = copy.deepcopy(G).double(), tuple(level.double() for level in reals)
    options = ProjectionOptions(steps=8)
    together = project(G, reals, options)
    alone = project(G, tuple(level[1:2] for level in reals), options)
    assert torch.allclose(together.w[1:2], alone.w, rtol=0, atol=1e-6 * float(alone.w.std()))


def test_only_the_chosen_levels_count(G):
    reals, _ = images_of(G, range(2))
    changed = (*(torch.randn_like(level) for level in reals[:-1]), reals[-1])
    options = ProjectionOptions(steps=10, levels=(len(reals) - 1,))
    assert torch.equal(project(G, reals, options).w, project(G, changed, options).w)


def test_the_class_is_where_the_search_begins(G):
    reals, _ = images_of(G, [0])
    starts = [project(G, reals, ProjectionOptions(steps=1), c).w for c in (None, *torch.eye(G.spec.c_dim))]
    assert len({float(start.sum()) for start in starts[1:]}) == G.spec.c_dim

    # Without a class, it begins at images that are as close as those of the right one, or nearly so.
    errors = [float(level_errors(G.synthesis(start, "none"), reals).mean()) for start in starts]
    assert errors[1] == min(errors[1:]) and errors[0] < 2 * errors[1]


def test_noise_that_is_searched_stays_white_and_comes_closer(noisy_G):
    # The strength of noise is that of a network that uses it.
    for layer in noisy_G.synthesis.layers():
        layer.noise_strength.fill_(0.1)
    torch.manual_seed(0)
    reals, _ = images_of(noisy_G, range(2), "random")
    without = project(noisy_G, reals, ProjectionOptions(steps=150))
    found = project(noisy_G, reals, ProjectionOptions(steps=150, noise="search"))

    errors = [level_errors(result.images, reals)[:, -1].mean() for result in (found, without)]
    assert errors[0] < errors[1] / 2 and max(noise_correlation(x).max() for x in found.noise) < 0.01
    assert [tuple(x.shape) for x in found.noise] == noisy_G.synthesis.noise_shapes(2) and not without.noise
    for x in found.noise:
        assert torch.allclose(x.mean((1, 2, 3)), torch.zeros(2), atol=1e-5)
        assert torch.allclose(x.square().mean((1, 2, 3)), torch.ones(2), atol=1e-4)
    again = noisy_G.synthesis(found.w, noise=found.noise)
    assert torch.equal(again[-1], found.images[-1])


def test_noise_modes_are_those_of_the_network(noisy_G):
    for mode in ("none", "const"):
        reals, _ = images_of(noisy_G, range(1), mode)
        found = project(noisy_G, reals, ProjectionOptions(steps=3, noise=mode))
        assert torch.equal(noisy_G.synthesis(found.w, mode)[-1], found.images[-1])


def test_white_noise_does_not_resemble_itself():
    rng = torch.Generator().manual_seed(0)
    white = torch.randn(2, 1, 64, 64, generator=rng)
    smooth = torch.nn.functional.interpolate(torch.randn(2, 1, 8, 8, generator=rng), scale_factor=8)
    assert noise_correlation(white).max() < 0.1 < 1 < noise_correlation(smooth).min()

    # Neighbours count across the edge, in both directions, and at 8x8 as well.
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 0, 0] = x[0, 0, 0, 7] = 8
    assert noise_correlation(x).item() == pytest.approx(1.0)
    torch.autograd.gradcheck(noise_correlation, torch.randn(2, 1, 16, 16, dtype=torch.float64, requires_grad=True))


def test_errors_are_those_of_numpy(G):
    reals, _ = images_of(G, range(2))
    found = tuple(level + 0.1 for level in reals)
    expected = [[0.01 / level[i].numpy().var() for level in reals] for i in range(2)]
    assert np.allclose(level_errors(found, reals), expected, rtol=1e-3)

    # A plain image has no variance.
    plain = pyramid.from_images(torch.zeros(1, 3, 8, 8))
    assert level_errors(tuple(level + 0.05 for level in plain), plain).tolist() == [pytest.approx([1, 1])]


def test_a_perceptual_distance_counts(G):
    reals, _ = images_of(G, [0])
    seen = []

    def distance(a, b):
        seen.append((float(a.detach().min()), float(a.detach().max()), float(b.max())))
        return (a - b).square().mean((1, 2, 3)) / 255**2

    run = partial(project, G, reals)
    plain = run(ProjectionOptions(steps=3))
    both = run(ProjectionOptions(steps=3, perceptual=10.0), distance=distance)
    assert not torch.equal(plain.w, both.w) and len(seen) == 3
    assert all(-200 < low < high < 450 for low, high, _ in seen)
