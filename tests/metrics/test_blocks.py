"""Work in blocks, in order."""

import pytest

from metrics.blocks import Stopped, in_blocks


def test_blocks_are_in_order_and_the_last_is_smaller():
    assert list(in_blocks(10, 4, lambda start, end: (start, end), "x", "img")) == [(0, 4), (4, 8), (8, 10)]
    assert list(in_blocks(0, 4, lambda start, end: (start, end), "x", "img")) == []


def test_whoever_asks_it_to_stop_does_not_wait_for_the_rest():
    seen = []
    with pytest.raises(Stopped):
        list(in_blocks(10, 4, lambda start, end: seen.append(start), "x", "img", stop=lambda: len(seen) == 2))
    assert seen == [0, 4]
