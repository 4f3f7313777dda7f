"""VGG16 and LPIPS against torch-fidelity's."""

import torch

from metrics.detectors.weights import LPIPS_WEIGHTS, VGG
from tests.metrics import fidelity
from tests.metrics.detectors.helpers import assert_close, images, ours


def test_vgg16_is_that_of_torch_fidelity(weights):
    theirs = fidelity.load("feature_extractor_vgg16").FeatureExtractorVGG16
    module = theirs("vgg16", ["fc2_relu"], feature_extractor_weights_path=str(weights / VGG.name))
    x = images(2)
    assert_close(ours("vgg16", weights)(x)[0], module(x)[0], 1e-5)


def test_lpips_is_that_of_torch_fidelity(weights, monkeypatch):
    theirs = fidelity.load("sample_similarity_lpips")
    vgg = fidelity.vgg16()
    vgg.load_state_dict(torch.load(weights / VGG.name))
    monkeypatch.setattr(theirs, "torchvision_load_pretrained_vgg16", lambda **_: vgg)
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *a, **k: torch.load(weights / LPIPS_WEIGHTS.name))
    a, b = images(3), images(3, seed=1)
    expected = theirs.SampleSimilarityLPIPS("lpips")(a, b)
    lpips = ours("lpips", weights)
    assert_close(lpips(a, b)[0], expected.flatten(), 1e-5)
    assert lpips(a, a)[0].abs().max() == 0
