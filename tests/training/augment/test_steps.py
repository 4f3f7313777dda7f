"""A step does to every level what it does to the full image before that is pooled."""

import math

import pytest
import torch
import torch.nn.functional as F

from training.augment.steps import Color, Contrast, Cutout, Warp, augmented
from training.pyramid import from_images

N = 6
SIZE = 32


def warp(matrix, padding="reflection"):
    return Warp(torch.tensor(matrix, dtype=torch.float64).expand(N, 2, 3), padding)


def shift(x, y, padding):
    """A shift to the right and down by shares of the image, as the map from the result to the image."""
    return warp([[1, 0, -2 * x], [0, 1, -2 * y]], padding)


def box(rows, columns):
    return Cutout(torch.tensor([rows, columns], dtype=torch.float64).expand(N, 2, 2))


COLOR = Color(torch.randn(N, 3, 3).double(), torch.randn(N, 3).double())
COMMUTING = {
    "color": COLOR,
    "contrast": Contrast(torch.rand(N).double()),
    "flip": warp([[-1, 0, 0], [0, 1, 0]]),
    "quarter turn": warp([[0, -1, 0], [1, 0, 0]]),
    "half turn": warp([[-1, 0, 0], [0, -1, 0]]),
    "shift by pixels of the smallest level": shift(1 / 4, -1 / 2, "zeros"),
    "shift into the mirror": shift(-1 / 4, 1 / 4, "reflection"),
    "cutout along pixels of the smallest level": box([0.25, 0.75], [0, 0.5]),
}


@pytest.mark.parametrize("name", COMMUTING)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_steps_that_commute_with_pooling(name, channels):
    images = torch.rand(N, channels, SIZE, SIZE) * 2 - 1
    found = augmented(from_images(images), (COMMUTING[name],))
    expected = from_images(COMMUTING[name](images))
    assert len(found) == 4
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-5 and ours.dtype == torch.float32


@pytest.mark.parametrize("size", [(32, 32), (48, 32)])
@pytest.mark.parametrize("step", [shift(3 / 32, -1 / 32, "zeros"), shift(-5 / 32, 7 / 32, "reflection"),
                                  box([3 / 32, 15 / 32], [11 / 32, 1])])  # fmt: skip
def test_other_shifts_and_boxes_are_exact_on_average(step, size):
    """Of the images that have been pooled to a level, the mean is constant within each of its pixels."""
    level = torch.rand(N, 3, size[0] // 8, size[1] // 8, dtype=torch.float64)
    mean_image = F.interpolate(level, scale_factor=8.0, mode="nearest")
    torch.testing.assert_close(step(level), F.avg_pool2d(step(mean_image), 8))


@pytest.mark.parametrize("degrees", [15, 45, 70])
@pytest.mark.parametrize("scale", [0.8, 1.25])
def test_turns_and_scaling_are_close_on_average(degrees, scale):
    """A turned pixel covers several others, of which bilinear sampling sees four: close, but not the same."""
    cos, sin = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    step = warp([[cos, -sin, 0.1], [sin, cos, -0.2]])
    level = torch.randn(N, 3, 16, 16, dtype=torch.float64)
    expected = F.avg_pool2d(step(F.interpolate(level, scale_factor=8.0, mode="nearest")), 8)
    error = (step(level) - expected).square().mean() / expected.square().mean()
    assert error < 0.1

    # Of pictures rather than noise, hardly anything differs.
    smooth = F.avg_pool2d(torch.randn(N, 3, 24, 24, dtype=torch.float64), 9, stride=1)
    expected = F.avg_pool2d(step(F.interpolate(smooth, scale_factor=8.0, mode="nearest")), 8)
    assert (step(smooth) - expected).square().mean() / expected.square().mean() < 0.005


def test_alpha_is_moved_and_covered_but_not_coloured():
    images = torch.rand(N, 4, 8, 8)
    assert torch.equal(COLOR(images)[:, 3], images[:, 3])
    assert torch.equal(COLOR(images)[:, :3], COLOR(images[:, :3]))
    assert torch.equal(Contrast(torch.rand(N))(images)[:, 3], images[:, 3])
    torch.testing.assert_close(COMMUTING["flip"](images)[:, 3], images[:, 3].flip(2))


def test_gray_is_what_becomes_of_gray_in_colour():
    gray = torch.rand(N, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(COLOR(gray), COLOR(gray.expand(N, 3, 8, 8)).mean(1, keepdim=True))


def test_second_derivatives_of_all_steps_together():
    steps = (warp([[0.7, -0.4, 0.1], [0.3, 0.9, -0.2]]), COLOR, COMMUTING["contrast"], box([0.1, 0.6], [0.3, 0.9]))
    steps = tuple(type(step)(*(v[:2] if isinstance(v, torch.Tensor) else v for v in step)) for step in steps)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: augmented((x,), steps)[0].pow(2), x)
