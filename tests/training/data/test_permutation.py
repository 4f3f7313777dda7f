import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.permutation import Permutation


@given(st.integers(1, 5000), st.integers(0, 2**63 - 1))
def test_everything_comes_exactly_once(length, seed):
    order = Permutation(length, seed)(np.arange(length))
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(length))


@given(st.integers(1, 2**62), st.integers(0, 2**63 - 1), st.lists(st.integers(0, 2**62 - 1), min_size=1, max_size=20))
def test_any_part_of_a_large_one_is_at_hand(length, seed, positions):
    positions = np.unique([p % length for p in positions])
    order = Permutation(length, seed)
    found = order(positions)
    assert ((found >= 0) & (found < length)).all() and len(np.unique(found)) == len(positions)
    np.testing.assert_array_equal(found[::-1], order(positions[::-1]))


def test_it_is_random():
    """Where each of 64 things lands is even over 4,000 seeds, and neighbours do not stay neighbours."""
    n, seeds = 64, 4000
    orders = np.stack([Permutation(n, seed)(np.arange(n)) for seed in range(seeds)])  # [seeds,n]
    counts = np.stack([np.bincount(column, minlength=n) for column in orders.T])  # [position,thing]
    expected = seeds / n
    chi_square = ((counts - expected) ** 2 / expected).sum()
    degrees = (n - 1) ** 2
    assert abs(chi_square - degrees) < 5 * np.sqrt(2 * degrees)

    steps = np.abs(np.diff(Permutation(10**9, 1)(np.arange(10**5))))
    assert abs(steps.mean() / (10**9 / 3) - 1) < 0.01
    assert np.corrcoef(np.arange(10**5), Permutation(10**9, 1)(np.arange(10**5)))[0, 1] < 0.02


@pytest.mark.parametrize("length", [0, -1, 2**62 + 1])
def test_wrong_lengths(length):
    with pytest.raises(ValueError, match="length: found"):
        Permutation(length, 0)
