"""What DiffAugment draws, against the effect of each change counted by hand."""

import numpy as np
import pytest
import torch

from training.augment.diffaugment import draw_diffaugment
from training.augment.random_numbers import RandomNumbers
from training.augment.steps import augmented


def draw(n, parts, p=1.0, height=8, width=8):
    numbers = RandomNumbers(n, torch.Generator().manual_seed(0), torch.tensor(p, dtype=torch.float64))
    return draw_diffaugment(numbers, height, width, parts)


def test_translations_move_whole_pixels_onto_gray():
    image = torch.arange(1, 8 * 16 + 1.0).view(1, 1, 16, 8)
    [found] = augmented((image.expand(2000, -1, -1, -1),), draw(2000, ["translation"], height=16))
    padded = np.pad(image[0, 0].numpy(), 2)
    expected = {tuple(padded[2 + y :][:16, 2 + x :][:, :8].flatten()) for y in (-2, -1, 0, 1, 2) for x in (-1, 0, 1)}
    assert {tuple(x.flatten()) for x in found.round().numpy()} == expected
    assert (found - found.round()).abs().max() < 1e-3


def test_cutout_covers_a_square_around_any_pixel():
    [found] = augmented((torch.ones(4000, 1, 8, 8),), draw(4000, ["cutout"]))
    expected = set()
    for y in range(9):
        for x in range(9):
            mask = np.ones((8, 8))
            mask[max(0, y - 2) : y + 2, max(0, x - 2) : x + 2] = 0
            expected.add(tuple(mask.flatten()))
    assert {tuple(x.flatten()) for x in found.numpy()} == expected


def test_colours():
    images = torch.rand(3000, 3, 4, 4)
    [found] = augmented((images,), draw(3000, ["color"]))
    # Brightness moves the mean of an image, and no other change does.
    moved = found.mean((1, 2, 3)) - images.mean((1, 2, 3))
    assert -0.5 <= moved.min() < -0.45 and 0.45 < moved.max() <= 0.5

    # The rest of the way from the mean of the image to a pixel: to its gray times contrast, and on times saturation.
    gray, was_gray = (x.mean(1, keepdim=True) for x in (found, images))
    contrast = (gray - gray.mean((2, 3), keepdim=True)) / (was_gray - was_gray.mean((2, 3), keepdim=True))
    contrast = contrast.flatten(1).median(1).values
    assert 0.5 <= contrast.min() < 0.55 and 1.45 < contrast.max() <= 1.5001
    saturation = ((found - gray) / (images - was_gray)).flatten(1).median(1).values / contrast
    assert 0 <= saturation.min() < 0.05 and 1.95 < saturation.max() <= 2.001


@pytest.mark.parametrize("parts", [["color"], ["translation"], ["cutout"]])
def test_each_part_has_its_probability(parts):
    images = torch.rand(1, 3, 32, 32).expand(4000, -1, -1, -1)
    [found] = augmented((images,), draw(4000, parts, 0.25, 32, 32))
    share = ((found - images).abs().amax((1, 2, 3)) > 1e-4).double().mean()
    assert share == pytest.approx(0.25, abs=0.03)
    [same] = augmented((images,), draw(4000, parts, 0.0, 32, 32))
    torch.testing.assert_close(same, images, atol=1e-6, rtol=0)
