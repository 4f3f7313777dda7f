"""What augmentation does to a pyramid: steps whose parameters were drawn once a sample, applied to all levels alike.

Each step does to a level what it would do to the full image before that is pooled down to the level: exactly, where the
step commutes with 2x2 means, and otherwise on average over what the pixels of the level may have been pooled from. All
are differentiable to any order with respect to the images. A step is applied in fp32, whatever the networks run in.
"""

from typing import NamedTuple, Protocol

import torch

from training.ops.dtype import at_least_fp32
from training.ops.warp import Padding, warp2d
from training.pyramid import Pyramid


class Step(Protocol):
    """A change of N images, with parameters of its own for each."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Change the images of one level, [N,C,h,w]."""


Augmentation = tuple[Step, ...]
"""Steps in the order in which they are applied."""


def augmented(pyramid: Pyramid, augmentation: Augmentation) -> Pyramid:
    """Return the pyramid of the same images with all steps applied to every level."""
    levels = [at_least_fp32(x) for x in pyramid]
    for step in augmentation:
        levels = [step(x) for x in levels]
    return tuple(levels)


class Warp(NamedTuple):
    """An affine warp (`warp2d`)."""

    theta: torch.Tensor  # [N,2,3]
    padding: Padding

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return warp2d(x, self.theta, self.padding)


class Color(NamedTuple):
    """An affine map of the colours of each pixel.

    Alpha stays as it is. Images without colours, of 1, 2 or more than 4 channels, go through as shades of gray.
    """

    matrix: torch.Tensor  # [N,3,3]
    offset: torch.Tensor  # [N,3]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        colors, alpha = _split_alpha(x)
        matrix, offset = self.matrix.to(x.dtype), self.offset.to(x.dtype)

        # What happens to gray is the mean of what happens to its red, green and blue.
        if colors.shape[1] != 3:
            gray = matrix.sum(2).mean(1)[:, None, None, None]  # [N,1,1,1]
            return torch.cat([colors * gray + offset.mean(1)[:, None, None, None], *alpha], dim=1)

        # Not a matrix product, which autocast would compute in half precision.
        mixed = sum(matrix[:, :, i, None, None] * colors[:, i : i + 1] for i in range(3))  # [N,3,h,w]
        return torch.cat([mixed + offset[:, :, None, None], *alpha], dim=1)


class Contrast(NamedTuple):
    """The distance of all colours from the mean of the image, multiplied."""

    factor: torch.Tensor  # [N]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        colors, alpha = _split_alpha(x)
        mean = colors.mean((1, 2, 3), keepdim=True)  # [N,1,1,1]
        return torch.cat([torch.lerp(mean, colors, self.factor.to(x.dtype)[:, None, None, None]), *alpha], dim=1)


class Cutout(NamedTuple):
    """A rectangle set to 0; pixels that it covers in part keep the rest."""

    box: torch.Tensor  # [N,2,2], first and last place of rows and of columns, in [0,1] from edge to edge

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = self._covered(x, 0)[:, None, :, None]  # [N,1,h,1]
        columns = self._covered(x, 1)[:, None, None, :]  # [N,1,1,w]
        return x * (1 - rows * columns)

    def _covered(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Return the share of each row or column of pixels that the rectangle covers, [N,h] or [N,w]."""
        size = x.shape[2 + axis]
        edges = self.box[:, axis].to(x.dtype) * size  # [N,2]
        first = torch.arange(size, dtype=x.dtype, device=x.device)
        return (torch.minimum(edges[:, 1:], first + 1) - torch.maximum(edges[:, :1], first)).clamp(0, 1)


def _split_alpha(x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the channels with colours, and a list of the alpha channel, if there is one."""
    if x.shape[1] in (2, 4):
        return x[:, :-1], [x[:, -1:]]
    return x, []
