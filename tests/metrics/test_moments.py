"""Moments, the Fréchet distance and its bias, against numpy, scipy and torch-fidelity."""

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import cache
from metrics.moments import Moments, bias, frechet
from tests.metrics import fidelity
from tests.metrics.helpers import features, moments


@given(st.integers(2, 60), st.integers(1, 20), st.integers(1, 70))
@settings(max_examples=50, deadline=None)
def test_streamed_moments_are_those_of_numpy(n, f, batch):
    x = features(n, f)
    mean, cov = moments(x, batch).total()
    np.testing.assert_allclose(mean, x.mean(0, dtype=np.float64), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(cov, np.cov(x.astype(np.float64), rowvar=False).reshape(f, f), rtol=1e-9, atol=1e-12)


def test_frechet_is_the_closed_form_for_commuting_covariances():
    a, b = np.diag([1.0, 4, 9]), np.diag([4.0, 4, 1])
    expected = 14 + ((np.sqrt([1, 4, 9]) - np.sqrt([4, 4, 1])) ** 2).sum()
    assert frechet((np.zeros(3), a), (np.array([1, 2, 3.0]), b)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [20, 400])  # fewer and more than features
def test_frechet_is_that_of_scipy_and_torch_fidelity(n):
    x, y = features(n, 50), features(n, 50, 1, 0.3)
    found = frechet(moments(x).total(), moments(y).total())
    (m1, s1), (m2, s2) = moments(x).total(), moments(y).total()
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2) - 2 * scipy.linalg.sqrtm(s1 @ s2).real.trace()
    assert found == pytest.approx(expected, rel=1e-6 if n > 50 else 1e-4)  # sqrtm is not exact for singular matrices
    fid = fidelity.load("metric_fid")
    stats = [fid.fid_features_to_statistics(torch.from_numpy(v.astype(np.float64))) for v in (x, y)]
    assert found == pytest.approx(fid.fid_statistics_to_metric(*stats, False)[fid.KEY_METRIC_FID], rel=1e-6)


@pytest.mark.parametrize("n", [10, 300])
def test_distance_of_a_set_to_itself_is_zero(n):
    m = moments(features(n, 40))
    assert abs(frechet(m.total(), m.total())) < 1e-6


def test_bias_is_what_more_images_take_away():
    """The whole distance between two sets of one distribution is bias."""
    x, y = moments(features(400, 30, 0)), moments(features(400, 30, 0)[::-1])
    rng = np.random.default_rng(0)
    a, b = (moments(rng.normal(size=(400, 30))) for _ in range(2))
    found = frechet(a.total(), b.total())
    assert bias(a, b, found) == pytest.approx(found, rel=0.35) and abs(frechet(x.total(), y.total())) < 1e-6


def test_bias_of_repeated_reals_is_that_of_the_images():
    """Fifty images shown four times tell as little as fifty images."""
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=(50, 10)), rng.normal(size=(4000, 10))
    repeated, once = Moments(10), Moments(10)
    for _ in range(4):
        repeated.add(few, np.arange(50) >= 25)
    once.add(few, np.arange(50) >= 25)
    other = moments(many)
    a, b = (frechet(m.total(), other.total()) for m in (repeated, once))
    assert bias(repeated, other, a) == pytest.approx(bias(once, other, b), rel=0.2) and bias(once, other, b) > 0.3 * b


def test_saved_moments_are_the_same_or_refused(tmp_path):
    m = moments(features(30, 5))
    with open(tmp_path / "m.npz", "wb") as f:
        m.save(f)
    again = Moments.load(tmp_path / "m.npz")
    assert np.array_equal(again.outer, m.outer) and np.array_equal(again.n, m.n)
    raw = (tmp_path / "m.npz").read_bytes()
    (tmp_path / "m.npz").write_bytes(raw[: len(raw) // 2])
    assert cache.load(tmp_path / "m.npz", Moments.load) is None
