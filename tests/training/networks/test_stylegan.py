"""Plain StyleGAN: one image, in mid-growth a blend of two scales. Its parity with NVIDIA's files: tests/pretrained."""

import pytest
import torch
import torch.nn.functional as F

from training import pyramid
from training.networks import msg_stylegan
from training.networks.config import StyleGANDiscriminatorConfig, StyleGANGeneratorConfig
from training.networks.stylegan import Discriminator, Generator
from training.spec import ImageSpec

SPEC = ImageSpec(resolution=16)


def generator():
    return Generator(
        StyleGANGeneratorConfig(z_dim=8, w_dim=8, mapping_fmaps=8, mapping_layers=1, fmap_max=8, use_noise=False), SPEC
    )


@pytest.mark.parametrize("lod", [0.0, 1.0, 0.25, 1.5, 2.0])
def test_in_mid_growth_the_image_is_blended_from_two_scales(lod):
    G = generator()
    G.synthesis.lod.fill_(lod)
    w = G.mapping(torch.randn(2, 8))
    sizes = msg_stylegan.SynthesisNetwork.forward(G.synthesis, w)  # what each block would show by itself

    def enlarged(level):
        return F.interpolate(sizes[level], size=(16, 16), mode="nearest")

    level = 2 - int(lod)  # the largest block that is at least partly grown
    share = lod - int(lod)  # of the one below it
    expected = enlarged(level) * (1 - share) + (enlarged(level - 1) * share if share else 0)
    (image,) = G.synthesis(w)
    torch.testing.assert_close(image, expected)


def test_d_sees_the_largest_image_only():
    D = Discriminator(StyleGANDiscriminatorConfig(fmap_max=8), SPEC)
    images = pyramid.from_images(torch.randn(4, 3, 16, 16))
    others = [torch.randn_like(x) for x in images[:-1]]
    torch.testing.assert_close(D(images), D([*others, images[-1]]))


def test_fully_shrunk_d_does_not_use_its_larger_blocks():
    D = Discriminator(StyleGANDiscriminatorConfig(fmap_max=8), SPEC)
    image = torch.randn(4, 3, 16, 16)
    D.lod.fill_(2)  # only 4x4 is grown
    scores = D([image])
    with torch.no_grad():
        D.get_submodule("b16").get_submodule("conv0").weight.zero_()
    torch.testing.assert_close(D([image]), scores)
