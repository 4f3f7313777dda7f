"""Precision and recall on the same features as torch-fidelity."""

import numpy as np
import pytest
import torch

from metrics.precision_recall import covered, squared_distances
from tests.metrics import fidelity
from tests.metrics.helpers import CPU, features


def test_precision_and_recall_are_those_of_torch_fidelity(monkeypatch):
    monkeypatch.setattr("metrics.precision_recall.ROWS", 64)
    fake, real = features(150, 12, 0), features(200, 12, 0, 0.3)
    prc = fidelity.load("metric_prc")
    expected = prc.calculate_precision_recall_full(torch.from_numpy(fake), torch.from_numpy(real), 3)
    assert (covered(fake, real, 3, CPU), covered(real, fake, 3, CPU)) == pytest.approx(expected, abs=1e-6)
    assert 0 < expected[0] < 1 and 0 < expected[1] < 1


def test_equal_points_are_at_no_distance():
    """Every point several times, in features whose squares are large: only equal ones are within the balls."""
    x = features(40, 200, 0, 50.0)
    x = x[np.r_[0:40, 0:40, 0:40, 0:40]]
    assert covered(x, x, 3, CPU) == 1 and covered(x[:40], x, 3, CPU) == 1
    assert covered(x + np.float32(1e-3), x, 3, CPU) == 0
    a, b = (torch.from_numpy(v).double() for v in (x[:7], x[3:12]))
    torch.testing.assert_close(squared_distances(a, b).sqrt(), (a[:, None] - b).norm(dim=2))
