"""Path lengths of a generator for which they have a closed form."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dnnlib.errors import UserError
from metrics import path_length
from metrics.catalog import choose
from tests.metrics.helpers import Quadratic, context, linear


@pytest.mark.parametrize("sampling", ["full", "end"])
def test_path_length_of_a_linear_generator_is_its_closed_form(sampling):
    """|d G/d t|^2 = (12.75 |z1 - z0|)^2 everywhere on a straight line."""
    fakes = linear(seed=3)
    ctx = context(fakes, loaded={"lpips": Quadratic()})
    indices = np.arange(200)
    lengths = (fakes.latents(indices, "end") - fakes.latents(indices, "start")).double().square().sum(1) * 12.75**2
    low, high = np.percentile(lengths, 1, method="lower"), np.percentile(lengths, 99, method="higher")
    expected = lengths[(lengths >= low) & (lengths <= high)].mean().item()
    found = path_length.path_length(ctx, 200, "w", sampling, crop=False, epsilon=1e-2).values["ppl"]
    assert found == pytest.approx(expected, rel=1e-3)


def test_crop_is_as_asked():
    for crop, expected in ((None, (True, False)), ("face", (True, True)), ("none", (False, False))):
        for name, is_cropped in zip(("ppl_wend4", "ppl2_wend4"), expected, strict=True):
            ctx = context(linear(), loaded={"lpips": Quadratic()}, crop=crop)
            if is_cropped:  # 16x16 is too small for it
                with pytest.raises(UserError, match="8x8 behind the crop"):
                    choose(name)[0](ctx)
            else:
                assert choose(name)[0](ctx).facts["crop"] is False


def test_spherical_interpolation():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(50, 20, generator=g), torch.randn(50, 20, generator=g)
    ends = [path_length.slerp(a, b, torch.full((50, 1), t)) for t in (0.0, 0.5, 1.0)]
    torch.testing.assert_close(ends[0], F.normalize(a, dim=1))
    torch.testing.assert_close(ends[2], F.normalize(b, dim=1))
    torch.testing.assert_close(ends[1], F.normalize(F.normalize(a, dim=1) + F.normalize(b, dim=1), dim=1))


def test_crop_is_stylegans_region_of_a_face():
    x = torch.arange(64 * 64).reshape(1, 1, 64, 64)
    y = path_length.cropped(x, True)
    assert y.shape[2:] == (32, 32) and y[0, 0, 0, 0] == 24 * 64 + 16
    assert path_length.reduce_size(torch.ones(1, 3, 1024, 1024)).shape[2:] == (256, 256)
