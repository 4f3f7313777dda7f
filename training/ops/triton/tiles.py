"""How kernels that sum over pixels divide channels_last maps among programs."""

from typing import NamedTuple

import triton

MOST_PROGRAMS = 1024  # for the pixels of one launch: enough for any GPU, and few enough to add up what each has summed
VALUES = 2048  # of a tile: 16 for each of 128 threads


class Tiles(NamedTuple):
    """Tiles of `rows` pixels by `columns` channels. A program works on every `programs`-th of them."""

    programs: int
    blocks: int  # of channels
    rows: int
    columns: int


def tiles(pixels: int, channels: int) -> Tiles:
    """Return the tiles for maps of this size."""
    columns = min(triton.next_power_of_2(channels), 64)
    rows = VALUES // columns
    return Tiles(min(triton.cdiv(pixels, rows), MOST_PROGRAMS), triton.cdiv(channels, columns), rows, columns)
