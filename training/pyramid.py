"""The image pyramid: tuple of images [N,C,h,w], smallest first, each level twice as high and wide, float, [-1,1]."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from training.ops.dtype import at_least_fp32
from training.spec import pyramid_sizes

Pyramid = tuple[torch.Tensor, ...]


def from_uint8(images: torch.Tensor) -> Pyramid:
    """Return the pyramid that D sees of images uint8 [N,C,H,W] (TF: process_reals).

    Pixels become x * 2/255 - 1; smaller levels are repeated 2x2 means without rounding.
    """
    return from_images(images.float() * (2 / 255) - 1)


def from_images(images: torch.Tensor) -> Pyramid:
    """Return the pyramid of images [N,C,H,W] by repeated 2x2 means, at the sizes of `spec.pyramid_sizes`."""
    height, width = images.shape[2:]
    levels = [images]  # largest first
    for _ in pyramid_sizes(height, width)[1:]:
        levels.append(F.avg_pool2d(levels[-1], 2))  # [N,C,h/2,w/2]
    return tuple(reversed(levels))


def total_gradients(partial: Sequence[torch.Tensor]) -> Pyramid:
    """Turn partial into total derivatives with respect to the levels of a pyramid that was made by pooling.

    In the original each smaller real is pooled from the next larger one inside the graph, so the derivative with
    respect to a level contains the paths through all smaller ones. A 2x2 mean hands a quarter of its gradient to each
    of its four pixels: total[k] = partial[k] + up(total[k-1]) / 4. Linear, differentiable to any order.
    """
    # From the smallest level up, whose total is its partial derivative.
    total = [partial[0]]
    for g in partial[1:]:
        total.append(g + F.interpolate(total[-1], scale_factor=2.0, mode="nearest") / 4)  # [N,C,h,w]

    return tuple(total)


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Convert float [-1,1] to uint8 by rounding (x+1) * 127.5 to the nearest even, as the original's image grids do."""
    # bf16 has too few digits for 256 levels.
    return ((at_least_fp32(images) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
