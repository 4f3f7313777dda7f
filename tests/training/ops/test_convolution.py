"""Convolutions against PyTorch's own, in float64, with first and second gradients, eager and compiled."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from training.ops.convolution import conv1x1, conv2d, conv_transpose2d
from training.ops.opaque import tell_compiler

CASES = [  # transposed, kernel, stride, padding
    (False, 3, 1, 1),
    (False, 1, 1, 0),
    (False, 4, 2, 1),
    (False, 3, 2, 1),
    (True, 4, 2, 1),
    (True, 3, 1, 1),
]


def operands(transposed, kernel, n=2, n_in=3, n_out=4, size=(6, 7), dtype=torch.float64):
    x = torch.randn(n, n_in, *size, dtype=dtype, requires_grad=True)
    shape = (n_in, n_out) if transposed else (n_out, n_in)
    return x, torch.randn(*shape, kernel, kernel, dtype=dtype, requires_grad=True)


def own(transposed, stride, padding):
    return lambda x, w: (conv_transpose2d if transposed else conv2d)(x, w, stride, padding)


def plain(transposed, stride, padding):
    return lambda x, w: (F.conv_transpose2d if transposed else F.conv2d)(x, w, None, stride, padding)


def penalty_gradients(convolve, x, w):
    """Return what R1 takes: the gradients of the squared norm of a gradient, by way of torch.func."""
    gradient = torch.func.grad(lambda x: convolve(x, w).pow(3).sum())(x)
    return torch.autograd.grad(gradient.square().sum(), (x, w))


@settings(max_examples=25, deadline=None)
@given(
    case=st.sampled_from(CASES),
    n=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    size=st.tuples(st.integers(4, 9), st.integers(4, 9)),
)
def test_values_and_gradients_are_those_of_pytorch(case, n, channels, size):
    transposed, kernel, stride, padding = case
    x, w = operands(transposed, kernel, n, *channels, size)
    ours, theirs = own(transposed, stride, padding), plain(transposed, stride, padding)
    torch.testing.assert_close(ours(x, w), theirs(x, w))
    for mine, expected in zip(
        (*torch.autograd.grad(ours(x, w).pow(3).sum(), (x, w)), *penalty_gradients(ours, x, w)),
        (*torch.autograd.grad(theirs(x, w).pow(3).sum(), (x, w)), *penalty_gradients(theirs, x, w)),
        strict=True,
    ):
        torch.testing.assert_close(mine, expected)


@pytest.mark.parametrize("case", CASES)
def test_compiled_penalties_are_those_of_pytorch(case):
    transposed, kernel, stride, padding = case
    x, w = operands(transposed, kernel)
    ours, theirs = own(transposed, stride, padding), plain(transposed, stride, padding)

    def gradient(x, w):
        return torch.func.grad(lambda x: ours(x, w).pow(3).sum())(x).square().sum()

    tell_compiler()
    compiled = torch.compile(gradient, backend="aot_eager", fullgraph=True)
    for mine, expected in zip(
        torch.autograd.grad(compiled(x, w), (x, w)), penalty_gradients(theirs, x, w), strict=True
    ):
        torch.testing.assert_close(mine, expected)


class Filters(TorchDispatchMode):
    """Collects the largest height of a filter that a convolution is called with."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.largest = max(self.largest, args[1].shape[2])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("case", CASES)
def test_no_filter_is_as_large_as_the_image(case):
    transposed, kernel, stride, padding = case
    x, w = operands(transposed, kernel, size=(16, 16))
    with Filters() as ours:
        penalty_gradients(own(transposed, stride, padding), x, w)
    with Filters() as theirs:
        penalty_gradients(plain(transposed, stride, padding), x, w)
    assert ours.largest == kernel < theirs.largest


def test_a_1x1_convolution_is_one_in_value_and_gradients():
    x, w = operands(False, 1)
    torch.testing.assert_close(conv1x1(x, w), F.conv2d(x, w))
    for mine, expected in zip(penalty_gradients(conv1x1, x, w), penalty_gradients(F.conv2d, x, w), strict=True):
        torch.testing.assert_close(mine, expected)


def test_maps_stay_channels_last():
    for n_in in (1, 3):
        x, w = operands(False, 3, n_in=n_in, dtype=torch.float32)
        x = x.detach().contiguous(memory_format=torch.channels_last)
        assert conv2d(x, w, padding=1).is_contiguous(memory_format=torch.channels_last)
        assert conv1x1(x, w[:, :, :1, :1]).is_contiguous(memory_format=torch.channels_last)


def test_autocast_chooses_the_dtype():
    x, w = operands(False, 3, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = conv2d(x, w, padding=1)
        penalty_gradients(own(False, 1, 1), x, w)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), conv2d(x, w, padding=1), atol=0.2, rtol=0.02)
