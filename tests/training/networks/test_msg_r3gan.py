"""MSG-R3GAN against its definition, written once more with PyTorch's own layers."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from training import pyramid
from training.latents import GeneratorInputs
from training.networks.config import R3GANDiscriminatorConfig, R3GANGeneratorConfig
from training.networks.msg_r3gan import Discriminator, Generator, ResidualBlock
from training.spec import ImageSpec
from training.step import RealBatch, d_step
from training.step_config import LossConfig

SMALL = {"fmap_base": 64, "fmap_max": 12, "blocks_per_level": 2, "group_size": 4}
SPEC = ImageSpec(resolution=24, width=16, channels=3, c_dim=3)


def networks(spec=SPEC, **options):
    """G and D in float64, whose last convolutions are not 0."""
    torch.manual_seed(0)
    G = Generator(R3GANGeneratorConfig(z_dim=8, **SMALL), spec).double()
    D = Discriminator(R3GANDiscriminatorConfig(**SMALL, **options), spec).double()
    for block in (m for net in (G, D) for m in net.modules() if isinstance(m, ResidualBlock)):
        torch.nn.init.normal_(block.conv2.weight, std=0.1)
    return G, D


def block(x, module):
    """A residual block, from the paper's figure."""
    y = F.leaky_relu(F.conv2d(x, module.conv0.weight, module.conv0.bias), 0.2)
    groups = y.shape[1] // module.conv1.weight.shape[1]
    y = F.leaky_relu(F.conv2d(y, module.conv1.weight, module.conv1.bias, padding=1, groups=groups), 0.2)
    return x + F.conv2d(y, module.conv2.weight)


def widened(x, module):
    return x if module.conv is None else F.conv2d(x, module.conv.weight)


def test_generator_is_its_definition():
    G, _ = networks()
    z, c = torch.randn(4, 8).double(), torch.eye(3).double()[[0, 1, 2, 0]]
    w = torch.cat([z, c @ G.mapping.label_weight], 1)
    torch.testing.assert_close(G.mapping(z, c), w[:, None])

    synthesis, x, expected = G.synthesis, None, []
    for r in SPEC.resolutions:
        level = synthesis.get_submodule(f"b{r}")
        if x is None:
            x = (w @ level.basis.fc.weight.T)[:, :, None, None] * level.basis.maps
        else:
            # Bilinear, with 0 beyond the edges.
            x = F.pad(widened(x, level.widen), (1, 1, 1, 1))
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)[:, :, 2:-2, 2:-2]
        for module in level.blocks:
            x = block(x, module)
        to_image = synthesis.get_submodule(f"torgb{r}")
        expected.append(F.conv2d(x, to_image.weight, to_image.bias))
    images = G(z, c)
    torch.testing.assert_close(images, tuple(expected))
    assert [tuple(x.shape[2:]) for x in images] == list(SPEC.sizes)


@pytest.mark.parametrize("head", ["switch", "projection"])
def test_discriminator_is_its_definition(head):
    _, D = networks(label_head=head)
    levels = pyramid.from_images(torch.randn(4, 3, 24, 16).double())
    c = torch.eye(3).double()[[0, 1, 2, 0]]
    x = None
    for r, image in zip(reversed(SPEC.resolutions), reversed(levels), strict=True):
        level = D.get_submodule(f"b{r}")
        of_image = F.conv2d(image, level.fromrgb.weight, level.fromrgb.bias)
        x = of_image if x is None else x + of_image
        for module in level.blocks:
            x = block(x, module)
        if r > SPEC.resolutions[0]:
            # The transpose of bilinear enlargement: 1 3 3 1 along both axes.
            f = torch.tensor([1.0, 3, 3, 1], dtype=torch.float64) / 8
            kernel = torch.outer(f, f).expand(x.shape[1], 1, 4, 4)
            x = widened(F.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1]), level.widen)
    features = (x.flatten(2) * level.maps.weight).sum(2)
    of_classes = features @ level.fc.weight.T + level.fc.bias
    expected = (of_classes[:, :3] * c).sum(1, keepdim=True)
    if head == "projection":
        expected = expected + of_classes[:, 3:]
    torch.testing.assert_close(D(levels, c), expected)


def test_residual_blocks_start_as_nothing_and_are_scaled_by_their_number():
    G = Generator(R3GANGeneratorConfig(**{**SMALL, "fmap_base": 8192, "fmap_max": 128}), ImageSpec(resolution=32))
    blocks = [m for m in G.modules() if isinstance(m, ResidualBlock)]
    assert len(blocks) == 8 and all(not m.conv2.weight.any() for m in blocks)
    x = torch.randn(2, 128, 8, 8)
    assert torch.equal(blocks[0](x), x)
    inner = blocks[0].conv0(torch.randn(64, 128, 8, 8))
    assert inner.square().mean().sqrt().item() == pytest.approx(8 ** (-1 / 4), rel=0.1)


@pytest.mark.parametrize("resolutions", [None, (4,), ()])
def test_d_sees_the_images_of_the_chosen_levels(resolutions):
    spec = ImageSpec(resolution=16)
    _, D = networks(spec, resolutions=resolutions)
    levels = [x.requires_grad_() for x in pyramid.from_images(torch.randn(2, 3, 16, 16).double())]
    found = torch.autograd.grad(D(levels).sum(), levels, allow_unused=True)
    expected = [resolutions is None or r in (*resolutions, 16) for r in spec.resolutions]
    assert [g is not None and bool(g.any()) for g in found] == expected
    with pytest.raises(ValueError, match=r"D\.resolutions"):
        networks(spec, resolutions=(16,))


def test_penalties_are_those_of_plain_autograd():
    G, D = networks()
    c = torch.eye(3).double()[[0, 1, 2, 0]]
    full = torch.randn(4, 3, 24, 16).double()
    cfg = LossConfig(name="relativistic-pairing", r1_gamma=2, r2_gamma=6)
    inputs = GeneratorInputs(torch.randn(4, 8).double(), c, ())
    found = d_step(G, D, cfg, RealBatch(pyramid.from_images(full), c), inputs, torch.ones(()).double())

    def penalty(levels, outer):
        grads = torch.autograd.grad(D(levels, c).sum(), outer, create_graph=True)
        return torch.stack([g.square().sum((1, 2, 3)) for g in grads]).mean(0).mean()

    full.requires_grad_()
    levels = [full]
    while len(levels) < len(SPEC.sizes):
        levels.insert(0, F.avg_pool2d(levels[0], 2))
    fakes = [x.detach().requires_grad_() for x in G(inputs.z, c)]
    expected = F.softplus(D(fakes, c) - D(levels, c)).mean() + penalty(levels, levels) + 3 * penalty(fakes, fakes)
    torch.testing.assert_close(found.loss, expected)
    for ours, theirs in zip(
        torch.autograd.grad(found.loss, list(D.parameters())),
        torch.autograd.grad(expected, list(D.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_group_sizes_divide_any_number_of_maps():
    cfg = R3GANGeneratorConfig(group_size=16)
    assert [cfg.group_size_of(n) for n in (64, 24, 7, 17, 1)] == [16, 12, 7, 1, 1]
    assert replace(cfg, fmap_base=100, fmap_max=9).nf(1) == 9
