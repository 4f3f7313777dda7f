"""Consistency of levels that are one image."""

from metrics.catalog import choose
from tests.metrics.helpers import context, linear


def test_consistency_of_pooled_levels_is_zero():
    found = choose("consistency64")[0](context(linear())).values
    assert found["consistency"] < 1e-12 and set(found) == {"consistency", "consistency_4", "consistency_8"}
