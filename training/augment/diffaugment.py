"""The augmentations of DiffAugment: colour, translation and cutout (Zhao et al. 2020, section 4).

Each is applied to a sample with probability p, which is 1 in the paper. Beyond the edges, images are 0, a medium gray.
"""

from collections.abc import Collection

import torch

from training.augment.ada import translation
from training.augment.random_numbers import RandomNumbers
from training.augment.steps import Augmentation, Color, Contrast, Cutout, Step, Warp

SHIFT = 1 / 8  # of the edge, the most
CUTOUT = 1 / 2  # of the edge


def draw_diffaugment(numbers: RandomNumbers, height: int, width: int, parts: Collection[str]) -> Augmentation:
    """Draw the augmentation of N images, of which `parts` names the kinds."""
    steps: list[Step] = []
    if "color" in parts:
        steps += _color(numbers)
    if "translation" in parts:
        steps.append(_translation(numbers, height, width))
    if "cutout" in parts:
        steps.append(_cutout(numbers, height, width))
    return tuple(steps)


def _color(numbers: RandomNumbers) -> tuple[Color, Contrast]:
    """Brightness moves all colours, saturation their distance from gray, contrast that from the mean of the image."""
    brightness, saturation, contrast = numbers.uniform(-0.5, 0.5), numbers.uniform(0, 2), numbers.uniform(0.5, 1.5)
    is_chosen = numbers.chosen(torch.ones_like(brightness), 0)
    brightness = brightness * is_chosen
    saturation, contrast = (torch.lerp(torch.ones_like(x), x, is_chosen) for x in (saturation, contrast))

    # Brightness comes first, but saturation does not change a shade of gray.
    eye = torch.eye(3, dtype=torch.float64, device=numbers.device)
    matrix = torch.lerp(torch.full_like(eye, 1 / 3), eye, saturation[:, None, None])  # [N,3,3]
    return Color(matrix.float(), brightness[:, None].expand(-1, 3).float()), Contrast(contrast.float())


def _translation(numbers: RandomNumbers, height: int, width: int) -> Warp:
    """Shifts by whole pixels of the largest level."""
    shifts = []
    for size in (width, height):
        most = int(size * SHIFT + 0.5)
        shifts.append((numbers.uniform() * (2 * most + 1)).floor() - most)
    x, y = numbers.chosen_together(shifts, 0)
    return Warp(translation(x * (2 / width), y * (2 / height))[:, :2].float(), "zeros")


def _cutout(numbers: RandomNumbers, height: int, width: int) -> Cutout:
    """A rectangle of half the height and width around a pixel, as far as it lies within the image."""
    edges = []
    for size in (height, width):
        length = int(size * CUTOUT + 0.5)
        center = (numbers.uniform() * (size + 1 - length % 2)).floor()
        first = (center - length // 2).clamp(0, size)
        last = (center - length // 2 + length).clamp(0, size)
        edges += [first / size, last / size]

    # A rectangle without area covers nothing.
    box = torch.stack(numbers.chosen_together(edges, 0), dim=1).view(-1, 2, 2)
    return Cutout(box.float())
