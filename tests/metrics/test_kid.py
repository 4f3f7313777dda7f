"""KID on the same features as torch-fidelity."""

import math

import numpy as np
import pytest
import torch

from metrics.kid import polynomial_mmd
from tests.metrics import fidelity
from tests.metrics.helpers import features


def test_kid_is_that_of_torch_fidelity():
    x, y = features(300, 40), features(260, 40, 1, 0.2)
    kid = fidelity.load("metric_kid")
    options = {"kid_subsets": 20, "kid_subset_size": 100, "rng_seed": 7, "verbose": False, "kid_kernel": "poly",
               "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1}  # fmt: skip
    expected = kid.kid_features_to_metric(*(torch.from_numpy(v.astype(np.float64)) for v in (x, y)), **options)
    mean, error = polynomial_mmd(x, y, 20, 100, 7)
    assert mean == pytest.approx(expected[kid.KEY_METRIC_KID_MEAN], rel=1e-6)
    assert error == pytest.approx(expected[kid.KEY_METRIC_KID_STD] * math.sqrt(1 / 20 + 100 / 160), rel=1e-6)


def test_kid_is_unbiased():
    rng = np.random.default_rng(0)
    found = [polynomial_mmd(rng.normal(size=(60, 8)), rng.normal(size=(60, 8)), 1, 60, k)[0] for k in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(200)


@pytest.mark.parametrize("n", [60, 300])
def test_kids_standard_error_is_its_deviation(n):
    """Draw the sets anew from one distribution each time."""
    rng = np.random.default_rng(0)
    found = [polynomial_mmd(rng.normal(size=(n, 4)), rng.normal(size=(n, 4)) + 1, 50, 30, k) for k in range(150)]
    means, errors = np.array(found).T
    assert np.std(means) == pytest.approx(errors.mean(), rel=0.25)


def test_seeds_may_be_large():
    assert polynomial_mmd(features(20, 5), features(20, 5, 1), 3, 10, 2**40)[0] is not None
