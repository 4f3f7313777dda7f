"""Pyramids: what D sees of images, and derivatives through the pooling that made them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from training.pyramid import from_images, from_uint8, to_uint8, total_gradients


def test_levels_are_means_of_blocks_of_the_image():
    images = torch.randn(2, 3, 32, 32)
    pyramid = from_images(images)
    assert [x.shape[-1] for x in pyramid] == [4, 8, 16, 32]
    for level in pyramid:
        torch.testing.assert_close(level, F.avg_pool2d(images, 32 // level.shape[-1]))


@given(st.integers(0, 255))
def test_pixels_survive_the_way_to_floats_and_back(value):
    images = torch.full((1, 1, 8, 8), value, dtype=torch.uint8)
    pyramid = from_uint8(images)
    assert torch.equal(to_uint8(pyramid[-1]), images)
    torch.testing.assert_close(pyramid[0], torch.full((1, 1, 4, 4), value / 127.5 - 1))


@pytest.mark.parametrize("x, expected", [(-2.0, 0), (2.0, 255), (0.0, 128), (1 / 255, 128)])
def test_values_are_clipped_and_halves_go_to_the_even_number(x, expected):
    assert to_uint8(torch.tensor([x], dtype=torch.float64)).item() == expected


def test_total_gradients_are_those_of_autograd_through_the_pooling():
    image = torch.randn(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    weights = [torch.randn(2, 3, r, r, dtype=torch.float64) for r in (4, 8, 16)]

    levels = from_images(image)
    score = sum((w * x**3).sum() for w, x in zip(weights, levels, strict=True))
    expected = torch.autograd.grad(score, levels)  # with the paths through all smaller levels

    partial = [3 * w * x.detach() ** 2 for w, x in zip(weights, levels, strict=True)]
    for total, reference in zip(total_gradients(partial), expected, strict=True):
        torch.testing.assert_close(total, reference)
