"""MS-SSIM against float64 by definition."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch
import torch.nn.functional as F

from metrics import msssim
from metrics.catalog import choose
from metrics.samples import Reals
from tests.datasets import write_dataset
from tests.metrics.helpers import context
from training.data.dataset import open_dataset


def ms_ssim_by_definition(a, b):
    """MS-SSIM of one pair of images [h,w,C], as the reference computes it: scipy, float64."""

    def single(x, y):
        size = min(11, *x.shape[:2])
        sigma = size * 1.5 / 11
        at = np.arange(size) - (size - 1) / 2
        w = np.exp(-(at[:, None] ** 2 + at**2) / (2 * sigma**2))
        w /= w.sum()
        blur = lambda z: scipy.signal.fftconvolve(z, w[:, :, None], mode="valid")  # noqa: E731
        ma, mb = blur(x), blur(y)
        va, vb, vab = blur(x * x) - ma**2, blur(y * y) - mb**2, blur(x * y) - ma * mb
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        v1, v2 = 2 * vab + c2, va + vb + c2
        return ((2 * ma * mb + c1) * v1 / ((ma**2 + mb**2 + c1) * v2)).mean(), (v1 / v2).mean()

    weights, out = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333], 1.0
    x, y = a.astype(np.float64), b.astype(np.float64)
    for k, weight in enumerate(weights):
        similarity, contrast = single(x, y)
        out *= max(0, similarity if k == 4 else contrast) ** weight
        x, y = (scipy.ndimage.convolve(z, np.ones((2, 2, 1)) / 4, mode="reflect")[::2, ::2] for z in (x, y))
    return out


@pytest.mark.parametrize("size", [32, 64, 256])
def test_ms_ssim_by_definition(size):
    rng = np.random.default_rng(0)
    small = torch.from_numpy(rng.integers(0, 256, (4, 3, 8, 8))).double()
    x = F.interpolate(small, (size, size), mode="bilinear") + torch.from_numpy(rng.normal(0, 20, (4, 3, size, size)))
    x[1] = x[0] + torch.from_numpy(rng.normal(0, 10, (3, size, size)))
    found = msssim.multi_scale(x[::2], x[1::2])
    expected = [ms_ssim_by_definition(*(x[k + j].permute(1, 2, 0).numpy() for j in (0, 1))) for k in (0, 2)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert found[0] > 0.5 and torch.allclose(msssim.multi_scale(x, x), torch.ones(4).double())


def test_odd_numbers_of_images_make_whole_pairs(tmp_path):
    rng = np.random.default_rng(0)
    data = open_dataset(write_dataset(tmp_path / "x", rng.integers(0, 256, (7, 3, 16, 16), dtype=np.uint8)))
    ctx = context(Reals(data), batch=4)
    found = choose("msssim")[0](ctx)
    assert 0 <= found.values["msssim"] <= 1 and found.facts["num_fakes"] == 6
