"""The inception score on the same logits as torch-fidelity."""

import pytest
import torch

from metrics.inception_score import score
from tests.metrics import fidelity
from tests.metrics.helpers import features


@pytest.mark.parametrize("n", [50, 37])
def test_inception_score_is_that_of_torch_fidelity(n):
    logits = features(n, 20) * 3
    isc = fidelity.load("metric_isc")
    expected = isc.isc_features_to_metric(torch.from_numpy(logits), 10, shuffle=False)
    mean, std = score([logits[i : i + 8] for i in range(0, n, 8)], n)
    assert mean == pytest.approx(expected[isc.KEY_METRIC_ISC_MEAN], rel=1e-6)
    assert std == pytest.approx(expected[isc.KEY_METRIC_ISC_STD], rel=1e-6)
