"""Losses and penalties by hand, in float64."""

import math

import pytest
import torch

from training.latents import GeneratorInputs
from training.losses import LOSSES, mixed_gradient_penalty, scores_and_gradients, squared_gradient_norm
from training.networks.architectures import build_discriminator, build_generator
from training.networks.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    ProGANDiscriminatorConfig,
    ProGANGeneratorConfig,
)
from training.pyramid import from_images, from_uint8, to_uint8, total_gradients
from training.spec import ImageSpec
from training.step import RealBatch, d_step, g_step
from training.step_config import LossConfig


def f64(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def mean(x):
    return sum(x) / len(x)


def every(r, f, per_sample):
    """The mean of a function of each (real, fake)."""
    return mean([per_sample(a, b) for a, b in zip(r, f, strict=True)])


def above(x, limit):
    return float(x > limit)


def squash(x):
    """sigmoid and its derivative."""
    return sigmoid(x), sigmoid(x) * (1 - sigmoid(x))


# For n scores r of reals and n f of fakes: the mean loss, and n times its derivative by each r_i and by each f_i.
D_LOSSES = {
    "logistic": (
        lambda r, f: every(r, f, lambda a, b: -math.log(sigmoid(a)) - math.log(1 - sigmoid(b))),
        lambda r, f: [sigmoid(a) - 1 for a in r],
        lambda r, f: [sigmoid(b) for b in f],
    ),
    "wgan": (lambda r, f: mean(f) - mean(r), lambda r, f: [-1 for _ in r], lambda r, f: [1 for _ in f]),
    "hinge": (
        lambda r, f: every(r, f, lambda a, b: max(0, 1 - a) + max(0, 1 + b)),
        lambda r, f: [-above(1, a) for a in r],
        lambda r, f: [above(b, -1) for b in f],
    ),
    "lsgan": (
        lambda r, f: ((mean(r) - 1) ** 2 + mean(f) ** 2) / 2,
        lambda r, f: [mean(r) - 1 for _ in r],
        lambda r, f: [mean(f) for _ in f],
    ),
    "lsgan-per-sample": (
        lambda r, f: every(r, f, lambda a, b: ((a - 1) ** 2 + b**2) / 2),
        lambda r, f: [a - 1 for a in r],
        lambda r, f: f,
    ),
    "lsgan-sigmoid": (
        lambda r, f: ((mean(map_(sigmoid, r)) - 1) ** 2 + mean(map_(sigmoid, f)) ** 2) / 2,
        lambda r, f: [(mean(map_(sigmoid, r)) - 1) * squash(a)[1] for a in r],
        lambda r, f: [mean(map_(sigmoid, f)) * squash(b)[1] for b in f],
    ),
    "lsgan-sigmoid-per-sample": (
        lambda r, f: every(r, f, lambda a, b: ((sigmoid(a) - 1) ** 2 + sigmoid(b) ** 2) / 2),
        lambda r, f: [(squash(a)[0] - 1) * squash(a)[1] for a in r],
        lambda r, f: [squash(b)[0] * squash(b)[1] for b in f],
    ),
    "relativistic-hinge": (
        lambda r, f: every(r, f, lambda a, b: max(0, 1 - (a - mean(f))) + max(0, 1 + (b - mean(r)))),
        lambda r, f: [-above(1, a - mean(f)) - mean([above(b - mean(r), -1) for b in f]) for a in r],
        lambda r, f: [above(b - mean(r), -1) + mean([above(1, a - mean(f)) for a in r]) for b in f],
    ),
    "relativistic-pairing": (
        lambda r, f: every(r, f, lambda a, b: -math.log(sigmoid(a - b))),
        lambda r, f: [-sigmoid(b - a) for a, b in zip(r, f, strict=True)],
        lambda r, f: [sigmoid(b - a) for a, b in zip(r, f, strict=True)],
    ),
}
D_LOSSES["logistic-saturating"] = D_LOSSES["logistic"]
D_LOSSES["standard-gan"] = (
    lambda r, f: -mean([math.log(sigmoid(a)) for a in r]) / 2 - mean([math.log(1 - sigmoid(b)) for b in f]) / 2,
    lambda r, f: [(sigmoid(a) - 1) / 2 for a in r],
    lambda r, f: [sigmoid(b) / 2 for b in f],
)
D_LOSSES["wgan-gp"], D_LOSSES["hinge-gp"] = D_LOSSES["wgan"], D_LOSSES["hinge"]


def none(r, f):
    return [0.0 for _ in r]


G_LOSSES = {
    "logistic": (lambda r, f: mean([-math.log(sigmoid(b)) for b in f]), none, lambda r, f: [sigmoid(b) - 1 for b in f]),
    "logistic-saturating": (
        lambda r, f: mean([math.log(1 - sigmoid(b)) for b in f]),
        none,
        lambda r, f: [-sigmoid(b) for b in f],
    ),
    "wgan": (lambda r, f: -mean(f), none, lambda r, f: [-1 for _ in f]),
    "lsgan": (lambda r, f: (mean(f) - 1) ** 2 / 2, none, lambda r, f: [mean(f) - 1 for _ in f]),
    "lsgan-per-sample": (lambda r, f: mean([(b - 1) ** 2 / 2 for b in f]), none, lambda r, f: [b - 1 for b in f]),
    "lsgan-sigmoid": (
        lambda r, f: (mean(map_(sigmoid, f)) - 1) ** 2 / 2,
        none,
        lambda r, f: [(mean(map_(sigmoid, f)) - 1) * squash(b)[1] for b in f],
    ),
    "lsgan-sigmoid-per-sample": (
        lambda r, f: mean([(sigmoid(b) - 1) ** 2 / 2 for b in f]),
        none,
        lambda r, f: [(squash(b)[0] - 1) * squash(b)[1] for b in f],
    ),
    "relativistic-hinge": (
        lambda r, f: every(r, f, lambda a, b: max(0, 1 + (a - mean(f))) + max(0, 1 - (b - mean(r)))),
        lambda r, f: [above(a - mean(f), -1) + mean([above(1, b - mean(r)) for b in f]) for a in r],
        lambda r, f: [-above(1, b - mean(r)) - mean([above(a - mean(f), -1) for a in r]) for b in f],
    ),
    "relativistic-pairing": (
        lambda r, f: every(r, f, lambda a, b: -math.log(sigmoid(b - a))),
        lambda r, f: [sigmoid(a - b) for a, b in zip(r, f, strict=True)],
        lambda r, f: [-sigmoid(a - b) for a, b in zip(r, f, strict=True)],
    ),
}
G_LOSSES["standard-gan"] = G_LOSSES["logistic"]
G_LOSSES["wgan-gp"] = G_LOSSES["hinge"] = G_LOSSES["hinge-gp"] = G_LOSSES["wgan"]


def map_(function, values):
    return [function(x) for x in values]


def test_every_loss_has_a_row_and_a_name():
    assert set(LOSSES) == set(D_LOSSES) == set(G_LOSSES)


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("of", ["d", "g"])
def test_values_and_gradients(of, name):
    real, fake = 2 * f64(6, 1).detach(), 2 * f64(6, 1).detach()
    real.requires_grad_(), fake.requires_grad_()
    values = getattr(LOSSES[name], of)(real, fake)
    assert values.shape == (6, 1)
    r, f = real.flatten().tolist(), fake.flatten().tolist()
    value, by_real, by_fake = (D_LOSSES if of == "d" else G_LOSSES)[name]
    assert values.mean().item() == pytest.approx(value(r, f), rel=1e-12)
    grads = torch.autograd.grad(values.sum(), (real, fake), allow_unused=True)
    for grad, expected, scores in zip(grads, (by_real, by_fake), (real, fake), strict=True):
        found = torch.zeros_like(scores) if grad is None else grad
        torch.testing.assert_close(found.flatten(), torch.tensor(expected(r, f), dtype=torch.float64))


def test_mixed_penalty_of_a_linear_score():
    """The gradient of sum <w_k, x_k> is w_k wherever it is taken."""
    w = [f64(1, 3, r, r) for r in (4, 8)]
    reals, fakes = ([f64(5, 3, r, r) for r in (4, 8)] for _ in range(2))

    def score(p):
        return sum((a * x).sum((1, 2, 3)) for a, x in zip(w, p, strict=True))[:, None]

    penalty = mixed_gradient_penalty(score, reals, fakes, torch.rand(5), 2.0)
    expected = mean([(a.norm().item() / 2 - 1) ** 2 for a in w])
    torch.testing.assert_close(penalty, torch.full((5,), expected, dtype=torch.float64))


def test_mixed_penalty_is_taken_between_reals_and_fakes():
    """The gradient of sum |x_k|^2 / 2 is x_k itself: the mixture, one factor a sample for all levels."""
    reals, fakes = ([f64(3, 1, r, r).detach() for r in (4, 8)] for _ in range(2))
    share = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)

    def score(p):
        return sum(x.square().sum((1, 2, 3)) for x in p)[:, None] / 2

    penalty = mixed_gradient_penalty(score, reals, fakes, share, 1.0)
    for i, s in enumerate(share.tolist()):
        norms = [((1 - s) * r[i] + s * f[i]).norm().item() for r, f in zip(reals, fakes, strict=True)]
        assert penalty[i].item() == pytest.approx(mean([(n - 1) ** 2 for n in norms]))


def test_mixed_penalty_can_be_differentiated():
    w, reals, fakes = f64(1, 1, 4, 4), [f64(2, 1, 4, 4).detach()], [f64(2, 1, 4, 4).detach()]

    def penalty(w):
        score = lambda p: (w * p[0] ** 2).sum((1, 2, 3))[:, None]  # noqa: E731
        return mixed_gradient_penalty(score, reals, fakes, torch.tensor([0.3, 0.8]), 1.5)

    assert torch.autograd.gradcheck(penalty, (w,))
    flat = mixed_gradient_penalty(lambda p: (w * 0 * p[0]).sum((1, 2, 3))[:, None], reals, fakes, torch.rand(2), 1.0)
    (grad,) = torch.autograd.grad(flat.sum(), w)
    assert flat.tolist() == [1, 1] and grad.isfinite().all()  # where D is flat


def _networks(kind):
    spec = ImageSpec(resolution=8, channels=2, c_dim=3)
    if kind == "msg_progan":
        g, d = ProGANGeneratorConfig(z_dim=6), ProGANDiscriminatorConfig(features=6)
    else:
        g = GeneratorConfig(z_dim=6, w_dim=6, mapping_layers=1, fmap_base=32, fmap_max=6)
        d = DiscriminatorConfig(fmap_base=32, fmap_max=6)
    return build_generator(g, spec).double(), build_discriminator(d, spec).double()


@pytest.mark.parametrize("kind", ["msg_stylegan", "msg_progan"])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_steps_with_all_penalties(kind, name):
    """Loss and gradients of both steps on real networks, with R1, R2, drift and gradient penalty, against autograd on
    levels that are pooled from one another inside the graph."""
    G, D = _networks(kind)
    cfg = LossConfig(name=name, r1_gamma=3, r2_gamma=2, drift=0.1, gp_weight=4, gp_target=1.5)
    reals = RealBatch(
        tuple(x.double() for x in from_images(torch.rand(4, 2, 8, 8) * 2 - 1)), torch.eye(3).double()[[0, 1, 2, 0]]
    )
    inputs = GeneratorInputs(
        torch.randn(4, 6).double(), reals.c, tuple(torch.randn(s).double() for s in G.synthesis.noise_shapes(4))
    )
    share, weight = torch.rand(4).double(), torch.tensor(0.5, dtype=torch.float64)
    found = d_step(G, D, cfg, reals, inputs, weight, share)
    fakes = G(inputs.z, inputs.c, noise=inputs.noise)

    def penalised(levels, pooled):
        eps = [torch.zeros_like(x, requires_grad=True) for x in levels]
        through = torch.nn.functional.avg_pool2d(eps[1], 2) if pooled else 0
        scores = D([levels[0].detach() + eps[0] + through, levels[1].detach() + eps[1]], reals.c)
        grads = torch.autograd.grad(scores.sum(), eps, create_graph=True)
        return scores, mean([g.square().sum((1, 2, 3)) for g in grads]).mean()

    real, r1 = penalised(reals.pyramid, pooled=True)
    fake, r2 = penalised(fakes, pooled=False)
    expected = LOSSES[name].d(real, fake).mean() + 0.5 * (1.5 * r1 + r2)
    if name.startswith("wgan"):
        expected = expected + 0.1 * real.square().mean()
    if name.endswith("-gp"):
        mixed = [
            torch.stack([(1 - s) * a + s * b for s, a, b in zip(share, r, f.detach(), strict=True)]).requires_grad_()
            for r, f in zip(reals.pyramid, fakes, strict=True)
        ]
        grads = torch.autograd.grad(D(mixed, reals.c).sum(), mixed, create_graph=True)
        expected = expected + 4 * mean([(g.flatten(1).norm(dim=1) / 1.5 - 1).square() for g in grads]).mean()
    torch.testing.assert_close(found.loss, expected)
    for a, b in zip(*(torch.autograd.grad(x, list(D.parameters())) for x in (found.loss, expected)), strict=True):
        torch.testing.assert_close(a, b)
    assert found.stats["Loss/r1_penalty"].mean().item() == pytest.approx(r1.item())
    without = d_step(G, D, cfg, reals, inputs, None, share).stats
    assert "Loss/r1_penalty" not in without and "Loss/r2_penalty" not in without

    found = g_step(G, D, cfg, inputs, reals).loss
    fakes = G(inputs.z, inputs.c, noise=inputs.noise)
    expected = LOSSES[name].g(D(reals.pyramid, reals.c), D(fakes, reals.c)).mean()
    torch.testing.assert_close(found, expected)
    for a, b in zip(*(torch.autograd.grad(x, list(G.parameters())) for x in (found, expected)), strict=True):
        torch.testing.assert_close(a, b)


def test_gamma_schedule():
    cfg = LossConfig(gamma_end=0.1, gamma_kimg=2)
    assert [round(cfg.gamma_factor(n), 6) for n in (0, 1000, 2000, 9000)] == [1, 0.55, 0.1, 0.1]
    assert cfg.gamma_factor(500) == pytest.approx(0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2)
    assert LossConfig().gamma_factor(10**9) == 1


def test_total_gradients_are_those_of_the_pooled_graph():
    """Levels pooled from one another inside the graph, every level perturbed on its own: plain autograd must agree."""
    weights = [f64(2, 3, r, r) for r in (4, 8, 16)]
    image = f64(2, 3, 16, 16)

    def score(pyramid):
        return sum((w * x**3).sum((1, 2, 3)) for w, x in zip(weights, pyramid, strict=True))[:, None]

    eps = [torch.zeros_like(w, requires_grad=True) for w in weights]
    level16 = image + eps[2]
    level8 = torch.nn.functional.avg_pool2d(level16, 2) + eps[1]
    level4 = torch.nn.functional.avg_pool2d(level8, 2) + eps[0]
    expected = torch.autograd.grad(score((level4, level8, level16)).sum(), eps)
    scores, partial = scores_and_gradients(score, from_images(image))
    total = total_gradients(partial)
    torch.testing.assert_close(scores, score(from_images(image)))
    for a, b in zip(total, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_penalty_is_the_mean_over_levels_of_squared_norms():
    gradients = [torch.full((2, 1, 4, 4), 0.5), torch.full((2, 1, 8, 8), 0.25)]
    torch.testing.assert_close(squared_gradient_norm(gradients), torch.full((2,), (16 * 0.25 + 64 * 0.0625) / 2))


def test_penalty_can_be_differentiated():
    """R1 of D(x) = sum w x^2 is mean over levels of |total gradient|^2; its gradient in w by finite differences."""
    w, image = f64(1, 3, 8, 8), f64(2, 3, 8, 8)

    def r1(w):
        _, g = scores_and_gradients(lambda p: (w * p[1] ** 2).sum((1, 2, 3))[:, None], from_images(image.detach()))
        return squared_gradient_norm(total_gradients(g)).mean()

    assert torch.autograd.gradcheck(r1, (w,))


def test_total_gradients_is_linear_and_keeps_the_smallest_level():
    partial = [f64(1, 1, r, r) for r in (4, 8)]
    total = total_gradients(partial)
    assert torch.equal(total[0], partial[0])
    torch.testing.assert_close(total[1][0, 0, 5, 2], partial[1][0, 0, 5, 2] + partial[0][0, 0, 2, 1] / 4)


def test_uint8_conversions():
    x = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).reshape(1, 1, 2, 2).repeat(1, 1, 2, 2)
    (small,) = from_uint8(x)
    torch.testing.assert_close(small[0, 0, :2, :2].flatten(), torch.tensor([-1, -1 / 255, 1 / 255, 1]))
    assert torch.equal(to_uint8(small), x)
    assert to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]
