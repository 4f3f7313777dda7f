"""Warps against grid_sample, which PyTorch differentiates once, and against values that can be counted by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from training.ops.opaque import tell_compiler
from training.ops.warp import _places, scatter, warp2d

PADDINGS = ["reflection", "zeros"]


def f64(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def maps(n):
    """Turns, scales and shifts that leave the image on all sides."""
    return torch.eye(2, 3, dtype=torch.float64) + 0.6 * torch.randn(n, 2, 3, dtype=torch.float64)


@pytest.mark.parametrize("padding", PADDINGS)
def test_values_and_gradients_are_those_of_grid_sample(padding):
    x, theta = f64(3, 2, 6, 4), maps(3)
    found = warp2d(x, theta, padding)
    grid = F.affine_grid(theta, (3, 2, 6, 4), align_corners=False)
    expected = F.grid_sample(x, grid, "bilinear", padding, align_corners=False)
    torch.testing.assert_close(found, expected)
    dy = torch.randn_like(found)
    torch.testing.assert_close(torch.autograd.grad(found, x, dy), torch.autograd.grad(expected, x, dy))
    assert torch.autograd.gradgradcheck(lambda x: warp2d(x, theta, padding), x)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(6, 4), (3, 3), (1, 5)])
def test_what_gpus_scatter_is_what_cpus_do(padding, size):
    x, theta = f64(3, 2, *size), 3 * maps(3)
    dy = torch.randn(3, 2, *size, dtype=torch.float64)
    [expected] = torch.autograd.grad(warp2d(x, theta, padding), x, dy)
    torch.testing.assert_close(scatter(dy, _places(theta, *size), padding), expected)


def test_flips_turns_and_shifts_by_hand():
    x = torch.randn(1, 3, 4, 6)
    flip = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]])
    torch.testing.assert_close(warp2d(x, flip, "zeros"), x.flip(3))
    shift = torch.tensor([[[1.0, 0, 2 * 2 / 6], [0, 1, -1 * 2 / 4]]])  # two to the left, one down
    moved = warp2d(x, shift, "zeros")
    torch.testing.assert_close(moved[:, :, 1:, :4], x[:, :, :-1, 2:])
    assert moved[:, :, 0].abs().max() < 1e-6 and moved[:, :, :, 4:].abs().max() < 1e-6
    mirrored = warp2d(x, shift, "reflection")
    torch.testing.assert_close(mirrored[:, :, 0, :4], x[:, :, 0, 2:])
    torch.testing.assert_close(mirrored[:, :, 1, 4:], x[:, :, 0, [5, 4]])
    square = torch.randn(1, 1, 5, 5)
    quarter = torch.tensor([[[math.cos(math.pi / 2), -1, 0], [1, math.cos(math.pi / 2), 0]]])
    torch.testing.assert_close(warp2d(square, quarter, "reflection"), square.rot90(1, (2, 3)))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_penalty_through_a_warp_under_torch_func(compiled):
    x, weight, theta = f64(2, 3, 4, 4), f64(2, 3, 4, 4), maps(2)

    def penalty(weight):
        score = lambda x: (warp2d(x, theta, "reflection") * weight).pow(3).sum()  # noqa: E731
        return torch.func.grad(score)(x.detach()).square().sum()

    def plain(weight):
        grid = F.affine_grid(theta, (2, 3, 4, 4), align_corners=False)
        matrix = torch.stack(
            [
                F.grid_sample(
                    e.view(1, 1, 4, 4).expand(2, 1, 4, 4), grid, "bilinear", "reflection", align_corners=False
                )
                for e in torch.eye(16, dtype=torch.float64)
            ],
            dim=-1,
        )  # [2,1,4,4,16]: the warp as a matrix
        y = torch.einsum("nhwp,ncp->nchw", matrix[:, 0], x.detach().flatten(2))
        inner = 3 * (y * weight).pow(2) * weight
        return torch.einsum("nhwp,nchw->ncp", matrix[:, 0], inner).square().sum()

    if compiled:
        tell_compiler()
        penalty = torch.compile(penalty, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(penalty(weight), plain(weight))
    torch.testing.assert_close(torch.autograd.grad(penalty(weight), weight), torch.autograd.grad(plain(weight), weight))


def test_half_precision_of_networks_does_not_blur_places():
    x, theta = torch.randn(1, 1, 256, 256), torch.eye(2, 3)[None]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(warp2d(x, theta, "zeros"), x, atol=1e-4, rtol=0)
