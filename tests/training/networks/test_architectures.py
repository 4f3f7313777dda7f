"""The table of architectures: each builds what all others build, and the options name a row of it."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from training import pyramid
from training.networks import base
from training.networks.architectures import ARCHITECTURES, build_discriminator, build_generator
from training.networks.config import ProGANDiscriminatorConfig, StoredDiscriminatorConfig, StoredGeneratorConfig
from training.spec import ImageSpec

SPEC = ImageSpec(resolution=16, channels=2, c_dim=3)
GENERATORS = {cls.kind: cls for cls in get_args(StoredGeneratorConfig)}
DISCRIMINATORS = {cls.kind: cls for cls in get_args(StoredDiscriminatorConfig)}


def test_every_kind_of_options_is_a_row():
    assert GENERATORS.keys() == DISCRIMINATORS.keys() == ARCHITECTURES.keys()


def small(config):
    if isinstance(config, ProGANDiscriminatorConfig):
        return replace(config, features=8)
    sizes = {"z_dim": 8, "fmap_max": 8, "w_dim": 8, "mapping_fmaps": 8, "blocks_per_level": 1}
    return replace(config, **{name: value for name, value in sizes.items() if name in vars(config)})


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_networks_keep_the_contract_that_sampling_and_training_rely_on(kind):
    G = build_generator(small(GENERATORS[kind]()), SPEC)
    D = build_discriminator(small(DISCRIMINATORS[kind]()), SPEC)
    assert isinstance(G, base.Generator) and isinstance(D, base.Discriminator)

    z = torch.randn(4, 8)
    c = torch.eye(3)[[0, 1, 2, 0]]
    w = G.mapping(z, c)
    assert w.shape == (4, G.synthesis.num_ws, len(G.mapping.w_avg))

    # Noise of the given shapes makes images reproducible; the largest is of the full resolution.
    noise = [torch.randn(shape) for shape in G.synthesis.noise_shapes(4)]
    images = G.synthesis(w, noise=noise)
    assert images[-1].shape == (4, 2, 16, 16)
    torch.testing.assert_close(G(z, c, noise=noise), images)

    assert D(pyramid.from_images(images[-1]), c).shape == (4, 1)
