"""MSG-ProGAN against the numbers of BMSG-GAN, and every option."""

import math

import pytest
import torch

from tests.bmsg_gan_data import BMSGGAN, SIZES
from tests.golden_data import assert_close
from training import pyramid
from training.latents import GeneratorInputs
from training.losses import LOSSES
from training.networks.config import ProGANDiscriminatorConfig, ProGANGeneratorConfig
from training.networks.msg_progan import Discriminator, Generator
from training.ops.opaque import tell_compiler
from training.spec import ImageSpec
from training.step import RealBatch, d_step, g_step
from training.step_config import LossConfig

FORWARD, GRADIENT = 1e-5, 1e-3  # gradients: 1e-5 but for pre-activations that rounding moves across a kink
WORKING = ["relativistic-hinge", "wgan-gp", "lsgan", "lsgan-sigmoid"]
OURS = {"wgan-gp": "wgan"}  # its gradient penalty was never on in the trainer


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("latents", ["z", "z_raw"])
def test_generator(size, latents):
    """Normalised latents or not: G normalises."""
    g = BMSGGAN(size)
    nets = g.networks()
    for net, prefix in zip(nets, ("gen_out", "shadow_out"), strict=False):
        with torch.no_grad():
            images = net(g[latents])
        for r, x in zip(g.scales, images, strict=True):
            expected = g[f"{prefix}_{r}"]
            assert_close(x[: len(expected)], expected, FORWARD, f"{r}x{r}")
            stats = torch.stack([x.mean((1, 2, 3)), x.std((1, 2, 3))], 1)
            assert_close(stats, g[f"{prefix}_{r}_meanstd"], FORWARD)


@pytest.mark.parametrize("size", SIZES)
def test_pyramid_of_reals(size):
    """Repeated 2x2 means are the original's pooling by 2^i, up to rounding."""
    g = BMSGGAN(size)
    for ours, theirs in zip(pyramid.from_images(g["real_full"]), g.reals(), strict=True):
        assert_close(ours, theirs, 1e-6)


@pytest.mark.parametrize("size", SIZES[1:])
def test_discriminator(size):
    g = BMSGGAN(size)
    G, _, D = g.networks()
    with torch.no_grad():
        assert_close(D(g.reals()).flatten(), g["D_real"], FORWARD)
        assert_close(D(g.fakes()).flatten(), g["D_fake"], FORWARD)
        assert_close(D(G(g["z"])).flatten(), g["D_gen"], FORWARD)
        assert_close(D([x[:2] for x in g.reals()]).flatten(), g["D_real_batch2"], FORWARD)


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("name", WORKING)
def test_losses_and_gradients_of_d(size, name, monkeypatch):
    g = BMSGGAN(size)
    G, _, D = g.networks()
    monkeypatch.setattr("training.step.run_generator", lambda G, inputs: (g.fakes(), torch.zeros(1)))
    cfg = LossConfig(name=OURS.get(name, name), r1_gamma=0)
    c = torch.zeros(4, 0)
    result = d_step(G, D, cfg, RealBatch(g.reals(), c), GeneratorInputs(g["z"], c, ()))
    torch.testing.assert_close(result.loss, g[f"loss/{name}/dis_loss"], rtol=1e-5, atol=1e-5)
    result.loss.backward()
    grads = dict(D.named_parameters())
    stored = list(g.gradients(f"grad/{name}/dis_loss/", D))
    assert len(stored) == 6
    for key, expected in stored:
        if expected.numel() == 1:  # of the last bias: a sum that cancels
            torch.testing.assert_close(grads[key].grad.flatten(), expected.flatten(), rtol=1e-5, atol=1e-6)
        else:
            assert_close(grads[key].grad, expected, GRADIENT, key)


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("name", [*WORKING, "hinge", "wgan-gp(use_gp=True)"])
def test_losses_of_g(size, name):
    g = BMSGGAN(size)
    _, _, D = g.networks()
    loss = LOSSES["wgan-gp" if "use_gp" in name else OURS.get(name, name)]
    with torch.no_grad():
        value = loss.g(D(g.reals()), D(g.fakes())).mean()
    torch.testing.assert_close(value, g[f"loss/{name}/gen_loss"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", SIZES[1:])
def test_gradients_of_g(size):
    g = BMSGGAN(size)
    G, _, D = g.networks()
    c = torch.zeros(4, 0)
    inputs = GeneratorInputs(g["z"], c, ())
    result = g_step(G, D, LossConfig(name="relativistic-hinge"), inputs, RealBatch(g.reals(), c))
    torch.testing.assert_close(result.loss, g["loss_gen_on_generated/relativistic-hinge"], rtol=1e-5, atol=1e-5)
    result.loss.backward()
    grads = dict(G.named_parameters())
    stored = list(g.gradients("grad/relativistic-hinge/gen_loss_on_generated/", G))
    assert len(stored) == 5
    for key, expected in stored:
        assert_close(grads[key].grad, expected, GRADIENT, key)


def networks(spec, g=None, d=None):
    return (
        Generator(ProGANGeneratorConfig(**{"z_dim": 8, **(g or {})}), spec),
        Discriminator(ProGANDiscriminatorConfig(**{"features": 8, **(d or {})}), spec),
    )


@pytest.mark.parametrize("resolution", [8, 16, 32, 64, 256])
@pytest.mark.parametrize("latent", [1, 5, 12, 16])
@pytest.mark.parametrize("c_dim", [0, 3])
def test_any_depth_latent_size_and_labels(resolution, latent, c_dim):
    """The original refused depths below 4 (in D), latents that are no power of two, and those that are too small."""
    spec = ImageSpec(resolution=resolution, channels=2, c_dim=c_dim)
    G, D = networks(spec, {"z_dim": latent}, {"features": latent})
    c = torch.eye(3)[[0, 2]][:, :c_dim]
    images = G(torch.randn(2, latent), c)
    assert [tuple(x.shape) for x in images] == [(2, 2, r, r) for r in spec.resolutions]
    scores = D(images, c)
    assert scores.shape == (2, 1)
    scores.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*G.parameters(), *D.parameters()])
    if c_dim:
        assert not torch.equal(images[-1], G(torch.zeros(2, latent), c)[-1])
        with pytest.raises(ValueError, match="found no labels"):
            D(images)


def test_labels_change_images_and_scores():
    spec = ImageSpec(resolution=8, c_dim=2)
    G, D = networks(spec)
    z = torch.randn(2, 8)
    a, b = (torch.eye(2)[[i, i]] for i in (0, 1))
    assert not torch.equal(G(z, a)[-1], G(z, b)[-1])
    assert not torch.equal(D(G(z, a), a), D(G(z, a), b))


@pytest.mark.parametrize("combine", ["cat_lin", "lin_cat", "simple"])
@pytest.mark.parametrize("resolutions", [None, (), (4, 8), (16,)])
def test_combine_and_connected_resolutions(combine, resolutions):
    """D depends on an image exactly when its level is connected; every parameter is used."""
    spec = ImageSpec(resolution=32)
    _, D = networks(spec, d={"combine": combine, "resolutions": resolutions})
    images = [torch.randn(4, 3, r, r, requires_grad=True) for r in spec.resolutions]
    D(images).square().sum().backward()
    connected = {4, 8, 16} if resolutions is None else set(resolutions)
    for r, x in zip(spec.resolutions, images, strict=True):
        assert (x.grad is not None and bool(x.grad.abs().sum() > 0)) == (r == 32 or r in connected)
    assert all(p.grad is not None for p in D.parameters())


def test_an_unknown_resolution_is_reported():
    with pytest.raises(ValueError, match=r"D.resolutions: found \[32\], expected some of \(4, 8\)"):
        networks(ImageSpec(resolution=16), d={"resolutions": (32,)})


def test_groups_of_minibatch_stddev():
    """None: one statistic of the whole batch, so scores depend on all of it; a group size limits that to the group."""
    spec = ImageSpec(resolution=8)
    images = pyramid.from_images(torch.randn(8, 3, 8, 8))
    for group, same in ((None, False), (2, True)):
        torch.manual_seed(0)
        _, D = networks(spec, d={"mbstd_group_size": group})
        alone = D([x[[0, 4]] for x in images])  # groups are interleaved: 0 and 4 are one of the four groups of two
        assert torch.allclose(D(images)[[0, 4]], alone, atol=1e-6) == same


def test_latents_are_normalised_unless_told_otherwise():
    spec = ImageSpec(resolution=8)
    G, _ = networks(spec)
    z = torch.randn(3, 8)
    assert torch.allclose(G(z)[-1], G(5 * z)[-1], atol=1e-5)
    raw, _ = networks(spec, {"normalize_z": False})
    torch.nn.init.normal_(raw.synthesis.b4.bias)  # without biases G would not notice
    assert not torch.allclose(raw(z)[-1], raw(5 * z)[-1], atol=1e-3)


def test_truncation_shrinks_the_normalised_latent():
    spec = ImageSpec(resolution=8)
    G, _ = networks(spec)
    z = torch.randn(3, 8)
    with torch.no_grad():
        w = G.mapping(z)
        assert w.shape == (3, 1, 8)
        torch.testing.assert_close(w.square().mean(2), torch.ones(3, 1))
        torch.testing.assert_close(G(z, truncation_psi=0.5), G.synthesis(w / 2))
        assert torch.equal(G(z, truncation_psi=0)[-1][0], G(z, truncation_psi=0)[-1][1])


def test_plain_convolutions_start_as_torch_does():
    """Every weight and bias within +-1/sqrt(fan_in) of torch's layers, and filling it; no run-time factor."""
    spec = ImageSpec(resolution=8)
    G, D = networks(spec, {"z_dim": 64, "use_wscale": False}, {"features": 64, "use_wscale": False})
    fan_in = {
        "synthesis.b4.source.fc.weight": 64 * 16, "synthesis.b4.bias": 64 * 16, "synthesis.b8.source.weight": 64 * 9,
        "synthesis.b8.bias": 64 * 9, "synthesis.b4.conv.weight": 64 * 9, "synthesis.b4.conv.bias": 64 * 9,
        "synthesis.torgb8.weight": 64, "b8.fromrgb.weight": 3, "b8.conv0.weight": 64 * 9, "b4.fc0.weight": 64 * 16,
        "b4.fc0.bias": 64 * 16, "b4.fc1.weight": 64,
    }  # fmt: skip
    parameters = {**dict(G.named_parameters()), **dict(D.named_parameters())}
    for key, n in fan_in.items():
        bound, most = 1 / math.sqrt(n), parameters[key].abs().max().item()
        assert 0.85 * bound < most <= bound, key
    scales = [m.weight_scale for net in (G, D) for m in net.modules() if hasattr(m, "weight_scale")]
    assert scales and set(scales) == {1.0}


def test_bf16_is_near_fp32():
    spec = ImageSpec(resolution=32)
    G, D = networks(spec, {"z_dim": 16}, {"features": 16})
    c = torch.zeros(4, 0)
    reals = RealBatch(pyramid.from_images(torch.rand(4, 3, 32, 32) * 2 - 1), c)
    inputs = GeneratorInputs(torch.randn(4, 16), c, ())
    cfg = LossConfig(name="relativistic-hinge", r1_gamma=1)
    exact = d_step(G, D, cfg, reals, inputs, torch.ones(()))
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        fast = d_step(G, D, cfg, reals, inputs, torch.ones(()))
    assert fast.loss.dtype == torch.float32
    torch.testing.assert_close(fast.loss, exact.loss, rtol=0.05, atol=0.05)


def test_compiled_steps_equal_eager():
    spec = ImageSpec(resolution=8)
    G, D = networks(spec)
    c = torch.zeros(4, 0)
    reals = RealBatch(pyramid.from_images(torch.rand(4, 3, 8, 8) * 2 - 1), c)
    inputs = GeneratorInputs(torch.randn(4, 8), c, ())
    cfg = LossConfig(name="wgan-gp", r1_gamma=1)
    relativistic = LossConfig(name="relativistic-hinge")
    for step, args, net in (
        (d_step, (G, D, cfg, reals, inputs, torch.ones(()), torch.rand(4)), D),
        (g_step, (G, D, relativistic, inputs, reals), G),
    ):
        D.requires_grad_(net is D)
        results = []
        tell_compiler()
        for run in (step, torch.compile(step, dynamic=False, fullgraph=True, backend="aot_eager")):
            result = run(*args)
            results.append((result.loss, *torch.autograd.grad(result.loss, list(net.parameters()))))
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("net", ["G", "D"])
def test_maps_are_channels_last(net):
    G, D = networks(ImageSpec(resolution=16))
    seen = []

    def look(module, args, out):
        seen.append(type(module).__name__)
        assert out.is_contiguous(memory_format=torch.channels_last), seen[-1]

    for m in [*G.modules(), *D.modules()]:
        if type(m).__name__ in ("Conv2d", "ConvUp2d", "Combine"):
            m.register_forward_hook(look)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        D(G(torch.randn(4, 8)))
    assert len(seen) > 8
