"""Inception against torch-fidelity's."""

import pytest

from metrics.detectors.weights import INCEPTION
from tests.metrics import fidelity
from tests.metrics.detectors.helpers import assert_close, images, ours


@pytest.mark.parametrize("size", [64, 299, 400])
def test_inception_is_that_of_torch_fidelity(weights, size):
    theirs = fidelity.load("feature_extractor_inceptionv3").FeatureExtractorInceptionV3(
        "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights / INCEPTION.name)
    )
    x = images(2, size)
    expected, logits = theirs(x)
    features, unbiased = ours("inception", weights)(x)
    assert_close(features, expected, 1e-5)
    assert_close(unbiased, logits, 1e-5)


def test_inception_in_bf16_is_near(weights):
    x = images(2)
    exact, _ = ours("inception", weights)(x)
    rough, _ = ours("inception", weights, precision="bf16")(x)
    assert_close(rough, exact, 0.05)
