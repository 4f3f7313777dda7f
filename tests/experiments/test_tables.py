"""Means and intervals."""

import math

import pytest
from scipy import stats

from experiments.tables import T95, interval


@pytest.mark.parametrize("n", T95)
def test_intervals_are_those_of_student(n):
    values = [math.sin(3 * k) for k in range(n)]
    low, high = stats.t.interval(0.95, n - 1, loc=0, scale=stats.sem(values))
    assert interval(values) == pytest.approx((high - low) / 2, rel=1e-3)


def test_one_value_has_no_interval():
    assert math.isnan(interval([1.0]))
