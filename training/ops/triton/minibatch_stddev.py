"""Kernels of minibatch stddev: its value, gradient, and gradient of the gradient, in one pass over the maps each.

Maps are channels_last. Sample i is member i // M of group i mod M, of M groups. A program works on BLOCK values of one
feature at the same place of all members of a group. It reads them up to four times, of which all but the first come
from the cache.
"""

import torch
import triton
import triton.language as tl

from training.ops.triton.operator import like, operator

BLOCK = 1024  # 8 values for each of 128 threads: one 128-bit load of bf16


@triton.jit
def _places(SIZE, CHANNELS, FEATURES: tl.constexpr, BLOCK: tl.constexpr):
    """Return where the values of this program lie within a sample, and which of them exist."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = i < SIZE // FEATURES

    # With one feature, the values of a sample are those of the feature. Otherwise each pixel has a run of its channels.
    if FEATURES == 1:
        return i, exists
    per_feature = CHANNELS // FEATURES
    return i // per_feature * CHANNELS + tl.program_id(2) * per_feature + i % per_feature, exists


@triton.jit
def _load(x, member, place, exists, groups, SIZE):
    """Return values of one member of this program's group, in float32."""
    sample = (member * groups + tl.program_id(1)).to(tl.int64)
    return tl.load(x + sample * SIZE + place, mask=exists, other=0.0).to(tl.float32)


@triton.jit
def _store(values, out, member, place, exists, groups, SIZE):
    """Store values of one member of this program's group."""
    sample = (member * groups + tl.program_id(1)).to(tl.int64)
    tl.store(out + sample * SIZE + place, values.to(out.dtype.element_ty), mask=exists)


@triton.jit
def _moments(x, place, exists, groups, SIZE, MEMBERS: tl.constexpr, BLOCK: tl.constexpr, EPS: tl.constexpr):
    """Return the mean over the members of the group, and 1 / their standard deviation."""
    mean = tl.zeros((BLOCK,), tl.float32)
    for member in range(MEMBERS):
        mean += _load(x, member, place, exists, groups, SIZE)
    mean /= MEMBERS

    variance = tl.zeros((BLOCK,), tl.float32)
    for member in range(MEMBERS):
        centred = _load(x, member, place, exists, groups, SIZE) - mean
        variance += centred * centred
    return mean, 1 / tl.sqrt(variance / MEMBERS + EPS)


@triton.jit
def _store_sum(values, factor, sums):
    """Store the sum of this program's values, times factor, in sums [M,features,programs]."""
    row = tl.program_id(1) * tl.num_programs(2) + tl.program_id(2)
    tl.store(sums + row * tl.num_programs(0) + tl.program_id(0), tl.sum(values, 0) * factor)


@triton.jit
def value_kernel(
    x,
    sums,
    groups,
    SIZE,
    CHANNELS,
    MEMBERS: tl.constexpr,
    FEATURES: tl.constexpr,
    BLOCK: tl.constexpr,
    EPS: tl.constexpr,
):
    """Compute the share of this program in the mean standard deviation."""
    place, exists = _places(SIZE, CHANNELS, FEATURES, BLOCK)
    _, inverse = _moments(x, place, exists, groups, SIZE, MEMBERS, BLOCK, EPS)
    _store_sum(tl.where(exists, 1 / inverse, 0.0), 1.0 / (SIZE // FEATURES), sums)


@triton.jit
def gradient_kernel(
    x,
    dy,
    dx,
    groups,
    SIZE,
    CHANNELS,
    MEMBERS: tl.constexpr,
    FEATURES: tl.constexpr,
    BLOCK: tl.constexpr,
    EPS: tl.constexpr,
):
    """Compute dx_i = k * (x_i - mean) / s, where k is dy [M,features], divided by all that is averaged."""
    place, exists = _places(SIZE, CHANNELS, FEATURES, BLOCK)
    mean, inverse = _moments(x, place, exists, groups, SIZE, MEMBERS, BLOCK, EPS)
    k = tl.load(dy + tl.program_id(1) * FEATURES + tl.program_id(2)) / MEMBERS / (SIZE // FEATURES)

    for member in range(MEMBERS):
        centred = _load(x, member, place, exists, groups, SIZE) - mean
        _store(centred * inverse * k, dx, member, place, exists, groups, SIZE)


@triton.jit
def second_kernel(
    x,
    ddx,
    dy,
    dx,
    sums,
    groups,
    SIZE,
    CHANNELS,
    MEMBERS: tl.constexpr,
    FEATURES: tl.constexpr,
    BLOCK: tl.constexpr,
    EPS: tl.constexpr,
):
    """Compute, with t_i for ddx_i and u_i for (x_i - mean) / s, the gradients of sum(t_i * k * u_i).

    With respect to x_i it is k / s * (t_i - mean(t) - u_i * mean(t * u)); with respect to dy, the sum of t_i * u_i,
    divided by all that is averaged.
    """
    place, exists = _places(SIZE, CHANNELS, FEATURES, BLOCK)
    mean, inverse = _moments(x, place, exists, groups, SIZE, MEMBERS, BLOCK, EPS)
    k = tl.load(dy + tl.program_id(1) * FEATURES + tl.program_id(2)) / MEMBERS / (SIZE // FEATURES)

    # Sums over the members.
    sum_t = tl.zeros((BLOCK,), tl.float32)
    sum_tu = tl.zeros((BLOCK,), tl.float32)
    for member in range(MEMBERS):
        t = _load(ddx, member, place, exists, groups, SIZE)
        u = (_load(x, member, place, exists, groups, SIZE) - mean) * inverse
        sum_t += t
        sum_tu += t * u
    _store_sum(tl.where(exists, sum_tu, 0.0), 1.0 / MEMBERS / (SIZE // FEATURES), sums)

    # The gradient of each member.
    for member in range(MEMBERS):
        t = _load(ddx, member, place, exists, groups, SIZE)
        u = (_load(x, member, place, exists, groups, SIZE) - mean) * inverse
        gradient = k * inverse * (t - sum_t / MEMBERS - u * sum_tu / MEMBERS)
        _store(gradient, dx, member, place, exists, groups, SIZE)


class _Launch:
    """What the three kernels have in common: maps x [N,C,H,W] with groups of `members` samples."""

    def __init__(self, x: torch.Tensor, members: int, features: int, eps: float) -> None:
        n, channels, height, width = x.shape
        groups = n // members
        size = channels * height * width
        programs = triton.cdiv(size // features, BLOCK)

        self.grid = (programs, groups, features)
        self.sums = x.new_empty((groups, features, programs), dtype=torch.float32)
        self.arguments = (groups, size, channels, members, features, BLOCK, eps)


def _mean_like(x: torch.Tensor, members: int, features: int, eps: float) -> torch.Tensor:
    """Return an empty tensor for the means."""
    return x.new_empty((x.shape[0] // members, features), dtype=torch.float32)


@operator("stddev_mean(Tensor x, int members, int features, float eps) -> Tensor", _mean_like)
def mean(x: torch.Tensor, members: int, features: int, eps: float) -> torch.Tensor:
    """Return the mean standard deviation of each group and feature of x [N,C,H,W]: [M,features]."""
    x = x.contiguous(memory_format=torch.channels_last)
    launch = _Launch(x, members, features, eps)
    value_kernel[launch.grid](x, launch.sums, *launch.arguments)
    return launch.sums.sum(-1)


@operator("stddev_gradient(Tensor x, Tensor dy, int members, int features, float eps) -> Tensor")
def gradient(x: torch.Tensor, dy: torch.Tensor, members: int, features: int, eps: float) -> torch.Tensor:
    """Return k * (x_i - mean) / s for x [N,C,H,W], with k from dy [M,features]."""
    x = x.contiguous(memory_format=torch.channels_last)
    dx = like(x)
    launch = _Launch(x, members, features, eps)
    gradient_kernel[launch.grid](x, dy.contiguous(), dx, *launch.arguments)
    return dx


def _second_gradient_like(
    x: torch.Tensor, ddx: torch.Tensor, dy: torch.Tensor, *_: object
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return empty tensors for the derivatives with respect to x and dy."""
    return like(x), torch.empty_like(dy)


@operator(
    "stddev_second_gradient(Tensor x, Tensor ddx, Tensor dy, int members, int features, float eps) -> (Tensor, Tensor)",
    _second_gradient_like,
)
def second_gradient(
    x: torch.Tensor, ddx: torch.Tensor, dy: torch.Tensor, members: int, features: int, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the derivatives of `gradient`, times ddx, with respect to x [N,C,H,W] and to dy [M,features]."""
    x = x.contiguous(memory_format=torch.channels_last)
    ddx = ddx.contiguous(memory_format=torch.channels_last)
    dx = like(x)
    launch = _Launch(x, members, features, eps)
    second_kernel[launch.grid](x, ddx, dy.contiguous(), dx, launch.sums, *launch.arguments)
    return dx, launch.sums.sum(-1)
