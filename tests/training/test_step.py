"""The losses of D and G against plain autograd, in float64."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from config import tiny
from training.augment.augmenter import Augmenter
from training.augment.steps import augmented
from training.latents import GeneratorInputs
from training.networks.architectures import build_discriminator, build_generator
from training.ops.opaque import tell_compiler
from training.spec import ImageSpec
from training.step import RealBatch, d_step, g_step, run_generator
from training.step_config import AugmentConfig, LossConfig

SPEC = ImageSpec(resolution=8, c_dim=2)


@pytest.fixture
def setting():
    """(G, D, reals, inputs) of four images, all of them float64."""
    cfg = tiny()
    G = build_generator(cfg.G, SPEC).double()
    D = build_discriminator(replace(cfg.D, mbstd_group_size=4), SPEC).double()
    c = torch.eye(2, dtype=torch.float64)[[0, 1, 1, 0]]
    full = torch.rand(4, 3, 8, 8, dtype=torch.float64) * 2 - 1
    noise = tuple(torch.randn(shape, dtype=torch.float64) for shape in G.synthesis.noise_shapes(4))
    reals = RealBatch((F.avg_pool2d(full, 2), full), c)
    return G, D, reals, GeneratorInputs(torch.randn(4, cfg.G.z_dim, dtype=torch.float64), c, noise)


def gradients(loss, net):
    return torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)


def assert_same_gradients(ours, theirs):
    assert any(g is not None and g.abs().max() > 0 for g in theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(torch.zeros(()) if a is None else a, torch.zeros(()) if b is None else b)


def penalty_of(D, levels, c):
    """Squared gradients of the scores with respect to levels that hang together in one graph, averaged over levels."""
    grads = torch.autograd.grad(D(levels, c).sum(), levels, create_graph=True)
    return torch.stack([g.square().sum((1, 2, 3)) for g in grads]).mean(0)


def test_d_step_with_r1_and_r2(setting):
    """R1 goes through the pooling of reals, R2 takes the levels of fakes as they are."""
    G, D, reals, inputs = setting
    result = d_step(G, D, LossConfig(r1_gamma=10, r2_gamma=4), reals, inputs, torch.tensor(3.0, dtype=torch.float64))

    full = reals.pyramid[-1].clone().requires_grad_()
    r1 = penalty_of(D, (F.avg_pool2d(full, 2), full), reals.c)
    with torch.no_grad():
        images, w_mean = run_generator(G, inputs)
    fakes = tuple(x.requires_grad_() for x in images)
    r2 = penalty_of(D, fakes, reals.c)
    adversarial = F.softplus(D(fakes, reals.c)) + F.softplus(-D(reals.pyramid, reals.c))
    expected = adversarial.mean() + 3 * (10 / 2 * r1.mean() + 4 / 2 * r2.mean())

    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(result.w_mean, w_mean)
    torch.testing.assert_close(result.stats["Loss/r1_penalty"], r1.detach())
    torch.testing.assert_close(result.stats["Loss/r2_penalty"], r2.detach())
    assert_same_gradients(gradients(result.loss, D), gradients(expected, D))


def test_d_step_without_penalties(setting):
    """No reg_weight, no R1, whatever its gamma; G gets no gradients."""
    G, D, reals, inputs = setting
    result = d_step(G, D, LossConfig(r1_gamma=10), reals, inputs)
    with torch.no_grad():
        fakes, _ = run_generator(G, inputs)
        real_scores, fake_scores = D(reals.pyramid, reals.c), D(fakes, reals.c)
    torch.testing.assert_close(result.loss, (F.softplus(fake_scores) + F.softplus(-real_scores)).mean())
    torch.testing.assert_close(result.stats["Loss/scores/real"], real_scores.flatten())
    torch.testing.assert_close(result.stats["Loss/scores/fake"], fake_scores.flatten())
    assert set(result.stats) == {"Loss/D", "Loss/scores/real", "Loss/scores/fake"}
    assert all(g is None for g in gradients(result.loss, G))


def test_penalties_of_one_loss_are_added(setting):
    """wgan-gp at share 0, where the penalty is that of the reals, each level on its own."""
    G, D, reals, inputs = setting
    cfg = LossConfig(name="wgan-gp", r1_gamma=0)
    result = d_step(G, D, cfg, reals, inputs, share=torch.zeros(4, dtype=torch.float64))
    levels = tuple(x.clone().requires_grad_() for x in reals.pyramid)
    scores = D(levels, reals.c)
    grads = torch.autograd.grad(scores.sum(), levels, create_graph=True)
    distances = [(g.flatten(1).norm(dim=1) / cfg.gp_target - 1).square() for g in grads]
    with torch.no_grad():
        fakes, _ = run_generator(G, inputs)
    expected = (D(fakes, reals.c) - scores).mean() + cfg.gp_weight * torch.stack(distances).mean()
    expected = expected + cfg.drift * scores.square().mean()
    torch.testing.assert_close(result.loss, expected)
    assert_same_gradients(gradients(result.loss, D), gradients(expected, D))


def test_g_step(setting):
    G, D, _, inputs = setting
    result = g_step(G, D, LossConfig(), inputs)
    expected = F.softplus(-D(G.synthesis(G.mapping(inputs.z, inputs.c), noise=inputs.noise), inputs.c)).mean()
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(result.stats["Loss/G"].mean(), expected.detach())
    assert_same_gradients(gradients(result.loss, G), gradients(expected, G))


def test_g_step_that_compares_with_reals(setting):
    G, D, reals, inputs = setting
    result = g_step(G, D, LossConfig(name="relativistic-pairing"), inputs, reals)
    fakes, _ = run_generator(G, inputs)
    expected = F.softplus(D(reals.pyramid, reals.c) - D(fakes, inputs.c)).mean()
    torch.testing.assert_close(result.loss, expected)
    assert_same_gradients(gradients(result.loss, G), gradients(expected, G))


def draws(kind):
    """Augmentations of reals and of fakes, float64."""
    augmenter = Augmenter(AugmentConfig(name=kind, p=1.0), SPEC, torch.device("cpu"))
    return [augmenter.draw(4, (side,)) for side in ("reals", "fakes")]


@pytest.mark.parametrize("kind", ["ada", "diffaugment"])
def test_both_steps_augment_what_d_sees(setting, kind):
    """The penalties are those of the images before; their gradients go through the augmentation."""
    G, D, reals, inputs = setting
    of_reals, of_fakes = draws(kind)
    reals, inputs = reals._replace(augmentation=of_reals), inputs._replace(augmentation=of_fakes)
    weight = torch.ones((), dtype=torch.float64)
    result = d_step(G, D, LossConfig(r1_gamma=10, r2_gamma=4), reals, inputs, weight)

    full = reals.pyramid[-1].clone().requires_grad_()
    r1 = penalty_of(lambda x, c: D(augmented(x, of_reals), c), (F.avg_pool2d(full, 2), full), reals.c)
    images, _ = run_generator(G, inputs)
    fakes = tuple(x.detach().requires_grad_() for x in images)
    r2 = penalty_of(lambda x, c: D(augmented(x, of_fakes), c), fakes, reals.c)
    real_scores, fake_scores = D(augmented(reals.pyramid, of_reals), reals.c), D(augmented(fakes, of_fakes), reals.c)
    expected = (F.softplus(fake_scores) + F.softplus(-real_scores)).mean() + 5 * r1.mean() + 2 * r2.mean()
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(result.stats["Loss/signs/real"], real_scores.detach().sign().flatten())
    assert_same_gradients(gradients(result.loss, D), gradients(expected, D))

    result = g_step(G, D, LossConfig(name="relativistic-pairing"), inputs, reals)
    expected = F.softplus(real_scores - D(augmented(images, of_fakes), inputs.c)).mean()
    torch.testing.assert_close(result.loss, expected)
    assert_same_gradients(gradients(result.loss, G), gradients(expected, G))


@pytest.mark.parametrize(
    ("name", "undecided"), [("lsgan-per-sample", 0.5), ("hinge", 0.0), ("relativistic-pairing", None)]
)
def test_what_counts_as_sure_of_a_real(setting, name, undecided):
    G, D, reals, inputs = setting
    of_reals, of_fakes = draws("ada")
    reals, inputs = reals._replace(augmentation=of_reals), inputs._replace(augmentation=of_fakes)
    stats = d_step(G, D, LossConfig(name=name), reals, inputs).stats
    line = stats["Loss/scores/fake"] if undecided is None else undecided
    assert torch.equal(stats["Loss/signs/real"], (stats["Loss/scores/real"] - line).sign())


@pytest.mark.parametrize("kind", ["ada", "diffaugment"])
def test_augmented_steps_compile_to_one_graph(setting, kind):
    G, D, reals, inputs = setting
    of_reals, of_fakes = draws(kind)
    reals, inputs = reals._replace(augmentation=of_reals), inputs._replace(augmentation=of_fakes)
    weight = torch.ones((), dtype=torch.float64)
    args = G, D, LossConfig(r1_gamma=10, r2_gamma=4), reals, inputs, weight

    tell_compiler()
    compiled = torch.compile(d_step, backend="aot_eager", fullgraph=True, dynamic=False)(*args)
    expected = d_step(*args)
    torch.testing.assert_close(compiled.loss, expected.loss)
    assert_same_gradients(gradients(compiled.loss, D), gradients(expected.loss, D))


def test_style_mixing_replaces_the_later_layers(setting):
    G, _, _, inputs = setting
    other = torch.randn_like(inputs.z)
    mixed, w_mean = run_generator(G, inputs._replace(z_mix=other, mix_from=torch.tensor(2)))
    w, w_other = G.mapping(inputs.z, inputs.c), G.mapping(other, inputs.c)
    expected = G.synthesis(torch.cat([w[:, :2], w_other[:, 2:]], 1), noise=inputs.noise)
    for a, b in zip(mixed, expected, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(w_mean, w[:, 0].mean(0))
