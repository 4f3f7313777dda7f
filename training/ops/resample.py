"""Low-pass filtering and resampling convolutions. Every gradient order is supported."""

import torch
import torch.nn.functional as F


def blur2d(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Correlate each map of x [N,C,H,W] with `kernel` [k,k]; the size stays (TF: `_blur2d`).

    Zeros are padded as in TF's SAME, (k-1)//2 before and the rest after. TF's hand-written gradient is wrong for even
    k, this one is exact.
    """
    k = kernel.shape[0]
    c = x.shape[1]
    weight = kernel.to(x.dtype).expand(c, 1, k, k)  # [C,1,k,k]

    # An even kernel needs unequal padding, which a convolution cannot do by itself.
    before = (k - 1) // 2
    after = k // 2
    if before == after:
        return F.conv2d(x, weight, padding=before, groups=c)
    return F.conv2d(F.pad(x, (before, after, before, after)), weight, groups=c)


def blur_kernel(taps: tuple[int, ...]) -> torch.Tensor:
    """Return the outer product [k,k] of a 1-d filter with itself, scaled to a sum of 1."""
    # Its sum is the square of the filter's.
    f = torch.tensor(taps, dtype=torch.float32)
    return torch.outer(f, f) / f.sum() ** 2


def _spread(weight: torch.Tensor) -> torch.Tensor:
    """Turn 3x3 kernels into the 4x4 kernels of the same convolution followed, or preceded, by a 2x2 mean."""
    return F.avg_pool2d(F.pad(weight, (1, 1, 1, 1)), 2, stride=1)  # [O,I,4,4]


def conv_up2d(x: torch.Tensor, weight: torch.Tensor, rotate: bool) -> torch.Tensor:
    """Enlarge x [N,I,H,W] to [N,O,2H,2W] by nearest-neighbour up-sampling and a 3x3 convolution in one step.

    weight: [O,I,3,3]. Both are one transposed convolution of stride 2 with a 4x4 kernel, at 4/9 of the multiplications.
    `rotate` turns the 3x3 kernel by 180 degrees, which is what the original's fused layers do (docs/semantics.md, 7).
    """
    w = weight if rotate else weight.flip((2, 3))  # a transposed convolution turns its kernel itself
    return F.conv_transpose2d(x, 4 * _spread(w).transpose(0, 1), stride=2, padding=1)  # [N,O,2H,2W]


def conv_down2d(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Reduce x [N,I,H,W] to [N,O,H/2,W/2] by a 3x3 convolution and a 2x2 mean in one step.

    weight: [O,I,3,3]. Both are one convolution of stride 2 with a 4x4 kernel, at 4/9 of the multiplications.
    """
    return F.conv2d(x, _spread(weight), stride=2, padding=1)  # [N,O,H/2,W/2]
