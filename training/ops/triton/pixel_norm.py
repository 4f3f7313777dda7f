"""Kernels of pixel norm, in one pass over the maps each, where PyTorch's own operators take four to eight."""

import torch
import triton
import triton.language as tl

from training.ops.triton.operator import like, operator

VALUES = 2048  # of a tile, which has all channels of some pixels


@triton.jit
def _places(PIXELS, CHANNELS, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return where the values of this program lie [rows,columns], and which of them exist."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    return row[:, None].to(tl.int64) * CHANNELS + column[None, :], (row < PIXELS)[:, None] & (column < CHANNELS)[
        None, :
    ]


@triton.jit
def forward_kernel(x, y, PIXELS, CHANNELS, eps, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Compute y = r * x, with r = 1 / sqrt(mean square) over the channels."""
    i, exists = _places(PIXELS, CHANNELS, ROWS, COLUMNS)
    value = tl.load(x + i, mask=exists, other=0.0).to(tl.float32)
    r = 1 / tl.sqrt(tl.sum(value * value, 1) / CHANNELS + eps)
    tl.store(y + i, (value * r[:, None]).to(y.dtype.element_ty), mask=exists)


@triton.jit
def gradient_kernel(dy, x, dx, PIXELS, CHANNELS, eps, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Compute dx = r * (dy - y * mean(dy * y))."""
    i, exists = _places(PIXELS, CHANNELS, ROWS, COLUMNS)
    value = tl.load(x + i, mask=exists, other=0.0).to(tl.float32)
    gradient = tl.load(dy + i, mask=exists, other=0.0).to(tl.float32)
    r = 1 / tl.sqrt(tl.sum(value * value, 1) / CHANNELS + eps)
    normalised = value * r[:, None]
    mean = tl.sum(gradient * normalised, 1) / CHANNELS
    gradient = (gradient - normalised * mean[:, None]) * r[:, None]
    tl.store(dx + i, gradient.to(dx.dtype.element_ty), mask=exists)


def _launch(x: torch.Tensor) -> tuple[tuple[int], tuple[int, int], tuple[int, int]]:
    """Return the grid, the numbers of pixels and channels, and the size of a tile."""
    n, channels, height, width = x.shape
    pixels = n * height * width
    columns = triton.next_power_of_2(channels)
    rows = max(VALUES // columns, 1)
    return (triton.cdiv(pixels, rows),), (pixels, channels), (rows, columns)


@operator("pixel_norm(Tensor x, float eps) -> Tensor")
def forward(x: torch.Tensor, eps: float) -> torch.Tensor:
    """Return x [N,C,H,W] with each pixel's vector scaled to unit mean square."""
    x = x.contiguous(memory_format=torch.channels_last)
    y = like(x)
    grid, sizes, tile = _launch(x)
    forward_kernel[grid](x, y, *sizes, eps, *tile)
    return y


@operator("pixel_norm_gradient(Tensor dy, Tensor x, float eps) -> Tensor")
def gradient(dy: torch.Tensor, x: torch.Tensor, eps: float) -> torch.Tensor:
    """Return the gradient with respect to x [N,C,H,W]."""
    dy, x = (t.contiguous(memory_format=torch.channels_last) for t in (dy, x))
    dx = like(x)
    grid, sizes, tile = _launch(x)
    gradient_kernel[grid](dy, x, dx, *sizes, eps, *tile)
    return dx
