"""Kernel of the blur, in one pass over the maps."""

import torch
import triton
import triton.language as tl

from training.ops.triton.operator import like, operator

VALUES = 1024  # of a tile: 8 for each of 128 threads
MOST_COLUMNS = 64  # channels of a tile


@triton.jit
def blur_kernel(
    x, y, HEIGHT, WIDTH, CHANNELS, TAPS: tl.constexpr, BEFORE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """Compute y = x filtered with TAPS along both axes; a tile lies within a row of an image."""
    tiles = tl.cdiv(WIDTH, ROWS)
    line = (tl.program_id(0) // tiles).to(tl.int64)  # of all images
    height = line % HEIGHT
    width = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)

    total = 0.0
    for tap in tl.static_range(len(TAPS)):
        total += TAPS[tap]

    # Each place is read once for each tap along each axis, all but the first time from the cache.
    value = tl.zeros((ROWS, COLUMNS), tl.float32)
    for down in tl.static_range(len(TAPS)):
        for right in tl.static_range(len(TAPS)):
            h = height + down - BEFORE
            w = width + right - BEFORE
            exists = ((h >= 0) & (h < HEIGHT) & (w >= 0) & (w < WIDTH))[:, None] & (column < CHANNELS)[None, :]
            i = ((line + down - BEFORE) * WIDTH + w)[:, None] * CHANNELS + column[None, :]
            weight = TAPS[down] * TAPS[right] / (total * total)
            value += weight * tl.load(x + i, mask=exists, other=0.0).to(tl.float32)

    exists = (width < WIDTH)[:, None] & (column < CHANNELS)[None, :]
    i = (line * WIDTH + width)[:, None] * CHANNELS + column[None, :]
    tl.store(y + i, value.to(y.dtype.element_ty), mask=exists)


@operator("blur(Tensor x, int[] taps, int before) -> Tensor")
def blur(x: torch.Tensor, taps: list[int], before: int) -> torch.Tensor:
    """Filter x [N,C,H,W] with taps, scaled to a sum of 1, along both axes, `before` of them before each pixel."""
    x = x.contiguous(memory_format=torch.channels_last)
    y = like(x)
    n, channels, height, width = x.shape
    columns = min(triton.next_power_of_2(channels), MOST_COLUMNS)
    rows = VALUES // columns
    grid = (n * height * triton.cdiv(width, rows), triton.cdiv(channels, columns))
    blur_kernel[grid](x, y, height, width, channels, tuple(taps), before, rows, columns)
    return y
