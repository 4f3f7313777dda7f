"""Kernels of the synthesis epilogue with instance norm: noise, bias, activation, instance norm and style.

Maps are channels_last. Forward, one pass sums up the activated maps, and another one normalises them; backward, there
are two passes as well. Activated maps are computed again in each of them and never stored.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd import Function

from training.ops.epilogue import published_epilogue_ref
from training.ops.triton.operator import like, operator
from training.ops.triton.tiles import tiles


@triton.jit
def _load_noise(noise, row, PIXELS, NOISE_STRIDE):
    """Return the noise [rows] of this program's sample."""
    place = tl.program_id(2).to(tl.int64) * NOISE_STRIDE + row
    return tl.load(noise + place, mask=row < PIXELS, other=0.0).to(tl.float32)


@triton.jit
def _activated(x, bias, noise, strength, row, column, exists, PIXELS, CHANNELS, NOISE_STRIDE, slope):
    """Return activation(x + noise * strength + bias) [rows,columns] of this program's sample."""
    real = column < CHANNELS
    place = (tl.program_id(2).to(tl.int64) * PIXELS + row)[:, None] * CHANNELS + column[None, :]
    value = tl.load(x + place, mask=exists, other=0.0).to(tl.float32)
    value += tl.load(bias + column, mask=real, other=0.0).to(tl.float32)[None, :]

    if noise is not None:
        of_noise = tl.load(strength + column, mask=real, other=0.0).to(tl.float32)
        value += _load_noise(noise, row, PIXELS, NOISE_STRIDE)[:, None] * of_noise[None, :]
    return tl.where(value > 0, value, value * slope)


@triton.jit
def _store_sums(first, second, sums, column, CHANNELS):
    """Store what this program has summed up in sums [programs,N,2,C]."""
    place = (tl.program_id(0) * tl.num_programs(2) + tl.program_id(2)) * 2 * CHANNELS + column
    tl.store(sums + place, first, mask=column < CHANNELS)
    tl.store(sums + place + CHANNELS, second, mask=column < CHANNELS)


@triton.jit
def _load_pair(pairs, column, CHANNELS):
    """Return both values of each channel of this program's sample, from pairs [N,2,C], in float32."""
    place = tl.program_id(2) * 2 * CHANNELS + column
    first = tl.load(pairs + place, mask=column < CHANNELS, other=0.0).to(tl.float32)
    return first, tl.load(pairs + place + CHANNELS, mask=column < CHANNELS, other=0.0).to(tl.float32)


@triton.jit
def sums_kernel(
    x,
    bias,
    noise,
    strength,
    sums,
    PIXELS,
    CHANNELS,
    NOISE_STRIDE,
    slope,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Sum the activated maps and their squares, counted from the value of the first pixel: sums [programs,N,2,C].

    Without that, the variance of a map whose mean is large would be a small difference between large numbers.
    """
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    first = tl.zeros((1,), tl.int32)
    real = column < CHANNELS
    pivot = _activated(x, bias, noise, strength, first, column, real[None, :], PIXELS, CHANNELS, NOISE_STRIDE, slope)

    # Over the tiles of this program.
    total = tl.zeros((COLUMNS,), tl.float32)
    squares = tl.zeros((COLUMNS,), tl.float32)
    start = tl.program_id(0) * ROWS
    while start < PIXELS:
        row = start + tl.arange(0, ROWS)
        exists = (row < PIXELS)[:, None] & real[None, :]
        value = _activated(x, bias, noise, strength, row, column, exists, PIXELS, CHANNELS, NOISE_STRIDE, slope)
        value = tl.where(exists, value - pivot, 0.0)
        total += tl.sum(value, 0)
        squares += tl.sum(value * value, 0)
        start += tl.num_programs(0) * ROWS

    _store_sums(total, squares, sums, column, CHANNELS)


@triton.jit
def moments_kernel(
    x,
    bias,
    noise,
    strength,
    sums,
    moments,
    PROGRAMS,
    PIXELS,
    CHANNELS,
    NOISE_STRIDE,
    slope,
    eps,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Compute the mean and 1 / standard deviation of each map from the sums: moments [N,2,C]."""
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    real = column < CHANNELS

    # What all programs have summed up.
    total = tl.zeros((COLUMNS,), tl.float32)
    squares = tl.zeros((COLUMNS,), tl.float32)
    start = 0
    while start < PROGRAMS:
        program = start + tl.arange(0, ROWS)
        exists = (program < PROGRAMS)[:, None] & real[None, :]
        place = (program * tl.num_programs(2) + tl.program_id(2))[:, None] * 2 * CHANNELS + column[None, :]
        total += tl.sum(tl.load(sums + place, mask=exists, other=0.0), 0)
        squares += tl.sum(tl.load(sums + place + CHANNELS, mask=exists, other=0.0), 0)
        start += ROWS

    # From the first pixel's value back to 0.
    first = tl.zeros((1,), tl.int32)
    pivot = _activated(x, bias, noise, strength, first, column, real[None, :], PIXELS, CHANNELS, NOISE_STRIDE, slope)
    mean = total / PIXELS
    variance = squares / PIXELS - mean * mean
    variance = tl.where(variance > 0, variance, 0.0)

    place = tl.program_id(2) * 2 * CHANNELS + column
    tl.store(moments + place, mean + tl.sum(pivot, 0), mask=real)
    tl.store(moments + place + CHANNELS, 1 / tl.sqrt(variance + eps), mask=real)


@triton.jit
def apply_kernel(
    x,
    bias,
    noise,
    strength,
    moments,
    style,
    y,
    PIXELS,
    CHANNELS,
    NOISE_STRIDE,
    slope,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Compute y = normalised map * (scale + 1) + shift, with style [N,2C] = (scale, shift)."""
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    real = column < CHANNELS
    mean, gain = _load_pair(moments, column, CHANNELS)
    scale, shift = _load_pair(style, column, CHANNELS)

    # One tile, from x to y.
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    exists = (row < PIXELS)[:, None] & real[None, :]
    value = _activated(x, bias, noise, strength, row, column, exists, PIXELS, CHANNELS, NOISE_STRIDE, slope)
    value = (value - mean[None, :]) * (gain * (scale + 1))[None, :] + shift[None, :]
    i = (tl.program_id(2).to(tl.int64) * PIXELS + row)[:, None] * CHANNELS + column[None, :]
    tl.store(y + i, value.to(y.dtype.element_ty), mask=exists)


@triton.jit
def style_gradient_kernel(
    dy,
    x,
    bias,
    noise,
    strength,
    moments,
    sums,
    PIXELS,
    CHANNELS,
    NOISE_STRIDE,
    slope,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Sum dy times the normalised maps, and dy, over the pixels: sums [programs,N,2,C], the gradient of the style."""
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    real = column < CHANNELS
    sample = tl.program_id(2).to(tl.int64)
    mean, gain = _load_pair(moments, column, CHANNELS)

    # Over the tiles of this program.
    products = tl.zeros((COLUMNS,), tl.float32)
    total = tl.zeros((COLUMNS,), tl.float32)
    start = tl.program_id(0) * ROWS
    while start < PIXELS:
        row = start + tl.arange(0, ROWS)
        exists = (row < PIXELS)[:, None] & real[None, :]
        value = _activated(x, bias, noise, strength, row, column, exists, PIXELS, CHANNELS, NOISE_STRIDE, slope)
        i = (sample * PIXELS + row)[:, None] * CHANNELS + column[None, :]
        gradient = tl.load(dy + i, mask=exists, other=0.0).to(tl.float32)
        products += tl.sum(gradient * (value - mean[None, :]) * gain[None, :], 0)
        total += tl.sum(gradient, 0)
        start += tl.num_programs(0) * ROWS

    _store_sums(products, total, sums, column, CHANNELS)


@triton.jit
def gradient_kernel(
    dy,
    x,
    bias,
    noise,
    strength,
    moments,
    style,
    dstyle,
    dx,
    sums,
    PIXELS,
    CHANNELS,
    NOISE_STRIDE,
    slope,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Compute the gradient of x, and sum those of the bias and of the strength of the noise: sums [programs,N,2,C].

    With a = gain * (scale + 1) and the normalised map u, the gradient of an activated map is
    a * (dy - mean(dy) - u * mean(dy * u)).
    """
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    real = column < CHANNELS
    sample = tl.program_id(2).to(tl.int64)

    # What holds for a whole map: its moments, its style, and the means that the first backward pass has summed up.
    mean, gain = _load_pair(moments, column, CHANNELS)
    scale, _ = _load_pair(style, column, CHANNELS)
    sum_product, sum_gradient = _load_pair(dstyle, column, CHANNELS)
    factor = gain * (scale + 1)
    mean_product = sum_product / PIXELS
    mean_gradient = sum_gradient / PIXELS

    # Over the tiles of this program.
    of_bias = tl.zeros((COLUMNS,), tl.float32)
    of_strength = tl.zeros((COLUMNS,), tl.float32)
    start = tl.program_id(0) * ROWS
    while start < PIXELS:
        row = start + tl.arange(0, ROWS)
        exists = (row < PIXELS)[:, None] & real[None, :]
        value = _activated(x, bias, noise, strength, row, column, exists, PIXELS, CHANNELS, NOISE_STRIDE, slope)
        i = (sample * PIXELS + row)[:, None] * CHANNELS + column[None, :]
        gradient = tl.load(dy + i, mask=exists, other=0.0).to(tl.float32)

        # Back through the norm and through the activation.
        normalised = (value - mean[None, :]) * gain[None, :]
        gradient = factor[None, :] * (gradient - mean_gradient[None, :] - normalised * mean_product[None, :])
        gradient = tl.where(exists, tl.where(value > 0, gradient, gradient * slope), 0.0)
        tl.store(dx + i, gradient.to(dx.dtype.element_ty), mask=exists)
        of_bias += tl.sum(gradient, 0)
        if noise is not None:
            of_strength += tl.sum(gradient * _load_noise(noise, row, PIXELS, NOISE_STRIDE)[:, None], 0)
        start += tl.num_programs(0) * ROWS

    _store_sums(of_bias, of_strength, sums, column, CHANNELS)


class _Launch:
    """What the kernels have in common: maps x [N,C,H,W], and noise [N or 1,1,H,W] or none."""

    def __init__(self, x: torch.Tensor, noise: torch.Tensor | None, slope: float) -> None:
        n, channels, height, width = x.shape
        pixels = height * width
        tile = tiles(pixels, channels, n)
        self.programs = tile.programs
        self.grid = (tile.programs, tile.blocks, n)
        self.one_program = (1, tile.blocks, n)
        self.one_tile_each = (triton.cdiv(pixels, tile.rows), tile.blocks, n)
        self.sums = x.new_empty((tile.programs, n, 2, channels), dtype=torch.float32)

        # From the noise of one sample to that of the next.
        stride = 0 if noise is None or noise.shape[0] == 1 else pixels
        self.sizes = (pixels, channels, stride, slope)
        self.tile = (tile.rows, tile.columns)


def _contiguous(noise: torch.Tensor | None) -> torch.Tensor | None:
    """Return noise as the kernels read it."""
    return None if noise is None else noise.contiguous()


def _moments_like(x: torch.Tensor, *_: object) -> torch.Tensor:
    """Return an empty tensor for the moments of x."""
    return x.new_empty((x.shape[0], 2, x.shape[1]), dtype=torch.float32)


@operator(
    "epilogue_moments(Tensor x, Tensor bias, Tensor? noise, Tensor? strength, float slope, float eps) -> Tensor",
    _moments_like,
)
def moments(
    x: torch.Tensor,
    bias: torch.Tensor,
    noise: torch.Tensor | None,
    strength: torch.Tensor | None,
    slope: float,
    eps: float,
) -> torch.Tensor:
    """Return the mean and 1 / standard deviation of each activated map: [N,2,C]."""
    x = x.contiguous(memory_format=torch.channels_last)
    maps = (x, bias, _contiguous(noise), strength)
    launch = _Launch(x, noise, slope)
    sums_kernel[launch.grid](*maps, launch.sums, *launch.sizes, *launch.tile)

    result = _moments_like(x)
    moments_kernel[launch.one_program](*maps, launch.sums, result, launch.programs, *launch.sizes, eps, *launch.tile)
    return result


@operator(
    "epilogue(Tensor x, Tensor bias, Tensor? noise, Tensor? strength, Tensor moments, Tensor style, float slope)"
    " -> Tensor"
)
def apply(
    x: torch.Tensor,
    bias: torch.Tensor,
    noise: torch.Tensor | None,
    strength: torch.Tensor | None,
    moments: torch.Tensor,
    style: torch.Tensor,
    slope: float,
) -> torch.Tensor:
    """Return the activated, normalised and styled maps [N,C,H,W]."""
    x = x.contiguous(memory_format=torch.channels_last)
    y = like(x)
    launch = _Launch(x, noise, slope)
    maps = (x, bias, _contiguous(noise), strength)
    apply_kernel[launch.one_tile_each](*maps, moments, style, y, *launch.sizes, *launch.tile)
    return y


def _gradient_like(_: object, x: torch.Tensor, *__: object) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return empty tensors for the gradients of x, style, and bias with strength."""
    n, channels, _, _ = x.shape
    pairs = x.new_empty((n + 1, 2 * channels), dtype=torch.float32)
    return like(x), pairs[:n], pairs[n].view(2, channels)


@operator(
    "epilogue_gradient(Tensor dy, Tensor x, Tensor bias, Tensor? noise, Tensor? strength, Tensor moments,"
    " Tensor style, float slope) -> (Tensor, Tensor, Tensor)",
    _gradient_like,
)
def gradient(
    dy: torch.Tensor,
    x: torch.Tensor,
    bias: torch.Tensor,
    noise: torch.Tensor | None,
    strength: torch.Tensor | None,
    moments: torch.Tensor,
    style: torch.Tensor,
    slope: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of x [N,C,H,W] and style [N,2C], and those of bias and strength [2,C]."""
    dy, x = (t.contiguous(memory_format=torch.channels_last) for t in (dy, x))
    maps = (x, bias, _contiguous(noise), strength)
    launch = _Launch(x, noise, slope)
    style_gradient_kernel[launch.grid](dy, *maps, moments, launch.sums, *launch.sizes, *launch.tile)
    dstyle = launch.sums.sum(0).flatten(1)  # [N,2C]

    dx = like(x)
    gradient_kernel[launch.grid](dy, *maps, moments, style, dstyle, dx, launch.sums, *launch.sizes, *launch.tile)
    return dx, dstyle, launch.sums.sum((0, 1))


class _Epilogue(Function):
    """The epilogue, and the moments, which have no gradient."""

    @staticmethod
    def forward(
        x: torch.Tensor,
        bias: torch.Tensor,
        noise: torch.Tensor | None,
        strength: torch.Tensor | None,
        style: torch.Tensor,
        slope: float,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        statistics = moments(x, bias, noise, strength, slope, eps)
        return apply(x, bias, noise, strength, statistics, style, slope), statistics

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
        x, bias, noise, strength, style, ctx.slope, _ = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(x, bias, noise, strength, style, output[1])

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, bias, noise, strength, style, statistics = ctx.saved_tensors

        # The kernels have no derivatives of their own, so a second one takes PyTorch's operators.
        if torch.is_grad_enabled():
            inputs = (x, bias, noise, strength, style)
            wanted = [t for t, needed in zip(inputs, ctx.needs_input_grad, strict=False) if needed]
            y = published_epilogue_ref(*inputs, ctx.slope)
            gradients = iter(torch.autograd.grad(y, wanted, dy, create_graph=True))
            return (*(next(gradients) if needed else None for needed in ctx.needs_input_grad[:5]), None, None)

        dx, dstyle, sums = gradient(dy, x, bias, noise, strength, statistics, style, ctx.slope)
        dstrength = None if strength is None else sums[1].to(strength.dtype)
        return dx, sums[0].to(bias.dtype), None, dstrength, dstyle.to(style.dtype), None, None


def epilogue(
    x: torch.Tensor,
    bias: torch.Tensor,
    noise: torch.Tensor | None,
    strength: torch.Tensor | None,
    style: torch.Tensor,
    slope: float,
    eps: float,
) -> torch.Tensor:
    """Apply noise times strength, bias, activation, instance norm and style to x [N,C,H,W].

    noise [N or 1,1,H,W]; strength and bias [C]; style [N,2C] = (scale, shift). There is no gradient of the noise.
    Raises ValueError for other shapes, which the kernels could not read.
    """
    n, channels, height, width = x.shape
    expected = {"bias": (channels,), "strength": (channels,), "style": (n, 2 * channels)}
    found = {"bias": bias, "strength": strength, "style": style}
    for name, tensor in found.items():
        if tensor is not None and tensor.shape != expected[name]:
            raise ValueError(f"epilogue: found a {name} of shape {tuple(tensor.shape)}, expected {expected[name]}")
    if noise is not None and noise.shape not in ((n, 1, height, width), (1, 1, height, width)):
        raise ValueError(f"epilogue: found noise of shape {tuple(noise.shape)}, expected {(n, 1, height, width)}")

    # The kernels read these one value after the other.
    bias, style = bias.contiguous(), style.contiguous()
    strength = None if strength is None else strength.contiguous()
    y, _ = _Epilogue.apply(x, bias, noise, strength, style, slope, eps)  # type: ignore[no-untyped-call]
    return y  # type: ignore[no-any-return]
