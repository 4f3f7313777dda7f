"""How kernels that sum over pixels divide channels_last maps among programs."""

from typing import NamedTuple

import triton

MOST_PROGRAMS = 1024  # of one launch: enough for any GPU, and few enough to add up what each has summed
VALUES = 2048  # of a tile: 16 for each of 128 threads


class Tiles(NamedTuple):
    """Tiles of `rows` pixels by `columns` channels. A program works on every `programs`-th of them."""

    programs: int
    blocks: int  # of channels
    rows: int
    columns: int


def tiles(pixels: int, channels: int, samples: int = 1) -> Tiles:
    """Return the tiles for maps of this size; with samples, each of these has programs of its own."""
    columns = min(triton.next_power_of_2(channels), 64)
    rows = VALUES // columns
    blocks = triton.cdiv(channels, columns)
    programs = min(triton.cdiv(pixels, rows), max(MOST_PROGRAMS // (samples * blocks), 1))
    return Tiles(programs, blocks, rows, columns)
