"""Minibatch standard deviation (ProGAN, section 3). Every gradient order is supported."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch.autograd import Function

from training.ops.convolution import conv2d
from training.ops.dtype import at_least_fp32
from training.ops.implementation import Impl, use_triton
from training.ops.opaque import opaque

EPS = 1e-8


def minibatch_stddev(x: torch.Tensor, group_size: int | None, num_features: int, impl: Impl = "auto") -> torch.Tensor:
    """Return the spread of each group of samples, x [N,C,H,W] -> [N,num_features].

    A feature is the mean, over a group of channels and all pixels, of the standard deviation over a group of samples.
    The original appends the features to x as constant maps; here `conv2d_with_constants` takes them. Sample i belongs
    to group i mod (N / group_size); None = one group. Statistics are taken in at least float32, with eps 1e-8 in the
    root. Raises ValueError unless N is at most `group_size` or a multiple of it, and C a multiple of `num_features`.
    """
    n, c, _, _ = x.shape
    g = min(group_size or n, n)  # samples in a group
    if n % g:
        raise ValueError(f"minibatch stddev: found {n} images, expected at most {g} or a multiple of it")
    if c % num_features:
        raise ValueError(f"minibatch stddev: found {c} channels, expected a multiple of num_features {num_features}")
    return _mean_stddev(x, g, num_features, use_triton(impl, x, when_compiling=True))


@opaque
def _mean_stddev(x: torch.Tensor, g: int, f: int, triton: bool) -> torch.Tensor:
    """Call the operation below."""
    return _MeanStddev.apply(x, g, f, triton)  # type: ignore[no-any-return, no-untyped-call]


class _MeanStddev(Function):
    """The standard deviation s over the g members of each group, and its mean over P channels and pixels.

    Autograd would keep ten tensors as large as x for a second derivative, and read them several times. Here x alone is
    kept. With u_i = (x_i - mean) / s of member i, the derivative with respect to x_i is u_i / (g * P).
    """

    @staticmethod
    def forward(x: torch.Tensor, g: int, f: int, triton: bool) -> torch.Tensor:
        mean = _kernels().mean(x, g, f, EPS) if triton else _mean(x, g, f)  # [M,f]
        return mean.repeat(g, 1)  # [N,f]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, int, int, bool], output: torch.Tensor) -> None:
        x, ctx.g, ctx.f, ctx.triton = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        return _MeanStddevGradient.apply(x, dy, ctx.g, ctx.f, ctx.triton), None, None, None


class _MeanStddevGradient(Function):
    """dx_i = k * u_i, where k is dy / (g * P), and dy is summed over the members of a group."""

    @staticmethod
    def forward(x: torch.Tensor, dy: torch.Tensor, g: int, f: int, triton: bool) -> torch.Tensor:
        dy = _by_group(dy, g)  # [M,f]
        return _kernels().gradient(x, dy, g, f, EPS) if triton else _gradient(x, dy, g, f)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, int, int, bool], output: torch.Tensor
    ) -> None:
        x, dy, ctx.g, ctx.f, ctx.triton = inputs
        ctx.save_for_backward(x, dy)

    @staticmethod
    def backward(ctx: Any, ddx: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None, None]:
        x, dy = ctx.saved_tensors
        g, f = ctx.g, ctx.f
        summed = _by_group(dy, g)  # [M,f]

        # The kernel has no derivative of its own, so a third one takes PyTorch's operators.
        if ctx.triton and not torch.is_grad_enabled():
            dx, ddy = _kernels().second_gradient(x, ddx, summed, g, f, EPS)
        else:
            dx, ddy = _second_gradient(x, ddx, summed, g, f)
        return dx, ddy.repeat(g, 1).to(dy.dtype), None, None, None


def _kernels() -> ModuleType:
    """Import the kernels, which need Triton."""
    from training.ops.triton import minibatch_stddev as kernels

    return kernels


def _by_group(dy: torch.Tensor, g: int) -> torch.Tensor:
    """Return dy [N,f] summed over the members of each group: [M,f]."""
    return at_least_fp32(dy).reshape(g, -1, dy.shape[1]).sum(0)


def _mean(x: torch.Tensor, g: int, f: int) -> torch.Tensor:
    """Return the mean standard deviation of each group over the channels and pixels of each feature: [M,f]."""
    _, s = _deviations(x, g)
    return _by_feature(s, f).mean((2, 3, 4))


def _gradient(x: torch.Tensor, dy: torch.Tensor, g: int, f: int) -> torch.Tensor:
    """Return k * u_i for each member, [N,C,H,W], with k from dy [M,f]."""
    centred, s = _deviations(x, g)
    factor = _factor(dy, x, g) / s  # [M,C,H,W]
    return torch.cat([member * factor for member in centred]).to(x.dtype)


def _second_gradient(
    x: torch.Tensor, ddx: torch.Tensor, dy: torch.Tensor, g: int, f: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the derivatives of `_gradient`, times ddx, with respect to x [N,C,H,W] and to dy [M,f].

    With t_i for ddx_i, the one with respect to x_i is k / s * (t_i - mean(t) - u_i * mean(t * u)).
    """
    centred, s = _deviations(x, g)
    t = _members(ddx, g)
    k = _factor(dy, x, g)  # [M,C,1,1]

    # Sums over the members.
    inverse = 1 / s
    mean_t = _sum(t) / g
    sum_tu = _sum_of_products(t, centred) * inverse

    a = k * inverse
    b = a * inverse * sum_tu / g
    shift = -a * mean_t
    dx = [torch.addcmul(torch.addcmul(shift, t_i, a), u_i, b, value=-1) for t_i, u_i in zip(t, centred, strict=True)]
    return torch.cat(dx).to(x.dtype), _by_feature(sum_tu, f).mean((2, 3, 4)) / g


def _members(x: torch.Tensor, g: int) -> Sequence[torch.Tensor]:
    """Return the i-th member of every group for each i, g times [M,C,H,W], in at least float32."""
    # A list of tensors is faster here than one large tensor.
    return at_least_fp32(x).reshape(g, x.shape[0] // g, *x.shape[1:]).unbind(0)


def _deviations(x: torch.Tensor, g: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return the members of each group minus their mean, g times [M,C,H,W], and their standard deviation [M,C,H,W]."""
    members = _members(x, g)
    mean = _sum(members) / g
    centred = [member - mean for member in members]
    return centred, (_sum_of_products(centred, centred) / g + EPS).sqrt()


def _factor(dy: torch.Tensor, x: torch.Tensor, g: int) -> torch.Tensor:
    """Return dy [M,f] for each channel of x [N,C,H,W], divided by all that is averaged: [M,C,1,1]."""
    _, c, h, w = x.shape
    per_feature = c // dy.shape[1]
    return (dy / (g * per_feature * h * w)).repeat_interleave(per_feature, 1)[:, :, None, None]


def _by_feature(s: torch.Tensor, f: int) -> torch.Tensor:
    """Return s [M,C,H,W] with its channels by feature, [M,f,C/f,H,W]."""
    m, c, h, w = s.shape
    return s.reshape(m, f, c // f, h, w)


def _sum(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum of tensors of one shape."""
    return sum(tensors[1:], tensors[0])


def _sum_of_products(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum of a_i * b_i."""
    total = a[0] * b[0]
    for a_i, b_i in zip(a[1:], b[1:], strict=True):
        total = torch.addcmul(total, a_i, b_i)
    return total


def conv2d_with_constants(x: torch.Tensor, constants: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Convolve x [N,C,H,W] with `constants` [N,F] appended as maps of one value each, padding SAME: [N,O,H,W].

    weight: [O,C+F,k,k]. The convolution of a constant map differs between samples by that constant only, so it is taken
    once, of ones [1,1,H,W]: nothing is concatenated, and C stays a number of channels that convolutions are fast at.
    """
    c, f = x.shape[1], constants.shape[1]
    k = weight.shape[-1]
    of_maps, of_constants = weight.split([c, f], 1)
    y = conv2d(x, of_maps, padding=k // 2)  # [N,O,H,W]
    n, o, h, w = y.shape

    # Zero padding makes the convolution of ones fall off at the border, so it is a map and not a number.
    ones = torch.ones(1, 1, h, w, device=x.device, dtype=x.dtype)
    of_ones = conv2d(ones, of_constants.reshape(o * f, 1, k, k), padding=k // 2)  # [1,O*F,H,W]
    of_ones = of_ones.view(o, f, h, w).permute(1, 2, 3, 0).reshape(f, -1)  # [F,H*W*O]

    # A product of matrices, because its derivatives of every order are as well, and stay channels_last.
    pixels = y.permute(0, 2, 3, 1).reshape(n, -1)  # [N,H*W*O]
    pixels = torch.addmm(pixels, constants.to(y.dtype), of_ones)
    return pixels.view(n, h, w, o).permute(0, 3, 1, 2)  # [N,O,H,W]
