"""Every option of the networks, and the parameter counts of the original's defaults."""

import json

import pytest
import torch

from tests.golden_data import GOLDEN
from training import pyramid
from training.latents import GeneratorInputs
from training.networks.config import DiscriminatorConfig, GeneratorConfig
from training.networks.msg_stylegan import Discriminator, Generator
from training.ops.opaque import tell_compiler
from training.spec import ImageSpec
from training.step import RealBatch, d_step, g_step, run_generator
from training.step_config import LossConfig

COUNTS = json.loads((GOLDEN / "default_vars.json").read_text())
SMALL_G = {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "mapping_fmaps": 8, "fmap_base": 64, "fmap_max": 8}
SMALL_D = {"fmap_base": 64, "fmap_max": 8}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_of_the_originals_defaults(name):
    resolution, labels = (int(part.removeprefix("res").removeprefix("label")) for part in name.split("_"))
    spec = ImageSpec(resolution=resolution, c_dim=labels)
    with torch.device("meta"):
        nets = {"G": Generator(GeneratorConfig(), spec), "D": Discriminator(DiscriminatorConfig(), spec)}
    for key, net in nets.items():
        assert sum(p.numel() for p in net.parameters()) == COUNTS[name][key]["num_trainable"]
        shapes = sorted(sorted(s) for _, s, _ in COUNTS[name][key]["vars"])
        assert sorted(sorted(t.shape) for t in net.state_dict().values()) == shapes


def networks(spec, g=None, d=None):
    return Generator(GeneratorConfig(**{**SMALL_G, **(g or {})}), spec), Discriminator(
        DiscriminatorConfig(**{**SMALL_D, **(d or {})}), spec
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("c_dim", [0, 3])
def test_any_number_of_channels_and_classes(channels, c_dim):
    spec = ImageSpec(resolution=16, channels=channels, c_dim=c_dim)
    G, D = networks(spec)
    c = torch.eye(4)[:, :c_dim]
    images = G(torch.randn(4, 8), c)
    assert [tuple(x.shape) for x in images] == [(4, channels, r, r) for r in (4, 8, 16)]
    assert D(images, c).shape == (4, 1)
    if c_dim:
        with pytest.raises(ValueError, match="found no labels"):
            D(images)
        torch.testing.assert_close(D(images, torch.zeros(4, 3)), torch.zeros(4, 1))


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


@pytest.mark.parametrize("option", [
    {"use_styles": False, "use_const_input": False}, {"use_noise": False}, {"use_const_input": False},
    {"use_pixel_norm": True}, {"use_instance_norm": False}, {"use_wscale": False}, {"fused_scale": "true"},
    {"blur_filter": ()}, {"blur_filter": (1, 3, 3, 1)}, {"activation": "relu", "mapping_activation": "relu"},
    {"normalize_z": False}, {"mapping_layers": 0}, {"fmap_decay": 1.5},
])  # fmt: skip
def test_options_of_g_change_the_result_and_train(option):
    spec = ImageSpec(resolution=16)
    torch.manual_seed(1)
    G, D = networks(spec, g=option)
    torch.manual_seed(1)
    default, _ = networks(spec)
    z, c = torch.randn(4, 8), torch.zeros(4, 0)
    noise = tuple(torch.randn(s) for s in G.synthesis.noise_shapes(4))
    result = g_step(G, D, LossConfig(), GeneratorInputs(z, c, noise))
    result.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in G.parameters())
    same_form = {k: v.shape for k, v in G.state_dict().items()} == {k: v.shape for k, v in default.state_dict().items()}
    if same_form:
        default.load_state_dict(G.state_dict())
        with torch.no_grad():
            a, b = G(z, noise_mode="const"), default(z, noise_mode="const")
        # at the start all styles are near 0, so an option may show at some levels only
        assert any(not torch.allclose(x, y) for x, y in zip(a, b, strict=True))


def test_noise_modes():
    G, _ = networks(ImageSpec(resolution=16))
    for layer in G.synthesis.layers():
        torch.nn.init.ones_(layer.noise_strength)
    z = torch.randn(2, 8)
    with torch.no_grad():

        def out(mode):
            return G(z, noise_mode=mode)[-1]

        assert torch.equal(out("const"), out("const")) and torch.equal(out("none"), out("none"))
        assert not torch.equal(out("random"), out("random")) and not torch.equal(out("const"), out("none"))


def test_truncation_to_zero_is_the_average():
    G, _ = networks(ImageSpec(resolution=16))
    torch.nn.init.normal_(G.mapping.w_avg)
    with torch.no_grad():
        a, b = (G(torch.randn(1, 8), truncation_psi=0, noise_mode="const") for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_style_mixing_uses_the_second_latent_from_a_layer_on():
    G, _ = networks(ImageSpec(resolution=16))
    z, z2, c = torch.randn(2, 8), torch.randn(2, 8), torch.zeros(2, 0)
    noise = tuple(torch.zeros(s) for s in G.synthesis.noise_shapes(2))
    with torch.no_grad():
        mixed, w_mean = run_generator(G, GeneratorInputs(z, c, noise, z2, torch.tensor(2)))
        first, second = G(z, noise=noise), G(z2, noise=noise)
    assert torch.equal(mixed[0], first[0])  # layers 0 and 1 make the 4x4 image
    assert not torch.equal(mixed[1], first[1]) and not torch.equal(mixed[1], second[1])
    torch.testing.assert_close(w_mean, G.mapping(z)[:, 0].mean(0))


def test_bf16_is_near_fp32():
    spec = ImageSpec(resolution=32)
    G, D = networks(spec)
    z, c = torch.randn(4, 8), torch.zeros(4, 0)
    noise = tuple(torch.randn(s) for s in G.synthesis.noise_shapes(4))
    inputs, reals = GeneratorInputs(z, c, noise), pyramid.from_images(torch.rand(4, 3, 32, 32) * 2 - 1)
    exact = d_step(G, D, LossConfig(), RealBatch(reals, c), inputs, torch.ones(()))
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        fast = d_step(G, D, LossConfig(), RealBatch(reals, c), inputs, torch.ones(()))
    assert fast.loss.dtype == torch.float32
    torch.testing.assert_close(fast.loss, exact.loss, rtol=0.03, atol=0.03)
    (a,), (b,) = (torch.autograd.grad(r.loss, [D.b4.fc0.weight]) for r in (exact, fast))
    assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.99


def test_compiled_steps_equal_eager():
    spec = ImageSpec(resolution=8, c_dim=2)
    G, D = (network.double() for network in networks(spec))
    c = torch.eye(2).double().repeat(2, 1)
    noise = tuple(torch.randn(s).double() for s in G.synthesis.noise_shapes(4))
    inputs = GeneratorInputs(torch.randn(4, 8).double(), c, noise)
    reals = pyramid.from_images(torch.rand(4, 3, 8, 8).double())
    cfg = LossConfig(r1_gamma=10)
    for step, args, net in (
        (d_step, (G, D, cfg, RealBatch(reals, c), inputs, torch.ones(()).double()), D),
        (g_step, (G, D, cfg, inputs), G),
    ):
        D.requires_grad_(net is D)
        results = []
        tell_compiler()
        for run in (step, torch.compile(step, dynamic=False, fullgraph=True, backend="aot_eager")):
            result = run(*args)
            results.append((result.loss, *torch.autograd.grad(result.loss, list(net.parameters()))))
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("const_input", [True, False])
def test_maps_are_channels_last(const_input):
    """Every convolution of G and D receives and returns channels_last."""
    G, D = networks(ImageSpec(resolution=16), g={"use_const_input": const_input})
    seen = []

    def look(module, args, out):
        seen.append(type(module).__name__)
        for t in (args[0], out):
            assert t.is_contiguous(memory_format=torch.channels_last), seen[-1]

    for m in [*G.modules(), *D.modules()]:
        if type(m).__name__ in ("Conv2d", "ConvUp2d", "ConvDown2d", "Combine"):
            m.register_forward_hook(look)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        D(G(torch.randn(4, 8)))
    assert len(seen) > 15
