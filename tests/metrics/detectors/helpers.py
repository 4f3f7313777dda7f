"""Images, and detectors as tests open them."""

import numpy as np
import torch
import torch.nn.functional as F

from metrics.detectors.detector import Detector, DetectorOptions

CPU = torch.device("cpu")


def images(n=3, size=64, seed=0, channels=3):
    rng = np.random.default_rng(seed)
    small = torch.from_numpy(rng.integers(0, 256, (n, channels, 8, 8))).float()
    return F.interpolate(small, (size, size), mode="bicubic").clamp(0, 255).to(torch.uint8)


def ours(name, folder, **options):
    return Detector(name, DetectorOptions(detector_dir=folder, **options), CPU)


def assert_close(found, expected, tolerance):
    scale = expected.abs().max()
    assert scale > 1e-3 and expected.std() > 1e-4 * scale
    assert (found - expected).abs().max() <= tolerance * scale
