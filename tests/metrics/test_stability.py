"""Stability of a generator that changes by a known amount."""

import pytest

from metrics.catalog import choose
from tests.metrics.helpers import Linear, context, linear


def test_stability_is_the_mean_squared_change():
    found = choose("stability16")[0](context(linear(shift=0.5), previous=Linear)).values
    assert found["stability_16"] == pytest.approx(0.25, rel=1e-5) and found["stability"] == found["stability_16"]
