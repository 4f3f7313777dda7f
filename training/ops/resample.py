"""Low-pass filtering and resampling convolutions. Every gradient order is supported."""

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd import Function

from training.ops.convolution import conv2d, conv_transpose2d
from training.ops.implementation import Impl, use_triton
from training.ops.opaque import opaque


def blur2d(x: torch.Tensor, taps: tuple[int, ...], impl: Impl = "auto") -> torch.Tensor:
    """Filter each map of x [N,C,H,W] with `taps`, scaled to a sum of 1, along both axes; the size stays.

    Zeros are padded as in TF's SAME, (k-1)//2 before and the rest after; no taps = identity (TF: `_blur2d`, whose
    hand-written gradient is wrong for an even number of taps).
    """
    if not taps:
        return x

    before = (len(taps) - 1) // 2
    triton = use_triton(impl, x, when_compiling=True)
    if torch.compiler.is_compiling() and not triton:
        return _shifted_sums(x, taps, before)
    return _blur(x, taps, before, triton)


@opaque
def _blur(x: torch.Tensor, taps: tuple[int, ...], before: int, triton: bool) -> torch.Tensor:
    """Call the operation below."""
    return _Blur.apply(x, taps, before, triton)  # type: ignore[no-any-return, no-untyped-call]


class _Blur(Function):
    """A filter, whose derivative of any order is the filter with its taps turned around."""

    @staticmethod
    def forward(x: torch.Tensor, taps: tuple[int, ...], before: int, triton: bool) -> torch.Tensor:
        if triton:
            from training.ops.triton.blur import blur

            return blur(x, taps, before)  # type: ignore[no-any-return]

        if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
            return _depthwise(x, taps, before)

        # Two 2x2 means are 1 2 1 along both axes, and move far fewer bytes than sums.
        if taps == (1, 2, 1):
            return F.avg_pool2d(F.avg_pool2d(x, 2, stride=1, padding=1), 2, stride=1)
        return _shifted_sums(x, taps, before)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, tuple[int, ...], int, bool], output: torch.Tensor) -> None:
        _, ctx.taps, ctx.before, ctx.triton = inputs

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        return _Blur.apply(dy, ctx.taps[::-1], len(ctx.taps) - 1 - ctx.before, ctx.triton), None, None, None


def _shifted_sums(x: torch.Tensor, taps: tuple[int, ...], before: int) -> torch.Tensor:
    """Filter x by adding shifted copies of it, along one axis after the other."""
    total = sum(taps)
    after = len(taps) - 1 - before
    x = F.pad(x, (before, after, before, after))
    for dim in (2, 3):
        size = x.shape[dim] - len(taps) + 1
        terms = [x.narrow(dim, i, size) * (tap / total) for i, tap in enumerate(taps)]
        x = sum(terms[1:], terms[0])
    return x


def _depthwise(x: torch.Tensor, taps: tuple[int, ...], before: int) -> torch.Tensor:
    """Filter x by a convolution of each map by itself, which is fastest on a CPU."""
    c, k = x.shape[1], len(taps)
    f = torch.tensor(taps, dtype=x.dtype) / sum(taps)
    weight = torch.outer(f, f).expand(c, 1, k, k)

    # An even number of taps needs unequal padding, which a convolution cannot do by itself.
    after = k - 1 - before
    if before == after:
        return F.conv2d(x, weight, padding=before, groups=c)
    return F.conv2d(F.pad(x, (before, after, before, after)), weight, groups=c)


def mean2d(x: torch.Tensor) -> torch.Tensor:
    """Reduce x [N,C,H,W] to [N,C,H/2,W/2] by 2x2 means; channels_last stays."""
    # Under torch.func, autograd's second derivative would add a map of zeros in another memory format.
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return _mean2d(x)
    return F.avg_pool2d(x, 2)


@opaque
def _mean2d(x: torch.Tensor) -> torch.Tensor:
    """Call the operation below."""
    return _Mean2d.apply(x)  # type: ignore[no-any-return, no-untyped-call]


class _Mean2d(Function):
    """2x2 means, of which `_Mean2dGradient` is the derivative."""

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> torch.Tensor:
        return _Mean2dGradient.apply(dy)  # type: ignore[no-any-return, no-untyped-call]


class _Mean2dGradient(Function):
    """A quarter of each value for each of the four pixels that it is the mean of; the derivative is `_Mean2d` again."""

    @staticmethod
    def forward(dy: torch.Tensor) -> torch.Tensor:
        return F.interpolate(dy / 4, scale_factor=2.0, mode="nearest")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, ddx: torch.Tensor) -> torch.Tensor:
        return _Mean2d.apply(ddx)  # type: ignore[no-any-return, no-untyped-call]


def _spread(weight: torch.Tensor) -> torch.Tensor:
    """Turn 3x3 kernels into the 4x4 kernels of the same convolution followed, or preceded, by a 2x2 mean."""
    return F.avg_pool2d(F.pad(weight, (1, 1, 1, 1)), 2, stride=1)  # [O,I,4,4]


def conv_up2d(x: torch.Tensor, weight: torch.Tensor, rotate: bool) -> torch.Tensor:
    """Enlarge x [N,I,H,W] to [N,O,2H,2W] by nearest-neighbour up-sampling and a 3x3 convolution in one step.

    weight: [O,I,3,3]. Both are one transposed convolution of stride 2 with a 4x4 kernel, at 4/9 of the multiplications.
    `rotate` turns the 3x3 kernel by 180 degrees, which is what the original's fused layers do (docs/semantics.md, 7).
    """
    w = weight if rotate else weight.flip((2, 3))  # a transposed convolution turns its kernel itself
    return conv_transpose2d(x, 4 * _spread(w).transpose(0, 1), stride=2, padding=1)  # [N,O,2H,2W]


def conv_down2d(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Reduce x [N,I,H,W] to [N,O,H/2,W/2] by a 3x3 convolution and a 2x2 mean in one step.

    weight: [O,I,3,3]. Both are one convolution of stride 2 with a 4x4 kernel, at 4/9 of the multiplications.
    """
    return conv2d(x, _spread(weight), stride=2, padding=1)  # [N,O,H/2,W/2]
