"""Kernels of bias and activation, in one pass over the maps each, where PyTorch's own operators take two or three.

Maps are channels_last. The activation multiplies what is not positive by `slope`: 0.2 for leaky ReLU, 0 for ReLU, 1 for
none. Its output is positive where its input is, so the output alone is kept for the derivatives.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd import Function

from training.ops.triton.operator import like, operator
from training.ops.triton.tiles import tiles

BLOCK = 1024  # 8 values for each of 128 threads: one 128-bit load of bf16


@triton.jit
def _places(CHANNELS, BLOCK: tl.constexpr):
    """Return where the values of this program lie, and their channels."""
    start = tl.program_id(0).to(tl.int64) * BLOCK
    offset = tl.arange(0, BLOCK)
    return start + offset, ((start % CHANNELS).to(tl.int32) + offset) % CHANNELS


@triton.jit
def forward_kernel(x, bias, y, SIZE, CHANNELS, slope, BLOCK: tl.constexpr):
    """Compute y = activation(x + bias)."""
    i, channel = _places(CHANNELS, BLOCK)
    exists = i < SIZE
    value = tl.load(x + i, mask=exists, other=0.0).to(tl.float32) + tl.load(bias + channel).to(tl.float32)
    value = tl.where(value > 0, value, value * slope)
    tl.store(y + i, value.to(y.dtype.element_ty), mask=exists)


@triton.jit
def tangent_kernel(dx, dbias, y, dy, SIZE, CHANNELS, slope, BLOCK: tl.constexpr):
    """Compute how y changes along dx and dbias."""
    i, channel = _places(CHANNELS, BLOCK)
    exists = i < SIZE
    value = tl.load(dx + i, mask=exists, other=0.0).to(tl.float32) + tl.load(dbias + channel).to(tl.float32)

    # The activation is a product with 1 or with the slope.
    value = tl.where(tl.load(y + i, mask=exists, other=0.0) > 0, value, value * slope)
    tl.store(dy + i, value.to(dy.dtype.element_ty), mask=exists)


@triton.jit
def gradient_kernel(dy, y, dx, sums, PIXELS, CHANNELS, slope, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Compute the gradient with respect to x, and this program's share of the one with respect to the bias."""
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((COLUMNS,), tl.float32)

    # Over the tiles of this program.
    start = tl.program_id(0) * ROWS
    while start < PIXELS:
        row = start + tl.arange(0, ROWS)
        exists = (row < PIXELS)[:, None] & (column < CHANNELS)[None, :]
        i = row[:, None].to(tl.int64) * CHANNELS + column[None, :]

        value = tl.load(dy + i, mask=exists, other=0.0).to(tl.float32)
        value = tl.where(tl.load(y + i, mask=exists, other=0.0) > 0, value, value * slope)
        tl.store(dx + i, value.to(dx.dtype.element_ty), mask=exists)
        total += tl.sum(value, 0)
        start += tl.num_programs(0) * ROWS
    tl.store(sums + tl.program_id(0) * CHANNELS + column, total, mask=column < CHANNELS)


@operator("bias_act(Tensor x, Tensor bias, float slope) -> Tensor")
def forward(x: torch.Tensor, bias: torch.Tensor, slope: float) -> torch.Tensor:
    """Return activation(x + bias) for x [N,C,H,W] and bias [C]."""
    x = x.contiguous(memory_format=torch.channels_last)
    y = like(x)
    grid = (triton.cdiv(x.numel(), BLOCK),)
    forward_kernel[grid](x, bias.contiguous(), y, x.numel(), x.shape[1], slope, BLOCK)
    return y


@operator("bias_act_tangent(Tensor dx, Tensor dbias, Tensor y, float slope) -> Tensor")
def tangent(dx: torch.Tensor, dbias: torch.Tensor, y: torch.Tensor, slope: float) -> torch.Tensor:
    """Return the change of y [N,C,H,W] along dx [N,C,H,W] and dbias [C]."""
    dx, y = (t.contiguous(memory_format=torch.channels_last) for t in (dx, y))
    dy = like(dx)
    grid = (triton.cdiv(dx.numel(), BLOCK),)
    tangent_kernel[grid](dx, dbias.contiguous(), y, dy, dx.numel(), dx.shape[1], slope, BLOCK)
    return dy


def _gradient_like(dy: torch.Tensor, y: torch.Tensor, slope: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return empty tensors for the gradients of x and bias."""
    return like(dy), dy.new_empty(dy.shape[1], dtype=torch.float32)


@operator("bias_act_gradient(Tensor dy, Tensor y, float slope) -> (Tensor, Tensor)", _gradient_like)
def gradient(dy: torch.Tensor, y: torch.Tensor, slope: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients with respect to x [N,C,H,W] and bias [C]."""
    dy, y = (t.contiguous(memory_format=torch.channels_last) for t in (dy, y))
    n, channels, height, width = dy.shape
    pixels = n * height * width
    tile = tiles(pixels, channels)

    # Each program stores its sums, which are added in a fixed order, so that results repeat.
    dx = like(dy)
    sums = dy.new_empty((tile.programs, channels), dtype=torch.float32)
    grid = (tile.programs, tile.blocks)
    gradient_kernel[grid](dy, y, dx, sums, pixels, channels, slope, tile.rows, tile.columns)
    return dx, sums.sum(0)


class _BiasAct(Function):
    """y = activation(x + bias)."""

    @staticmethod
    def forward(x: torch.Tensor, bias: torch.Tensor, slope: float) -> torch.Tensor:
        return forward(x, bias, slope)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, float], output: torch.Tensor) -> None:
        _, bias, ctx.slope = inputs
        ctx.dtype = bias.dtype
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        (y,) = ctx.saved_tensors
        dx, dbias = _Gradient.apply(dy, y, ctx.slope)
        return dx, dbias.to(ctx.dtype), None


class _Gradient(Function):
    """The gradients of `_BiasAct`. They are linear in dy, and change with y in jumps only."""

    @staticmethod
    def forward(dy: torch.Tensor, y: torch.Tensor, slope: float) -> tuple[torch.Tensor, torch.Tensor]:
        return gradient(dy, y, slope)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, float], output: Any) -> None:
        _, y, ctx.slope = inputs
        ctx.save_for_backward(y)

    @staticmethod
    def backward(ctx: Any, ddx: torch.Tensor, ddbias: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (y,) = ctx.saved_tensors
        return _Tangent.apply(ddx, ddbias, y, ctx.slope), None, None


class _Tangent(Function):
    """The derivative of `_Gradient`, whose own derivative is `_Gradient` again."""

    @staticmethod
    def forward(dx: torch.Tensor, dbias: torch.Tensor, y: torch.Tensor, slope: float) -> torch.Tensor:
        return tangent(dx, dbias, y, slope)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor, float], output: torch.Tensor
    ) -> None:
        _, _, y, ctx.slope = inputs
        ctx.save_for_backward(y)

    @staticmethod
    def backward(ctx: Any, ddy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        (y,) = ctx.saved_tensors
        dx, dbias = _Gradient.apply(ddy, y, ctx.slope)
        return dx, dbias, None, None


def bias_act(x: torch.Tensor, bias: torch.Tensor, slope: float) -> torch.Tensor:
    """Return activation(x + bias) for x [N,C,H,W] and bias [C]; every gradient order is supported."""
    return _BiasAct.apply(x, bias, slope)  # type: ignore[no-any-return, no-untyped-call]
