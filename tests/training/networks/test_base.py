"""What every architecture inherits: label embedding, truncation, and scores weighted by labels."""

import pytest
import torch

from training.networks.base import Discriminator, Generator, Mapping, Synthesis
from training.networks.config import DiscriminatorConfig, GeneratorConfig
from training.spec import ImageSpec

SPEC = ImageSpec(resolution=8, c_dim=2)


class Identity(Mapping):
    """A mapping whose w is the normalised z with its label embedding."""

    def __init__(self, spec=SPEC, num_ws=3, **options):
        super().__init__(GeneratorConfig(z_dim=4, **options), spec, num_ws)
        self.register_buffer("w_avg", torch.zeros(self.n_in))

    def forward(self, z, c=None):
        return self.embed(z, c)[:, None].expand(-1, self.num_ws, -1)


def test_z_and_its_label_embedding_are_scaled_together():
    mapping = Identity()
    z, c = torch.randn(5, 4), torch.eye(2)[[0, 1, 0, 1, 1]]
    embedded = mapping.embed(z, c)
    expected = torch.cat([z, mapping.label_weight[[0, 1, 0, 1, 1]]], 1)
    torch.testing.assert_close(embedded, expected / expected.square().mean(1, keepdim=True).sqrt())
    torch.testing.assert_close(Identity(normalize_z=False).embed(z, None)[:, :4], z)


def test_no_label_counts_as_zeros():
    mapping = Identity()
    z = torch.randn(5, 4)
    torch.testing.assert_close(mapping(z), mapping(z, torch.zeros(5, 2)))


@pytest.mark.parametrize("psi, cutoff", [(0.0, None), (0.5, 2), (1.0, 2), (-1.0, 0)])
def test_truncation_pulls_the_first_layers_towards_the_average(psi, cutoff):
    mapping = Identity()
    mapping.w_avg += torch.randn(8)
    w = torch.randn(5, 3, 8)
    truncated = mapping.truncate(w, psi, cutoff)
    first = 3 if cutoff is None else cutoff
    torch.testing.assert_close(truncated[:, :first], mapping.w_avg + psi * (w - mapping.w_avg)[:, :first])
    torch.testing.assert_close(truncated[:, first:], w[:, first:])


def test_a_generator_truncates_only_if_asked():
    class Copy(Synthesis):
        num_ws = 3

        def forward(self, w, noise_mode="random", noise=None):
            return (w,)

    G = Generator(GeneratorConfig(z_dim=4), SPEC)
    G.mapping, G.synthesis = Identity(), Copy()
    z = torch.randn(5, 4)
    torch.testing.assert_close(G(z)[0], G.mapping(z))
    torch.testing.assert_close(G(z, truncation_psi=1)[0], G.mapping(z))
    assert not G(z, truncation_psi=0, truncation_cutoff=None)[0].any()


class Means(torch.nn.Module):
    """A block of D that adds up the means of the images it is shown, once for each class."""

    def forward(self, x, image):
        mean = image.mean((1, 2, 3))[:, None].expand(-1, 2)
        return mean if x is None else x + mean


def test_scores_are_those_of_the_labels_class():
    D = Discriminator(DiscriminatorConfig(), SPEC)
    for r in SPEC.resolutions:
        D.add_module(f"b{r}", Means())
    images = [torch.randn(5, 3, r, r) for r in SPEC.resolutions]
    expected = sum(x.mean((1, 2, 3)) for x in images)[:, None]

    torch.testing.assert_close(D(images, torch.eye(2)[[0, 1, 0, 1, 0]]), expected)
    torch.testing.assert_close(D(images, torch.full((5, 2), 0.25)), expected / 2)
    with pytest.raises(ValueError, match=r"D: found 1 images, expected one of each of \(4, 8\)"):
        D(images[:1], torch.eye(2)[[0] * 5])
    with pytest.raises(ValueError, match=r"D: found no labels, expected \[N,2\]"):
        D(images)
