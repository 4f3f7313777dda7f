"""Concatenation of feature maps. Every gradient order is supported."""

from typing import Any

import torch
from torch.autograd import Function

from training.ops.opaque import opaque


class _Concatenation(Function):
    """Append maps; autograd's second derivative would add tensors full of zeros in another memory format."""

    @staticmethod
    def forward(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, y], 1).contiguous(memory_format=torch.channels_last)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor], output: torch.Tensor) -> None:
        ctx.channels = inputs[0].shape[1]

    @staticmethod
    def backward(ctx: Any, dz: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _Split.apply(dz, ctx.channels)  # type: ignore[no-any-return]


class _Split(Function):
    """Take them apart again."""

    @staticmethod
    def forward(z: torch.Tensor, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
        channels_last = torch.channels_last
        x, y = z[:, :channels], z[:, channels:]
        return x.contiguous(memory_format=channels_last), y.contiguous(memory_format=channels_last)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, int], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, dx: torch.Tensor, dy: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _Concatenation.apply(dx, dy), None


@opaque
def concatenate(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return x [N,C,H,W] followed by y [N,D,H,W] as [N,C+D,H,W]."""
    return _Concatenation.apply(x, y)  # type: ignore[no-any-return, no-untyped-call]
