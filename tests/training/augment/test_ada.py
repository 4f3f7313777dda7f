"""What ADA draws: places of pixels counted by hand, and distributions."""

import math

import numpy as np
import pytest
import torch

from training.augment.ada import draw_ada
from training.augment.random_numbers import RandomNumbers
from training.augment.steps import augmented

ALL = ("blit", "geometry", "color")


def draw(n, p, parts, height=8, width=8, seed=0):
    numbers = RandomNumbers(n, torch.Generator().manual_seed(seed), torch.tensor(p, dtype=torch.float64))
    return draw_ada(numbers, height, width, parts)


@pytest.mark.parametrize("height", [8, 16])
def test_blits_move_pixels_and_change_none(height):
    """Each result is one of all flips, turns and shifts, and all of them occur."""
    image = torch.arange(height * 8.0).view(1, 1, height, 8)
    [found] = augmented((image.expand(4000, -1, -1, -1),), draw(4000, 1.0, ["blit"], height))
    results = {tuple(x.flatten()) for x in found.round().int().numpy()}
    assert (found - found.round()).abs().max() < 1e-3

    expected = set()
    for flipped in (image[0, 0].numpy(), image[0, 0].numpy()[:, ::-1]):
        for turns in range(0, 4, 1 if height == 8 else 2):
            # Shifts of at most an eighth, beyond whose edges the image is mirrored.
            turned = np.rot90(flipped, turns)
            large = np.pad(turned, 2, mode="symmetric")
            for y in range(-height // 8, height // 8 + 1):
                expected |= {tuple(large[2 + y :][:height, 2 + x :][:, :8].flatten()) for x in (-1, 0, 1)}
    assert results == expected


def test_nothing_changes_with_probability_0():
    images = torch.rand(50, 3, 8, 8)
    [found] = augmented((images,), draw(50, 0.0, ALL))
    torch.testing.assert_close(found, images, atol=1e-6, rtol=0)


def test_every_change_has_its_probability():
    """Of single kinds the share that stays is known: half of the flips and luma reflections do nothing, etc."""
    n, p = 20000, 0.3
    images = torch.rand(1, 3, 8, 8).expand(n, -1, -1, -1)

    def stay(parts):
        [found] = augmented((images,), draw(n, p, parts))
        return ((found - images).abs().amax((1, 2, 3)) < 1e-5).double().mean().item()

    # Blits: 1/2 of the flips, 3/4 of the turns; along each axis a half of the shifts is rounded to 0.
    still = 1 - p + p * 0.5 * 0.5
    assert stay(["blit"]) == pytest.approx((1 - p / 2) * (1 - p * 3 / 4) * still, abs=0.02)
    # Geometry: two kinds of scaling, turns whose two chances make p together, shift.
    assert stay(["geometry"]) == pytest.approx((1 - p) ** 4, abs=0.02)
    # Colour: brightness, contrast, luma (half), hue, saturation.
    assert stay(["color"]) == pytest.approx((1 - p) ** 4 * (1 - p / 2), abs=0.02)


def test_distributions_of_geometry():
    warp, *_ = draw(20000, 1.0, ["geometry"], 16, 8)
    theta = warp.theta.double()
    aspect = torch.tensor([4.0, 8.0])  # half of width and height
    linear = theta[:, :, :2] * aspect[:, None] / aspect  # in pixels
    u, singular, vh = torch.linalg.svd(linear)

    # The product of both factors is the isotropic one, their ratio the other.
    log2 = singular.log2()
    assert (-log2.sum(1) / 2).std() == pytest.approx(0.2, rel=0.03) and abs(log2.sum(1).mean()) < 0.01
    assert ((log2[:, 0] - log2[:, 1]) / 2).square().mean().sqrt() == pytest.approx(0.2, rel=0.03)
    # Turns are uniform.
    turn = torch.atan2((u @ vh)[:, 1, 0], (u @ vh)[:, 0, 0])
    assert torch.histc(turn, 8, -math.pi, math.pi).div(20000).sub(1 / 8).abs().max() < 0.01
    # Shifts come last, so that they are those of the result: an eighth of the edge, as a standard deviation.
    shift = (torch.linalg.inv(linear) @ (theta[:, :, 2] * aspect)[:, :, None])[:, :, 0]
    torch.testing.assert_close(shift.std(0), 0.125 * 2 * aspect.double(), rtol=0.03, atol=0)


def test_distributions_of_colour():
    [color] = draw(20000, 1.0, ["color"])
    matrix, offset = color.matrix.double(), color.offset.double()
    ones = torch.ones(3, dtype=torch.float64)

    # Gray stays gray, times contrast, and the other way round in half of the images.
    of_gray = matrix @ ones
    torch.testing.assert_close(of_gray, of_gray.mean(1, keepdim=True).expand(-1, 3), rtol=1e-4, atol=1e-5)
    gray = of_gray[:, 0]
    assert (gray < 0).double().mean() == pytest.approx(0.5, abs=0.02)
    assert gray.abs().log2().std() == pytest.approx(0.5, rel=0.03)
    # Brightness is added before.
    assert (offset[:, 0] / gray).std() == pytest.approx(0.2, rel=0.03)
    # Colours are turned by any angle and multiplied by contrast and saturation.
    axis = torch.tensor([1.0, -1, 0], dtype=torch.float64) / math.sqrt(2)
    other = torch.linalg.cross(ones / math.sqrt(3), axis)
    turned = matrix @ axis
    assert (turned @ ones).abs().max() < 1e-4
    angle = torch.atan2(turned @ other, turned @ axis)
    assert torch.histc(angle, 8, -math.pi, math.pi).div(20000).sub(1 / 8).abs().max() < 0.01
    assert (turned.norm(dim=1) / gray.abs()).log2().std() == pytest.approx(1.0, rel=0.03)
