"""What detectors do with images, and their options."""

import pytest
import torch

from metrics.detectors.detector import DETECTORS, Detector, DetectorOptions
from metrics.detectors.dinov2 import DINOv2
from metrics.detectors.resize import legacy
from tests.metrics.detectors.helpers import CPU, images, ours


def test_each_detector_resizes_as_its_published_figures_did(weights, monkeypatch):
    small = DETECTORS["dinov2"]._replace(build=lambda: DINOv2(dim=32, depth=1, heads=2))
    monkeypatch.setitem(DETECTORS, "dinov2", small)
    x = images(2, 300)
    options = [DetectorOptions(random_detectors=True, resize=r) for r in (None, "clean", "legacy")]
    usual, same, other = (Detector("dinov2", o, CPU) for o in options)
    assert usual.facts["resize"] == same.facts["resize"] == "clean" and other.facts["resize"] == "legacy"
    assert torch.equal(usual(x)[0], same(x)[0]) and not torch.allclose(usual(x)[0], other(x)[0])


def test_bf16_leaves_resizing_and_path_lengths_alone(weights):
    x = images(2)
    y = (x.float() + 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255)
    found = [Detector("lpips", DetectorOptions(detector_dir=weights, precision=p), CPU) for p in ("fp32", "bf16")]
    assert torch.equal(found[0](x, y)[0], found[1](x, y)[0]) and found[1].facts["precision"] == "fp32"
    inception = Detector("inception", DetectorOptions(detector_dir=weights, precision="bf16"), CPU)
    seen = []
    inception.module.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    inception(x)
    assert torch.equal(seen[0], legacy(x, 299))


def test_gray_images_are_seen_as_rgb(weights):
    gray = images(2, channels=1)
    inception = ours("inception", weights)
    assert torch.equal(inception(gray)[0], inception(gray.expand(-1, 3, -1, -1))[0])


@pytest.mark.parametrize("channels", [2, 4])
def test_transparent_images_are_seen_on_white(weights, channels):
    """As if they had been laid on white and rounded beforehand."""
    transparent = images(2, channels=channels)
    alpha = transparent[:, -1:].double() / 255
    white = (transparent[:, :-1] * alpha + 255 * (1 - alpha)).round().to(torch.uint8)
    inception = ours("inception", weights)
    assert torch.equal(inception(transparent)[0], inception(white)[0])


def test_of_more_channels_the_first_three_are_seen(weights):
    bands = images(2, channels=5)
    inception = ours("inception", weights)
    assert torch.equal(inception(bands)[0], ours("inception", weights)(bands[:, :3])[0])


@pytest.mark.parametrize(
    ("options", "message"), [({"resize": "x"}, "--resize x"), ({"precision": "x"}, "--precision x")]
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        DetectorOptions(**options)
