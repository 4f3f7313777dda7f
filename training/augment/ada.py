"""The augmentations of ADA: pixel blitting, geometry and colour (Karras et al. 2020, appendix B).

Each is applied to a sample with probability p, and draws from the distribution that the paper gives. Blits and geometry
are composed into a single warp, with images mirrored beyond their edges.
"""

import math
from collections.abc import Collection

import torch

from training.augment.random_numbers import RandomNumbers
from training.augment.steps import Augmentation, Color, Warp

SHIFT = 0.125  # of blits, the most; of geometry, the standard deviation; as a share of the edge
LOG2_SCALE = 0.2  # standard deviation of both kinds of scaling
BRIGHTNESS = 0.2  # standard deviation
LOG2_CONTRAST = 0.5
LOG2_SATURATION = 1.0


def draw_ada(numbers: RandomNumbers, height: int, width: int, parts: Collection[str]) -> Augmentation:
    """Draw the augmentation of N images; `parts` selects the kinds of change."""
    # The matrix leads from places in the result to places in the image that is sampled there. It is therefore made of
    # the inverse of each change, multiplied from the right in the order of the changes. Units are pixels from the
    # center, so that a turn leaves the shapes of images that are not square as they are.
    theta = torch.eye(3, dtype=torch.float64, device=numbers.device).expand(numbers.n, 3, 3)
    if "blit" in parts:
        theta = _blit(theta, numbers, height, width)
    if "geometry" in parts:
        theta = _geometry(theta, numbers, height, width)

    # In units of half an edge.
    one = torch.ones(numbers.n, dtype=torch.float64, device=numbers.device)
    theta = scaling(one * (2 / width), one * (2 / height)) @ theta @ scaling(one * (width / 2), one * (height / 2))

    warp = (Warp(theta[:, :2].float(), "reflection"),) if {"blit", "geometry"} & set(parts) else ()
    color = (_color(numbers),) if "color" in parts else ()
    return (*warp, *color)


def _blit(theta: torch.Tensor, numbers: RandomNumbers, height: int, width: int) -> torch.Tensor:
    """Flips, quarter turns and shifts by whole pixels: nothing is interpolated on the largest level."""
    # Left-right flips, of half of those to which they are applied.
    flip = numbers.chosen(torch.where(numbers.uniform() < 0.5, -1.0, 1.0), 1)
    theta = theta @ scaling(flip, torch.ones_like(flip))

    # Turns by multiples of 90 degrees, or of 180 where the image would have another shape.
    quarters = (numbers.uniform() * 4).floor() if height == width else (numbers.uniform() * 2).floor() * 2
    theta = theta @ rotation(numbers.chosen(quarters, 0) * (math.pi / 2))

    # Shifts.
    x = (numbers.uniform(-SHIFT, SHIFT) * width).round()
    y = (numbers.uniform(-SHIFT, SHIFT) * height).round()
    return theta @ translation(*numbers.chosen_together((x, y), 0))


def _geometry(theta: torch.Tensor, numbers: RandomNumbers, height: int, width: int) -> torch.Tensor:
    """Scaling, turns by any angle, scaling along any axis, and shifts by parts of pixels."""
    # Alike along both axes; a larger image is sampled more densely.
    scale = numbers.chosen(numbers.normal(LOG2_SCALE).exp2(), 1)
    theta = theta @ scaling(1 / scale, 1 / scale)

    # Each of the two turns has the probability that leads to p for at least one of them.
    p_turn = 1 - (1 - numbers.p).clamp(0, 1).sqrt()
    theta = theta @ rotation(numbers.chosen(numbers.uniform(-math.pi, math.pi), 0, p_turn))
    scale = numbers.chosen(numbers.normal(LOG2_SCALE).exp2(), 1)
    theta = theta @ scaling(1 / scale, scale)
    theta = theta @ rotation(numbers.chosen(numbers.uniform(-math.pi, math.pi), 0, p_turn))

    x, y = numbers.normal(SHIFT) * width, numbers.normal(SHIFT) * height
    return theta @ translation(*numbers.chosen_together((x, y), 0))


def _color(numbers: RandomNumbers) -> Color:
    """Brightness, contrast, reflection of luma, hue and saturation."""
    eye = torch.eye(3, dtype=torch.float64, device=numbers.device)
    gray = torch.full((3, 3), 1 / 3, dtype=torch.float64, device=numbers.device)  # projects colours onto shades of gray

    # Brightness and contrast.
    brightness = numbers.chosen(numbers.normal(BRIGHTNESS), 0)
    contrast = numbers.chosen(numbers.normal(LOG2_CONTRAST).exp2(), 1)[:, None, None]
    matrix = eye * contrast  # [N,3,3]
    offset = brightness[:, None, None].expand(-1, 3, 1) * contrast  # [N,3,1]

    # Light and dark exchanged, of half of those to which it is applied.
    is_reflected = numbers.chosen((numbers.uniform() < 0.5).double(), 0)[:, None, None]
    change = eye - 2 * gray * is_reflected

    # Hue: a turn about the axis of gray, by Rodrigues' formula.
    angle = numbers.chosen(numbers.uniform(-math.pi, math.pi), 0)[:, None, None]
    cross = eye.roll(-1, 1) - eye.roll(1, 1)  # times the root of 3, the cross product with the axis
    change = (gray + (eye - gray) * angle.cos() + cross * (angle.sin() / math.sqrt(3))) @ change

    # Saturation: the distance from gray.
    saturation = numbers.chosen(numbers.normal(LOG2_SATURATION).exp2(), 1)[:, None, None]
    change = (gray + (eye - gray) * saturation) @ change

    return Color((change @ matrix).float(), (change @ offset)[:, :, 0].float())


def scaling(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the matrices [N,3,3] that multiply (x, y, 1) by (x, y, 1)."""
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=1))


def rotation(angle: torch.Tensor) -> torch.Tensor:
    """Return the matrices [N,3,3] of turns by angles [N] in radians, from the x axis towards the y axis."""
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1).view(-1, 3, 3)


def translation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the matrices [N,3,3] of shifts by (x, y)."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return torch.stack([one, zero, x, zero, one, y, zero, zero, one], dim=1).view(-1, 3, 3)
