"""Resizing against torch-fidelity's and Pillow's."""

import numpy as np
import pytest
from PIL import Image

from metrics.detectors.resize import clean, legacy
from tests.metrics import fidelity
from tests.metrics.detectors.helpers import images


@pytest.mark.parametrize("size", [8, 64, 300, 512])
def test_legacy_resize_is_that_of_torch_fidelity(size):
    theirs = fidelity.load("interpolate_compat_tensorflow").interpolate_bilinear_2d_like_tensorflow1x
    x = images(2, size)
    expected = theirs(x.float(), size=(299, 299), align_corners=False)
    assert (legacy(x, 299) - expected).abs().max() < 2e-4  # of 255


@pytest.mark.parametrize("size", [32, 299, 512])
def test_clean_resize_is_that_of_pillow(size):
    """clean-fid: each channel as float, bicubic, antialiased."""
    x = images(1, size)
    channels = [Image.fromarray(c.astype(np.float32)) for c in x[0].numpy()]
    expected = np.stack([np.asarray(c.resize((299, 299), Image.Resampling.BICUBIC)) for c in channels]).clip(0, 255)
    assert np.abs(clean(x, 299)[0].numpy() - expected).max() < 2e-3  # of 255
