"""SWD against float64 by definition."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from metrics import swd
from tests.metrics.helpers import CPU, features


def pyramid_by_definition(x, levels):
    """Laplacian pyramid of one image [C,h,w], float64, with scipy's convolution."""
    k = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256

    def smooth(y, gain):
        return np.stack([scipy.ndimage.convolve(c, k * gain, mode="mirror") for c in y])

    out = [x.astype(np.float64)]
    for _ in range(levels - 1):
        out.append(smooth(out[-1], 1)[:, ::2, ::2])
        wide = np.zeros((len(x), 2 * out[-1].shape[1], 2 * out[-1].shape[2]))
        wide[:, ::2, ::2] = out[-1]
        out[-2] = out[-2] - smooth(wide, 4)
    return out


def test_laplacian_pyramid_by_definition():
    x = np.random.default_rng(0).integers(0, 256, (3, 64, 64))
    for level, expected in enumerate(pyramid_by_definition(x, 3)):
        found = swd.laplacian(torch.from_numpy(x)[None].float(), level)[0]
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_sliced_wasserstein_by_definition(monkeypatch):
    a, b = (features(500, 18, k, 100.0 * k).reshape(500, 2, 3, 3) for k in (0, 1))
    d = swd.unit_vectors(18, 3)
    np.testing.assert_allclose(np.square(d).sum(0), 1, rtol=1e-6)
    axes = {"axis": (0, 2, 3), "keepdims": True}
    normal = [(x - x.mean(**axes)) / x.std(**axes) for x in map(np.float64, (a, b))]
    p, q = (np.sort(x.reshape(500, -1) @ d, 0) for x in normal)
    found = swd.sliced_wasserstein(a, b, 3, CPU)
    assert d.shape == (18, 512) and found == pytest.approx(np.abs(p - q).mean(), rel=1e-4)
    monkeypatch.setattr(swd, "PROJECTIONS", 1500)  # three directions at a time
    assert swd.sliced_wasserstein(a, b, 3, CPU) == pytest.approx(found, rel=1e-6)
    assert swd.sliced_wasserstein(a, a[::-1].copy(), 3, CPU) < 1e-6


def test_patches_lie_anywhere_and_are_scaled_by_channel():
    image = np.arange(3 * 20 * 20, dtype=np.float32).reshape(3, 20, 20)
    patches = swd.cut(image, 0)
    corners = patches[:, 0, 0, 0].astype(int)
    ys, xs = corners // 20, corners % 20
    assert {0, 13} <= set(ys) and {0, 13} <= set(xs) and ys.max() == xs.max() == 13
    mean, std = swd.channel_moments(patches)
    np.testing.assert_allclose(mean, patches.mean((0, 2, 3), dtype=np.float64), rtol=1e-7)
    np.testing.assert_allclose(std, patches.std((0, 2, 3), dtype=np.float64), rtol=1e-6)
