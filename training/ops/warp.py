"""Affine warps of images. Every gradient order with respect to the images is supported."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch.autograd import Function

from training.ops.opaque import opaque

Padding = Literal["reflection", "zeros"]

# Numbers by which the operation that PyTorch differentiates grid_sample with calls its options.
BILINEAR = 0
PADDINGS = {"zeros": 0, "reflection": 2}


def warp2d(x: torch.Tensor, theta: torch.Tensor, padding: Padding) -> torch.Tensor:
    """Sample each image of x [N,C,H,W] bilinearly where its affine map says; the size stays.

    theta [N,2,3] leads from places in the result to places in x, both as (x, y) in [-1,1] from edge to edge, so that
    one map fits all levels of a pyramid. It is not differentiated. Beyond the edges, images are mirrored (`reflection`)
    or 0 (`zeros`).
    """
    return _warp(x, _places(theta.to(x.dtype), x.shape[2], x.shape[3]), padding)


def _places(theta: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return where each pixel is sampled, [N,H,W,2]."""
    # Not a matrix product, which autocast would compute in half precision.
    y = _centers(height, theta)[:, None]  # [H,1]
    x = _centers(width, theta)[None, :]  # [1,W]
    a = theta[:, None, None]  # [N,1,1,2,3]
    return torch.stack([a[..., i, 0] * x + a[..., i, 1] * y + a[..., i, 2] for i in range(2)], dim=-1)


def _centers(size: int, like: torch.Tensor) -> torch.Tensor:
    """Return the centers of a row of pixels in [-1,1]."""
    return (2 * torch.arange(size, dtype=like.dtype, device=like.device) + 1) / size - 1


@opaque
def _warp(x: torch.Tensor, places: torch.Tensor, padding: Padding) -> torch.Tensor:
    """Call the operation below."""
    return _Warp.apply(x, places, padding)  # type: ignore[no-any-return, no-untyped-call]


class _Warp(Function):
    """Bilinear sampling, which is linear in the image; `_WarpTransposed` is its derivative.

    PyTorch differentiates grid_sample only once.
    """

    @staticmethod
    def forward(x: torch.Tensor, places: torch.Tensor, padding: Padding) -> torch.Tensor:
        return F.grid_sample(x, places, "bilinear", padding, align_corners=False)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, Padding], output: torch.Tensor) -> None:
        _, places, ctx.padding = inputs
        ctx.save_for_backward(places)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return _WarpTransposed.apply(dy, places, ctx.padding), None, None  # type: ignore[no-untyped-call]


class _WarpTransposed(Function):
    """Each value handed to the pixels that it was sampled from, by their weights; the derivative is `_Warp` again."""

    @staticmethod
    def forward(dy: torch.Tensor, places: torch.Tensor, padding: Padding) -> torch.Tensor:
        # On a GPU, PyTorch's own operation adds in an order that changes from run to run.
        if dy.device.type == "cuda":
            return scatter(dy, places, padding)

        # The image itself is asked for, but only its shape matters here.
        options = (BILINEAR, PADDINGS[padding], False, (True, False))
        return torch.ops.aten.grid_sampler_2d_backward(dy, dy, places.to(dy.dtype), *options)[0]  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, Padding], output: torch.Tensor) -> None:
        _, places, ctx.padding = inputs
        ctx.save_for_backward(places)

    @staticmethod
    def backward(ctx: Any, ddx: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return _Warp.apply(ddx, places, ctx.padding), None, None  # type: ignore[no-untyped-call]


def scatter(dy: torch.Tensor, places: torch.Tensor, padding: Padding) -> torch.Tensor:
    """Hand each value of dy [N,C,H,W] to the four pixels around its place, in an order that repeats.

    CUDA's index_put_ with `accumulate` sorts what it adds, so that its sums have the same bits every time.
    """
    n, channels, height, width = dy.shape
    x = _reflected(places[..., 0], width, padding)  # [N,H,W], in pixels
    y = _reflected(places[..., 1], height, padding)
    left, top = x.floor(), y.floor()

    # The four pixels, of which those outside the image receive nothing.
    rows = torch.arange(n, device=dy.device)[:, None, None] * (height * width)  # [N,1,1]
    indices, shares = [], []
    for i, j in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        weight = (1 - (x - j).abs()) * (1 - (y - i).abs())
        is_inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
        pixel = i.clamp(0, height - 1) * width + j.clamp(0, width - 1)
        indices.append((rows + pixel.long()).flatten())
        shares.append(dy.permute(0, 2, 3, 1) * (weight * is_inside)[..., None])  # [N,H,W,C]

    values = torch.stack(shares).reshape(-1, channels)  # [4*N*H*W,C]
    dx = dy.new_zeros(n * height * width, channels).index_put_(
        (torch.cat(indices),), values.to(dy.dtype), accumulate=True
    )
    return dx.view(n, height, width, channels).permute(0, 3, 1, 2)


def _reflected(place: torch.Tensor, size: int, padding: Padding) -> torch.Tensor:
    """Turn places in [-1,1] into pixels, mirrored at the edges of the image if so asked."""
    pixel = ((place + 1) * size - 1) / 2
    if padding == "zeros":
        return pixel

    # Mirrors stand at -1/2 and size - 1/2.
    distance = (pixel + 0.5).abs() % (2 * size)
    return (torch.minimum(distance, 2 * size - distance) - 0.5).clamp(0, size - 1)
