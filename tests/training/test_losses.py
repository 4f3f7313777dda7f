"""Losses and penalties by hand, in float64."""

import math

import pytest
import torch

from training.losses import LOSSES, gradient_penalty, scores_and_gradients
from training.pyramid import from_images, from_uint8, to_uint8, total_gradients


def f64(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def test_logistic_values_and_gradients():
    real, fake = f64(5, 1), f64(5, 1)
    loss = LOSSES["logistic"]
    d, g = loss.d(real, fake), loss.g(fake)
    for i in range(5):
        r, f = real[i].item(), fake[i].item()
        assert d[i].item() == pytest.approx(-math.log(1 / (1 + math.exp(-r))) - math.log(1 - 1 / (1 + math.exp(-f))))
        assert g[i].item() == pytest.approx(-math.log(1 / (1 + math.exp(-f))))
    sig = torch.sigmoid
    dr, df = torch.autograd.grad(d.sum(), (real, fake))
    torch.testing.assert_close(dr, sig(real) - 1)
    torch.testing.assert_close(df, sig(fake))
    torch.testing.assert_close(torch.autograd.grad(g.sum(), fake)[0], sig(fake) - 1)


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
    scores, total = scores_and_gradients(score, from_images(image))
    torch.testing.assert_close(scores, score(from_images(image)))
    for a, b in zip(total, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_penalty_is_the_mean_over_levels_of_squared_norms():
    gradients = [torch.full((2, 1, 4, 4), 0.5), torch.full((2, 1, 8, 8), 0.25)]
    torch.testing.assert_close(gradient_penalty(gradients), torch.full((2,), (16 * 0.25 + 64 * 0.0625) / 2))


def test_penalty_can_be_differentiated():
    """R1 of D(x) = sum w x^2 is mean over levels of |total gradient|^2; its gradient in w by finite differences."""
    w, image = f64(1, 3, 8, 8), f64(2, 3, 8, 8)

    def r1(w):
        _, g = scores_and_gradients(lambda p: (w * p[1] ** 2).sum((1, 2, 3))[:, None], from_images(image.detach()))
        return gradient_penalty(g).mean()

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
