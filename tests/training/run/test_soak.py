"""The short form of `python -m tests.soak`."""

import pytest

from tests.soak import Options, soak


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_run_that_is_killed_every_few_seconds_ends_in_the_same_bits(tmp_path, gpus):
    figures = soak(Options(steps=40, gpus=gpus, most_seconds=1), tmp_path)
    assert sum(figures.kills.values()) >= 2
