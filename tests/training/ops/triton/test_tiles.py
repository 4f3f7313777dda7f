from hypothesis import given
from hypothesis import strategies as st

from training.ops.triton.tiles import MOST_PROGRAMS, VALUES, tiles


@given(st.integers(1, 2**24), st.integers(1, 1024))
def test_tiles_cover_every_value(pixels, channels):
    tile = tiles(pixels, channels)
    assert tile.blocks * tile.columns >= channels
    assert 1 <= tile.programs <= MOST_PROGRAMS
    assert tile.rows * tile.columns == VALUES

    # No program is without work.
    assert (tile.programs - 1) * tile.rows < pixels
    assert (tile.blocks - 1) * tile.columns < channels
