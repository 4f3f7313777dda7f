"""Resampling against the plain compositions they stand for, in float64, with first and second gradients."""

import pytest
import torch
import torch.nn.functional as F

from training.ops.opaque import tell_compiler
from training.ops.resample import _shifted_sums, blur2d, conv_down2d, conv_up2d, mean2d


def f64(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("rotate", [False, True])
def test_conv_up_is_nearest_then_conv(rotate):
    x, w = f64(2, 3, 4, 5), f64(4, 3, 3, 3)
    plain = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), w.rot90(2, (2, 3)) if rotate else w, padding=1)
    torch.testing.assert_close(conv_up2d(x, w, rotate), plain)
    assert torch.autograd.gradcheck(lambda x, w: conv_up2d(x, w, rotate), (x, w))


def test_conv_down_is_conv_then_mean():
    x, w = f64(2, 3, 6, 4), f64(4, 3, 3, 3)
    torch.testing.assert_close(conv_down2d(x, w), F.avg_pool2d(F.conv2d(x, w, padding=1), 2))
    assert torch.autograd.gradgradcheck(conv_down2d, (x, w))


@pytest.mark.parametrize("compiled", [False, True])
def test_means_under_torch_func(compiled):
    x, weight = f64(2, 3, 6, 4), f64(2, 3, 6, 4)

    def penalty(weight, mean):
        return torch.func.grad(lambda x: mean(x * weight).pow(3).sum())(x.detach()).square().sum()

    def ours(weight):
        return penalty(weight, mean2d)

    if compiled:
        tell_compiler()
        ours = torch.compile(ours, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(mean2d(x), F.avg_pool2d(x, 2))
    [expected] = torch.autograd.grad(penalty(weight, lambda x: F.avg_pool2d(x, 2)), weight)
    torch.testing.assert_close(torch.autograd.grad(ours(weight), weight)[0], expected)


@pytest.mark.parametrize("taps", [(1, 2, 1), (1, 3, 3, 1), (1,), (1, 4, 6, 4, 1)])
def test_blur_by_hand(taps):
    x = f64(2, 3, 5, 6)
    f = torch.tensor(taps, dtype=torch.float64) / sum(taps)
    kernel = torch.outer(f, f)
    k = len(taps)
    expected = torch.zeros(2, 3, 5, 6, dtype=torch.float64)
    for i in range(5):
        for j in range(6):
            for a in range(k):
                for b in range(k):
                    y, z = i + a - (k - 1) // 2, j + b - (k - 1) // 2
                    if 0 <= y < 5 and 0 <= z < 6:
                        expected[:, :, i, j] += kernel[a, b] * x[:, :, y, z].detach()
    torch.testing.assert_close(blur2d(x, taps), expected)
    torch.testing.assert_close(_shifted_sums(x, taps, (k - 1) // 2), expected)
    assert torch.autograd.gradgradcheck(lambda x: blur2d(x, taps).square(), (x,))


@pytest.mark.parametrize("taps", [(1, 2, 1), (1, 3, 3, 1)])
def test_blur_is_the_same_in_bf16_and_compiled(taps):
    x = torch.randn(2, 3, 6, 5).contiguous(memory_format=torch.channels_last)
    expected = blur2d(x, taps)
    torch.testing.assert_close(blur2d(x.bfloat16(), taps).float(), expected, atol=0.02, rtol=0.02)
    compiled = torch.compile(lambda x: blur2d(x, taps), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)
    assert blur2d(x, taps).is_contiguous(memory_format=torch.channels_last)
    assert blur2d(x, ()) is x
